//! Whether the kernel has what the agent uses: version, types, events, maps, tracepoints, limits.

use std::path::Path;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use caps::Capability;
use profiler_common::abi::FRAME_POINTER_FRAMES_MAX;
use profiler_common::abi::settings::Settings;

use super::permissions::has;
use super::{Item, read_setting};
use crate::kernel::{attach, btf, cgroup};

/// Oldest Linux that the kernel program is made for: it has the ring buffer and all helpers in use.
const OLDEST: (u32, u32) = (5, 10);

/// What the kernel gives when the file is missing (`PERF_MAX_STACK_DEPTH`).
const STACK_FRAMES_DEFAULT: u32 = 127;

/// Most frames that the kernel gives for a stack.
pub(in crate::kernel) fn stack_frames_max() -> u32 {
    read_setting("/proc/sys/kernel/perf_event_max_stack")
        .and_then(|text| text.parse().ok())
        .unwrap_or(STACK_FRAMES_DEFAULT)
}

pub(super) fn items() -> Vec<Item> {
    vec![
        version(),
        ring_buffer(),
        cpu_clock(),
        tracepoints(),
        types(),
        unwind_tables(),
        stack_depth(),
        locked_memory(),
        cgroups(),
        run_time_statistics(),
        unprivileged_bpf(),
    ]
}

fn version() -> Item {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if parse_version(&release).is_some_and(|version| version >= OLDEST) {
        return Item::ok("kernel version", release);
    }
    Item::missing(
        "kernel version",
        release,
        "everything: the kernel program needs Linux 5.10 or newer",
        "upgrade the kernel",
    )
}

/// First two numbers of a release such as `6.1.0-18-amd64`.
fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn ring_buffer() -> Item {
    const LOST: &str = "everything: samples cannot reach the agent";
    const REMEDY: &str = "Linux 5.8 or newer with CONFIG_BPF_SYSCALL, and CAP_BPF";
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => Item::ok("BPF ring buffer", "can be created"),
        Ok(false) => Item::missing("BPF ring buffer", "not known to this kernel", LOST, REMEDY),
        Err(error) => Item::missing("BPF ring buffer", error.to_string(), LOST, REMEDY),
    }
}

fn cpu_clock() -> Item {
    const LOST: &str = "CPU samples: no flame graphs";
    const REMEDY: &str = "CAP_PERFMON, or `sysctl kernel.perf_event_paranoid=-1`; in a container allow \
                          `perf_event_open` in the seccomp profile";
    let paranoid = read_setting("/proc/sys/kernel/perf_event_paranoid");
    let detail = format!("kernel.perf_event_paranoid={}", paranoid.as_deref().unwrap_or("?"));
    if paranoid.is_none() {
        return Item::missing("perf events", "not in this kernel", LOST, "CONFIG_PERF_EVENTS");
    }
    match attach::try_cpu_clock() {
        Ok(()) => Item::ok("perf events", format!("cpu-clock opens, {detail}")),
        Err(error) => Item::missing("perf events", format!("{error}, {detail}"), LOST, REMEDY),
    }
}

fn tracepoints() -> Item {
    const LOST: &str = "syscall latency, and processes are found only by their samples";
    const REMEDY: &str =
        "a kernel with CONFIG_BPF_EVENTS and CONFIG_FTRACE_SYSCALLS, and CAP_PERFMON";
    match is_program_supported(ProgramType::RawTracePoint) {
        Ok(true) => Item::ok("raw tracepoints", "can be loaded"),
        Ok(false) => Item::degraded("raw tracepoints", "not known to this kernel", LOST, REMEDY),
        Err(error) => Item::degraded("raw tracepoints", error.to_string(), LOST, REMEDY),
    }
}

fn types() -> Item {
    let mut settings = Settings::default();
    btf::fill_offsets(&mut settings);
    let known = settings.task_group_leader != 0 && settings.task_start_boottime != 0;
    if known {
        return Item::ok("kernel types (BTF)", btf::VMLINUX);
    }
    let detail = if Path::new(btf::VMLINUX).exists() {
        format!("`{}` cannot be read or lacks task_struct", btf::VMLINUX)
    } else {
        format!("no `{}`", btf::VMLINUX)
    };
    Item::degraded(
        "kernel types (BTF)",
        detail,
        "start times: a process number that is used again soon may be taken for the earlier process",
        "a kernel with CONFIG_DEBUG_INFO_BTF, and /sys mounted",
    )
}

