//! Finds container, pod and systemd unit in the paths of `/proc/PID/cgroup`.
//!
//! Pure. Knows Docker, containerd, CRI-O and Podman, Kubernetes with both cgroup drivers, and cgroup v1 and v2.

/// Digits of a container id.
const CONTAINER_ID_DIGITS: usize = 64;

/// What the control groups of a process tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// Container id, 64 hex digits.
    pub container: Option<String>,
    /// Uid of the Kubernetes pod, with hyphens.
    pub pod: Option<String>,
    /// Innermost systemd service, such as `nginx.service`; never that of a user's session manager.
    pub systemd_unit: Option<String>,
}

/// Reads the text of `/proc/PID/cgroup`: lines of `number:controllers:path`.
#[must_use]
pub(super) fn parse_placement(text: &str) -> Placement {
    let mut placement = Placement::default();
    for line in text.lines() {
        let Some(path) = line.splitn(3, ':').nth(2) else { continue };
        for segment in path.split('/') {
            if let Some(container) = container_of(segment) {
                placement.container = Some(container.to_owned());
            }
            if let Some(pod) = pod_of(segment) {
                placement.pod = Some(pod);
            }
            if is_service(segment) {
                placement.systemd_unit = Some(segment.to_owned());
            }
        }
    }
    placement
}

/// The container id at the end of a segment: alone, or after a runtime's name and a hyphen or colon.
fn container_of(segment: &str) -> Option<&str> {
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let start = name.len().checked_sub(CONTAINER_ID_DIGITS)?;
    let (runtime, id) = (name.get(..start)?, name.get(start..)?);
    let alone = runtime.is_empty() || runtime.ends_with('-') || runtime.ends_with(':');
    // The process that watches a container for Podman or CRI-O runs outside of it, in a scope named after it.
    let watcher = runtime.ends_with("conmon-");
    (alone && !watcher && is_hex(id)).then_some(id)
}

/// The pod uid of `podUID` or `kubepods-…-podUID.slice`, where systemd's driver writes `_` for `-`.
fn pod_of(segment: &str) -> Option<String> {
    // containerd without systemd appends `:cri-containerd:ID` to the slice.
    let name = segment.split(':').next().unwrap_or(segment);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None => name.strip_prefix("kubepods")?.rsplit_once("-pod")?.1,
    };
    let uid = uid.replace('_', "-");
    let digits = uid.replace('-', "");
    // Static pods have the plain hash of their manifest.
    (digits.len() == 32 && is_hex(&digits)).then_some(uid)
}

fn is_service(segment: &str) -> bool {
    segment.ends_with(".service")
        && !segment.starts_with("user@")
        && !segment.contains(':')
        && segment.len() > ".service".len()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "5a1b2c3d-0000-4e4f-8a8b-112233445566";

    fn check(path: &str, container: Option<&str>, pod: Option<&str>, unit: Option<&str>) {
        let path =
            path.replace("UID", UID).replace("U_D", &UID.replace('-', "_")).replace("ID", ID);
        let expected = Placement {
            container: container.map(str::to_owned),
            pod: pod.map(str::to_owned),
            systemd_unit: unit.map(str::to_owned),
        };
        assert_eq!(parse_placement(&path), expected, "{path}");
    }

    #[test]
    fn containers_and_pods_of_every_runtime_are_found() {
        check("0::/system.slice/docker-ID.scope", Some(ID), None, None);
        check("12:cpu,cpuacct:/docker/ID\n0::/", Some(ID), None, None);
        check("0::/machine.slice/libpod-ID.scope/container", Some(ID), None, None);
        check("4:memory:/kubepods/burstable/podUID/ID", Some(ID), Some(UID), None);
        let slice = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice";
        for scope in ["cri-containerd-ID.scope", "crio-ID.scope", "docker-ID.scope"] {
            check(&format!("{slice}/{scope}"), Some(ID), Some(UID), None);
        }
        check(
            "0::/system.slice/containerd.service/kubepods-besteffort-podU_D.slice:cri-containerd:ID",
            Some(ID),
            Some(UID),
            Some("containerd.service"),
        );
        let manifest_hash = "0123456789abcdef0123456789abcdef";
        check(
            "0::/kubepods/pod0123456789abcdef0123456789abcdef/ID",
            Some(ID),
            Some(manifest_hash),
            None,
        );
    }

    #[test]
    fn services_are_found_and_sessions_are_not() {
        check("0::/system.slice/nginx.service", None, None, Some("nginx.service"));
        check(
            "1:name=systemd:/system.slice/nginx.service\n0::/",
            None,
            None,
            Some("nginx.service"),
        );
        check("0::/user.slice/user-1000.slice/session-3.scope", None, None, None);
        check("0::/user.slice/user-1000.slice/user@1000.service/init.scope", None, None, None);
        let app = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service";
        check(app, None, None, Some("web.service"));
    }

    #[test]
    fn what_only_looks_like_a_container_is_none() {
        check("0::/libpod-conmon-ID.scope", None, None, None);
        check("0::/docker/IDff", None, None, None);
        check("0::/podcast.slice/kubepods.slice/podium", None, None, None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,300}", tail in "[0-9a-f:/é.\\n-]{0,200}") {
            let _ = parse_placement(&text);
            let _ = parse_placement(&format!("0::/{tail}"));
        }
    }
}
