//! Tells the agent of exec and exit, and lets the children of targets become targets.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
};
use aya_ebpf::programs::RawTracePointContext;
use profiler_common::abi::event::{EventKind, ProcessEvent};
use profiler_common::abi::outcome::Outcome;
use profiler_common::abi::settings::Scope;

use crate::maps::{EVENTS, TARGETS, setting};
use crate::task;

/// Reports that the current process runs another program.
#[inline(always)]
pub fn exec() -> Outcome {
    let (tgid, _) = task::split(bpf_get_current_pid_tgid());
    report(tgid, EventKind::Exec)
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
    Some(report(tgid, EventKind::Exit))
}

/// Makes the child of a target a target: arguments of the tracepoint are (parent, child).
#[inline(always)]
pub fn fork(ctx: &RawTracePointContext) -> Option<Outcome> {
    if setting!(scope) != Scope::Targets as u32 {
        return None;
    }
    let (tgid, _) = task::split(bpf_get_current_pid_tgid());
    TARGETS.get_ptr(tgid)?;
    let child = task::tgid_of(ctx.arg(1));
    if child == 0 || child == tgid {
        return None;
    }
    match TARGETS.insert(child, 1, 0) {
        Ok(()) => None,
        Err(_) => Some(Outcome::TargetLost),
    }
}

#[inline(always)]
fn report(tgid: u32, kind: EventKind) -> Outcome {
    let event = ProcessEvent {
        start_ns: task::start_ns(),
        // SAFETY: the helper takes nothing.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        tgid,
        kind: kind as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
    };
    match EVENTS.output::<ProcessEvent>(event, u64::from(BPF_RB_NO_WAKEUP)) {
        Ok(()) => Outcome::EventSubmitted,
        Err(_) => Outcome::EventRingFull,
    }
}
