//! Decides whether this machine can run a scenario, and says why not.

use std::fs;
use std::path::Path;

/// Bit of `CAP_SYS_ADMIN` in the capability sets.
const CAP_SYS_ADMIN: u32 = 21;

/// Bit of `CAP_BPF` in the capability sets.
const CAP_BPF: u32 = 39;

/// Why scenarios cannot run here, or `None` if they can.
#[must_use]
pub fn reason() -> Option<String> {
    bpf_reason(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

/// Whether this is a run in which nothing may be skipped.
#[must_use]
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn bpf_reason(status: &str) -> Option<String> {
    if field(status, "Uid").and_then(|ids| ids.split_whitespace().nth(1)) != Some("0") {
        return Some("needs root: sampling and tracing the whole host".to_owned());
    }
    let capabilities =
        field(status, "CapEff").and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    let wanted = 1_u64 << CAP_SYS_ADMIN | 1 << CAP_BPF;
    if capabilities.is_none_or(|set| set & wanted != wanted) {
        return Some("needs CAP_SYS_ADMIN and CAP_BPF, which this root lacks".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("needs a kernel with BTF (`/sys/kernel/btf/vmlinux` is missing)".to_owned());
    }
    None
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_is_told_that_root_is_needed() {
        let why = bpf_reason("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n");
        assert!(why.is_some_and(|why| why.contains("root")));
    }

    #[test]
    fn root_without_capabilities_is_told_which_are_missing() {
        let why = bpf_reason("Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n");
        assert!(why.is_some_and(|why| why.contains("CAP_BPF")));
    }

    #[test]
    fn an_unreadable_status_is_no_permission() {
        assert!(bpf_reason("").is_some());
    }
}
