//! Reads what a process takes: memory, CPU time, and the maps and programs that it holds in the kernel.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What the agent takes at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory in KiB.
    pub(super) rss_kib: u64,
    /// Part of it that no file backs.
    pub(super) anonymous_kib: u64,
    /// Most resident memory so far.
    pub(super) peak_kib: u64,
    /// CPU time of all its threads.
    pub(super) cpu: Duration,
    /// CPU time of its programs in the kernel, as far as `kernel.bpf_stats_enabled` counts it: all but the next ones.
    pub(super) sampling: Duration,
    /// CPU time of those that measure syscalls, which run as often as this host makes calls.
    pub(super) syscalls: Duration,
    /// Bytes of its maps in the kernel.
    pub(super) map_bytes: u64,
}

impl Usage {
    /// Reads all but the maps.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Self {
            rss_kib: field("VmRSS:"),
            anonymous_kib: field("RssAnon:"),
            peak_kib: field("VmHWM:"),
            cpu: cpu_time(&read(pid, "stat")?)?,
            ..kernel_cpu(pid)?
        })
    }

    /// Reads everything.
    pub(super) fn with_maps(pid: u32) -> Result<Self> {
        let maps = owned(pid, "map", "map_id:")?;
        let bytes = maps.iter().filter_map(|map| map["bytes_memlock"].as_u64());
        Ok(Self { map_bytes: bytes.sum(), ..Self::of(pid)? })
    }
}

fn kernel_cpu(pid: u32) -> Result<Usage> {
    let mut usage = Usage::default();
    for program in owned(pid, "prog", "prog_id:")? {
        let time = Duration::from_nanos(program["run_time_ns"].as_u64().unwrap_or(0));
        match program["name"].as_str() {
            Some("call_enter" | "call_exit") => usage.syscalls += time,
            _ => usage.sampling += time,
        }
    }
    Ok(usage)
}

/// What bpftool says about the maps or programs that a process holds open.
fn owned(pid: u32, kind: &str, field: &str) -> Result<Vec<Value>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = fs::read_dir(&folder).with_context(|| format!("failed to list `{folder}`"))?;
    // A file may be closed while the list is read.
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let ids: BTreeSet<u64> = texts.filter_map(|text| id(&text, field)).collect();
    let list = bpftool(&[kind, "show", "--json"])?;
    let list = list.as_array().context("bpftool printed no list")?;
    let ours =
        list.iter().filter(|object| object["id"].as_u64().is_some_and(|id| ids.contains(&id)));
    Ok(ours.cloned().collect())
}

/// The number behind a field of `/proc/PID/fdinfo/FD`.
fn id(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

fn bpftool(arguments: &[&str]) -> Result<Value> {
    let output = Command::new("/usr/sbin/bpftool").args(arguments).output();
    let output = output.context("failed to run bpftool")?;
    ensure!(output.status.success(), "bpftool ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("bpftool printed no JSON")
}

fn read(pid: u32, name: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))
}

/// User and system time; the 14th and 15th field of `/proc/PID/stat`. The second may hold anything, in brackets.
fn cpu_time(stat: &str) -> Result<Duration> {
    let (_, fields) = stat.rsplit_once(')').context("no name in the status of the process")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_brackets_and_spaces() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 5";
        let ticks = 200.0 / rustix::param::clock_ticks_per_second() as f64;
        assert!((cpu_time(stat).unwrap().as_secs_f64() - ticks).abs() < 1e-9);
    }

    #[test]
    fn the_number_of_a_map_is_found_among_the_other_fields() {
        let text = "pos:\t0\nmap_type:\t2\nmap_id:\t4459\nfrozen:\t0\n";
        assert_eq!(id(text, "map_id:"), Some(4459));
        assert_eq!(id(text, "prog_id:"), None);
    }

    #[test]
    fn a_process_has_memory_and_used_time() {
        let status = read(std::process::id(), "status").unwrap();
        assert!(status.contains("VmRSS:") && status.contains("VmHWM:"));
    }
}
