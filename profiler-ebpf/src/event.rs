//! Tells the agent of exec and exit, lets the children of targets become targets, and keeps the unwind tables of a
//! process from outliving its program.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
    bpf_probe_read_kernel_str_bytes,
};
use aya_ebpf::programs::RawTracePointContext;
use profiler_common::abi::event::{EventKind, PATH_BYTES, ProcessEvent};
use profiler_common::abi::outcome::Outcome;
use profiler_common::abi::row::Space;
use profiler_common::abi::settings::Scope;

use crate::maps::{EVENTS, SPACES, TARGETS, setting};
use crate::task;

/// Reports that the current process runs another program: arguments of the tracepoint are (task, old tid, program).
#[inline(always)]
pub fn exec(ctx: &RawTracePointContext) -> Outcome {
    let (tgid, _) = task::split(bpf_get_current_pid_tgid());
    // An error means that it had no tables.
    let _ = SPACES.remove(tgid);
    report(tgid, EventKind::Exec, ctx.arg(2))
}

/// Reports the end of the current process, if its last thread ends now.
#[inline(always)]
pub fn exit() -> Option<Outcome> {
    let (tgid, tid) = task::split(bpf_get_current_pid_tgid());
    if !task::is_last_thread(tgid, tid) {
        return None;
    }
    if setting!(scope) == Scope::Targets as u32 {
        // An error means that it was no target.
        let _ = TARGETS.remove(tgid);
    }
    let _ = SPACES.remove(tgid);
    Some(report(tgid, EventKind::Exit, 0))
}

/// Lets a child share what its parent has, tables and being a target: arguments of the tracepoint are (parent, child).
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) -> Option<Outcome> {
    let (tgid, _) = task::split(bpf_get_current_pid_tgid());
    let child: u64 = ctx.arg(1);
    let child_tgid = task::tgid_of(child);
    // A new thread of the same process shares all anyway.
    if child_tgid == 0 || child_tgid == tgid {
        return None;
    }
    share_tables(tgid, child_tgid, task::start_ns_of(child));
    if setting!(scope) != Scope::Targets as u32 {
        return None;
    }
    TARGETS.get_ptr(tgid)?;
    match TARGETS.insert(child_tgid, 1, 0) {
        Ok(()) => None,
        Err(_) => Some(Outcome::TargetLost),
    }
}

/// A child has the mappings of its parent until it changes them, and then the agent gives it tables of its own.
#[inline(always)]
fn share_tables(parent: u32, child: u32, start_ns: u64) {
    // SAFETY: the agent replaces a space as a whole; the kernel keeps the old one until this program ends.
    if let Some(space) = unsafe { SPACES.get(parent) } {
        let shared = Space { start_ns, ..*space };
        // Without room the child has no tables until the agent makes some.
        let _ = SPACES.insert(child, shared, 0);
    }
}

#[inline(always)]
fn report(tgid: u32, kind: EventKind, program: u64) -> Outcome {
    let mut event = ProcessEvent {
        start_ns: task::start_ns(),
        // SAFETY: the helper takes nothing.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        tgid,
        kind: kind as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
        path: [0; PATH_BYTES],
    };
    if program != 0 && setting!(binprm_filename) != 0 {
        let path: u64 = task::read_at(program, setting!(binprm_filename));
        // SAFETY: the helper checks the address; what cannot be read stays empty.
        let _ = unsafe { bpf_probe_read_kernel_str_bytes(path as *const u8, &mut event.path) };
    }
    match EVENTS.output::<ProcessEvent>(event, u64::from(BPF_RB_NO_WAKEUP)) {
        Ok(()) => Outcome::EventSubmitted,
        Err(_) => Outcome::EventRingFull,
    }
}
