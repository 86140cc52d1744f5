//! Whether this process may do what it needs: user, capabilities, namespaces, and the kernel's own locks.

use std::fs;

use caps::{CapSet, Capability};

use super::{Item, read_setting};

/// Number of the initial pid namespace, fixed in the kernel.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Capabilities without which nothing works, as far as this process lacks them. `CAP_SYS_ADMIN` stands for both.
pub(in crate::kernel) fn missing_capabilities() -> Vec<&'static str> {
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(Capability::CAP_BPF, "CAP_BPF"), (Capability::CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter_map(|(capability, name)| (!has(capability)).then_some(name))
        .collect()
}

/// Whether `/proc` shows every process of this host under the number that the kernel reports.
#[must_use]
pub fn sees_all_processes() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE)
}

pub(super) fn items() -> Vec<Item> {
    vec![user(), bpf(), perfmon(), ptrace(), dac(), pid_namespace(), kernel_addresses(), lockdown()]
}

/// Whether this process has a capability now.
pub(super) fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

fn user() -> Item {
    let id = rustix::process::geteuid();
    if id.is_root() {
        return Item::ok("user", "root");
    }
    Item::degraded(
        "user",
        format!("user {}", id.as_raw()),
        "processes of other users may stay unnamed",
        "run as root, or give the program the capabilities below with `setcap`",
    )
}

fn bpf() -> Item {
    capability(
        "CAP_BPF",
        Capability::CAP_BPF,
        "everything: the kernel program cannot be loaded",
        "run as root or with `--cap-add BPF` (`SYS_ADMIN` before Linux 5.8)",
    )
}

fn perfmon() -> Item {
    capability(
        "CAP_PERFMON",
        Capability::CAP_PERFMON,
        "everything: CPUs and syscalls cannot be observed",
        "run as root or with `--cap-add PERFMON` (`SYS_ADMIN` before Linux 5.8)",
    )
}

fn capability(
    name: &'static str,
    wanted: Capability,
    lost: &'static str,
    remedy: &'static str,
) -> Item {
    if has(wanted) {
        return Item::ok(name, "effective");
    }
    if has(Capability::CAP_SYS_ADMIN) {
        return Item::ok(name, "covered by CAP_SYS_ADMIN");
    }
    Item::missing(name, "not effective", lost, remedy)
}

fn ptrace() -> Item {
    if has(Capability::CAP_SYS_PTRACE) {
        return Item::ok("CAP_SYS_PTRACE", "effective");
    }
    Item::degraded(
        "CAP_SYS_PTRACE",
        "not effective",
        "mappings and environment of other users' processes: their frames and services stay unnamed",
        "run as root or with `--cap-add SYS_PTRACE`",
    )
}

fn dac() -> Item {
    if has(Capability::CAP_DAC_READ_SEARCH) || has(Capability::CAP_DAC_OVERRIDE) {
        return Item::ok("CAP_DAC_READ_SEARCH", "effective");
    }
    Item::degraded(
        "CAP_DAC_READ_SEARCH",
        "not effective",
        "symbols of executables that this user may not read",
        "run as root or with `--cap-add DAC_READ_SEARCH`",
    )
}

fn pid_namespace() -> Item {
    const NAME: &str = "pid namespace";
    const LOST: &str =
        "names and services: the kernel reports other process numbers than /proc shows";
    const REMEDY: &str = "run on the host, or in a container with `--pid host` (`hostPID: true`)";
    match fs::read_link("/proc/self/ns/pid") {
        Ok(link) if link.as_os_str() == INITIAL_PID_NAMESPACE => Item::ok(NAME, "the initial one"),
        Ok(link) => Item::degraded(NAME, link.display().to_string(), LOST, REMEDY),
        Err(error) => Item::degraded(NAME, error.to_string(), LOST, REMEDY),
    }
}

/// `kptr_restrict` 0 shows addresses to those who may profile, 1 to `CAP_SYSLOG`, 2 to nobody.
fn kernel_addresses() -> Item {
    const NAME: &str = "kernel symbols";
    let setting = read_setting("/proc/sys/kernel/kptr_restrict").unwrap_or_else(|| "?".to_owned());
    let syslog = if has(Capability::CAP_SYSLOG) { "with" } else { "without" };
    let detail = format!("kernel.kptr_restrict={setting}, {syslog} CAP_SYSLOG");
    if first_symbol_has_address() {
        return Item::ok(NAME, detail);
    }
    Item::degraded(
        NAME,
        format!("{detail}: /proc/kallsyms hides the addresses"),
        "names of kernel frames",
        "`sysctl kernel.kptr_restrict=1` and run as root or with `--cap-add SYSLOG`",
    )
}

/// Looks for any address that is not zero in the first lines; the file has over 100,000.
fn first_symbol_has_address() -> bool {
    use std::io::{BufRead as _, BufReader, Read as _};
    /// Bytes looked at: some 100 lines.
    const LOOK_BYTES: u64 = 4096;
    let Ok(file) = fs::File::open("/proc/kallsyms") else { return false };
    BufReader::new(file.take(LOOK_BYTES)).lines().map_while(Result::ok).any(|line| {
        line.split(' ').next().is_some_and(|address| address.bytes().any(|digit| digit != b'0'))
    })
}

fn lockdown() -> Item {
    const NAME: &str = "kernel lockdown";
    match read_setting("/sys/kernel/security/lockdown") {
        Some(modes) if modes.contains("[confidentiality]") => Item::missing(
            NAME,
            modes,
            "everything: programs may not read kernel memory in this mode",
            "boot with `lockdown=integrity`, or without secure boot",
        ),
        Some(modes) => Item::ok(NAME, modes),
        None => Item::ok(NAME, "not in use"),
    }
}
