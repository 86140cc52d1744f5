//! What the kernel knows about the current task, and whether it is a target.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_probe_read_kernel};
use profiler_common::abi::settings::Scope;

use crate::maps::{TARGET_CGROUP, TARGETS, setting};

/// Splits what `bpf_get_current_pid_tgid` gives into (tgid, tid).
#[inline(always)]
pub fn split(pid_tgid: u64) -> (u32, u32) {
    ((pid_tgid >> 32) as u32, pid_tgid as u32)
}

/// Whether the scope of this run includes the current process.
#[inline(always)]
pub fn is_target(tgid: u32) -> bool {
    let scope = setting!(scope);
    if scope == Scope::Targets as u32 {
        return TARGETS.get_ptr(tgid).is_some();
    }
    if scope == Scope::Cgroup as u32 {
        return matches!(TARGET_CGROUP.current_task_under_cgroup(0), Ok(true));
    }
    true
}

/// Start of the current process in nanoseconds since boot; 0 where it cannot be read.
#[inline(always)]
pub fn start_ns() -> u64 {
    let (tgid, tid) = split(bpf_get_current_pid_tgid());
    match setting!(task_group_leader) {
        0 => 0,
        // The first thread needs not to be looked up, and often there is no other.
        _ if tgid == tid => start_ns_of(current()),
        leader_at => start_ns_of(read_at(current(), leader_at)),
    }
}

/// Start of a process, given its first thread; 0 where it cannot be read.
#[inline(always)]
pub fn start_ns_of(leader: u64) -> u64 {
    match setting!(task_start_boottime) {
        0 => 0,
        start_at => read_at(leader, start_at),
    }
}

/// Whether the current task has no user memory: a kernel thread, or a thread that is nearly gone.
#[inline(always)]
pub fn has_no_user_memory() -> bool {
    let mm_at = setting!(task_mm);
    mm_at != 0 && read_at::<u64>(current(), mm_at) == 0
}

/// Whether the thread that ends now is the last one of its process.
///
/// The kernel takes the thread off the count before it reports its exit. Without the offset the thread that bears the
/// number of the process stands for it, which is wrong for programs whose main thread ends first.
#[inline(always)]
pub fn is_last_thread(tgid: u32, tid: u32) -> bool {
    let (signal_at, live_at) = (setting!(task_signal), setting!(signal_live));
    if signal_at == 0 || live_at == 0 {
        return tgid == tid;
    }
    let signal: u64 = read_at(current(), signal_at);
    read_at::<u32>(signal, live_at) == 0
}

/// Process of a task that is not the current one; 0 where it cannot be read.
#[inline(always)]
pub fn tgid_of(task: u64) -> u32 {
    match setting!(task_tgid) {
        0 => 0,
        tgid_at => read_at(task, tgid_at),
    }
}

/// The current task.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: the helper takes nothing and always gives a pointer.
    unsafe { bpf_get_current_task() as u64 }
}

/// Reads a value of the kernel's memory; the default where there is none.
#[inline(always)]
pub fn read_at<T: Default>(base: u64, offset: u32) -> T {
    if base == 0 {
        return T::default();
    }
    let address = base.wrapping_add(u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address and fails where nothing is mapped; `T` is an integer.
    unsafe { bpf_probe_read_kernel(address) }.unwrap_or_default()
}