fn unwind_tables() -> Item {
    const NAME: &str = "unwind tables";
    const LOST: &str =
        "stacks of programs without frame pointers: only frame pointers are followed";
    const REMEDY: &str = "Linux 5.10 or newer with CONFIG_BPF_SYSCALL, and CAP_BPF";
    for (kind, name) in
        [(MapType::ArrayOfMaps, "maps of maps"), (MapType::ProgramArray, "tail calls")]
    {
        match is_map_supported(kind) {
            Ok(true) => {}
            Ok(false) => {
                return Item::degraded(NAME, format!("no {name} in this kernel"), LOST, REMEDY);
            }
            Err(error) => return Item::degraded(NAME, format!("{name}: {error}"), LOST, REMEDY),
        }
    }
    Item::ok(NAME, "can be made; stacks are followed without frame pointers")
}

fn stack_depth() -> Item {
    let frames = stack_frames_max();
    let detail = format!("kernel.perf_event_max_stack={frames}");
    if frames as usize >= FRAME_POINTER_FRAMES_MAX {
        return Item::ok("stack depth", detail);
    }
    Item::degraded(
        "stack depth",
        detail,
        "kernel frames of deep stacks, and frames near the root of processes that have no unwind tables yet",
        "`sysctl kernel.perf_event_max_stack=127`",
    )
}

/// Since Linux 5.11 BPF memory counts against the cgroup instead.
fn locked_memory() -> Item {
    use rustix::process::{Resource, getrlimit};
    /// What the maps take at most: rings, histograms, call starts, unwind tables.
    const NEEDED_BYTES: u64 = 96 << 20;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if parse_version(&release).is_some_and(|version| version >= (5, 11)) {
        return Item::ok("locked memory", "not limited for BPF since Linux 5.11");
    }
    match getrlimit(Resource::Memlock).maximum {
        Some(bytes) if bytes < NEEDED_BYTES && !has(Capability::CAP_SYS_RESOURCE) => {
            Item::degraded(
                "locked memory",
                format!("limited to {bytes} bytes"),
                "possibly everything: the kernel may refuse the maps",
                "`ulimit -l unlimited`, or CAP_SYS_RESOURCE",
            )
        }
        _ => Item::ok("locked memory", "enough, or the agent may raise the limit"),
    }
}

fn cgroups() -> Item {
    match cgroup::version_2_mount() {
        Some(folder) => Item::ok("cgroup v2", folder.display().to_string()),
        None => Item::degraded(
            "cgroup v2",
            "not mounted",
            "captures of one cgroup",
            "mount it: `mount -t cgroup2 none /sys/fs/cgroup/unified`",
        ),
    }
}

fn run_time_statistics() -> Item {
    const NAME: &str = "BPF run-time statistics";
    match read_setting("/proc/sys/kernel/bpf_stats_enabled") {
        Some(value) => Item::ok(NAME, format!("kernel.bpf_stats_enabled={value}")),
        None => Item::degraded(
            NAME,
            "not in this kernel",
            "the agent's measure of its own cost inside the kernel",
            "Linux 5.1 or newer with /proc mounted",
        ),
    }
}

/// The agent never depends on it; where it is allowed, everyone may load programs, which is worth knowing.
fn unprivileged_bpf() -> Item {
    let setting = read_setting("/proc/sys/kernel/unprivileged_bpf_disabled");
    let detail = format!(
        "kernel.unprivileged_bpf_disabled={}; the agent uses capabilities either way",
        setting.as_deref().unwrap_or("?")
    );
    Item::ok("unprivileged BPF", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_gives_its_first_two_numbers() {
        assert_eq!(parse_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_version("5.10"), Some((5, 10)));
        assert_eq!(parse_version("next"), None);
        assert_eq!(parse_version("99999999999.1"), None);
    }
}
