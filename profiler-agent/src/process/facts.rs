//! Reads what `/proc` tells about a process, each file up to a limit.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use super::ProcessKey;
use super::container::parse_placement;
use super::identity::{Facts, Telemetry};

/// Most bytes read of the environment. Orchestrators set some kilobytes; the kernel allows megabytes.
const ENVIRON_BYTES_MAX: u64 = 256 << 10;

/// Most bytes read of the arguments; class paths of Java reach tens of kilobytes.
const ARGUMENTS_BYTES_MAX: u64 = 64 << 10;

/// Most bytes read of the other files, which the kernel keeps short.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Flag of threads of the kernel in `/proc/PID/stat` (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Nanoseconds of one tick in `/proc/PID/stat`: `USER_HZ` is 100 on every architecture that is supported.
const TICK_NS: u64 = 10_000_000;

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    /// Whether it is a thread of the kernel.
    pub(super) kernel_thread: bool,
    /// Start in ticks since boot.
    start_ticks: u64,
    /// Where the code of its program begins, and its stack: another program has others. Both are 0 to whom the kernel
    /// does not tell.
    program: (u64, u64),
}

impl Status {
    /// Parses the line after the name, which may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        // The third field of the line is the first one after the name.
        let mut fields = fields.split_whitespace();
        let flags: u64 = fields.nth(9 - 3)?.parse().ok()?;
        let start_ticks = fields.nth(22 - 10)?.parse().ok()?;
        let mut address = |skipped| fields.nth(skipped).and_then(|field| field.parse().ok());
        let program = (address(26 - 23).unwrap_or(0), address(28 - 27).unwrap_or(0));
        Some(Self { kernel_thread: flags & KERNEL_THREAD != 0, start_ticks, program })
    }

    /// Whether this process is the one that started at that time; an unknown time (0) fits any.
    fn started_at(self, start_ns: u64) -> bool {
        start_ns == 0 || self.start_ticks.abs_diff(start_ns / TICK_NS) <= 1
    }
}

/// Reads the status of a process; `None` when it is gone or its number belongs to another one by now.
pub(crate) fn read_status(key: ProcessKey) -> Option<Status> {
    let text = read_text(key.tgid, "stat", FILE_BYTES_MAX).ok()?;
    Status::parse(&text).filter(|status| status.started_at(key.start_ns))
}

/// Reads the facts of a living process; what cannot be read stays empty.
pub(super) fn read_facts(tgid: u32, status: Status) -> Facts {
    let comm = read_text(tgid, "comm", FILE_BYTES_MAX).unwrap_or_default().trim_end().to_owned();
    if status.kernel_thread {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        return Facts { comm, kernel_thread: Some(release), ..Facts::default() };
    }
    let environ = read_bytes(tgid, "environ", ENVIRON_BYTES_MAX).unwrap_or_default();
    let arguments = read_text(tgid, "cmdline", ARGUMENTS_BYTES_MAX).unwrap_or_default();
    Facts {
        comm,
        kernel_thread: None,
        executable: executable_name(tgid),
        build_id: None,
        arguments: arguments.split_terminator('\0').map(str::to_owned).collect(),
        telemetry: Telemetry::parse(&environ),
        placement: parse_placement(&read_text(tgid, "cgroup", FILE_BYTES_MAX).unwrap_or_default()),
    }
}

/// Opens the list of mappings.
pub(super) fn open_maps(tgid: u32) -> io::Result<File> {
    File::open(format!("/proc/{tgid}/maps"))
}

/// Reads the number of a process inside its own pid namespace; the same number where that is unknown.
pub(super) fn read_namespace_tgid(tgid: u32) -> u32 {
    let status = read_text(tgid, "status", FILE_BYTES_MAX).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok()).unwrap_or(tgid)
}

/// Path of the executable as the process sees it, without the mark of deleted files.
pub(super) fn read_executable_path(tgid: u32) -> Option<Vec<u8>> {
    let path = std::fs::read_link(format!("/proc/{tgid}/exe")).ok()?;
    let path = path.as_os_str().as_bytes();
    Some(path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec())
}

fn executable_name(tgid: u32) -> Option<String> {
    let path = read_executable_path(tgid)?;
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

fn read_bytes(tgid: u32, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{tgid}/{name}"))?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_text(tgid: u32, name: &str, limit: u64) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_bytes(tgid, name, limit)?).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text =
            "7 (a) 1 (b)) S 1 7 7 0 -1 2097472 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0 9 11 12 13 0\n";
        let status = Status { kernel_thread: true, start_ticks: 4242, program: (11, 13) };
        assert_eq!(Status::parse(text), Some(status));
    }

    #[test]
    fn a_reused_number_is_not_the_same_process() {
        let status = read_status(ProcessKey { tgid: std::process::id(), start_ns: 0 });
        let start_ns = status.expect("we live").start_ticks * TICK_NS + 9_999_999;
        let key = ProcessKey { tgid: std::process::id(), start_ns };
        assert!(read_status(key).is_some());
        assert_eq!(read_status(ProcessKey { start_ns: start_ns + 5 * TICK_NS, ..key }), None);
    }

    #[test]
    fn threads_of_the_kernel_are_told_from_processes_without_arguments() {
        let status = read_status(ProcessKey { tgid: 2, start_ns: 0 });
        let comm = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
        if comm.trim_end() != "kthreadd" {
            eprintln!("skipped: process 2 of this pid namespace is not kthreadd");
            return;
        }
        let facts = read_facts(2, status.expect("kthreadd never ends"));
        assert!(facts.kernel_thread.is_some());
        let own = read_status(ProcessKey { tgid: std::process::id(), start_ns: 0 });
        assert!(!own.expect("we live").kernel_thread);
    }

    proptest! {
        #[test]
        fn arbitrary_status_lines_never_panic(text in "[0-9() a-z-]{0,200}") {
            let _ = Status::parse(&text);
        }
    }
}
