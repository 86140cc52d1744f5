//! Takes one on-CPU sample: header, kernel frames, user frames, written to the ring with only the bytes used.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::generated::bpf_get_current_comm;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_ktime_get_ns, bpf_ringbuf_output,
};
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::outcome::Outcome;
use profiler_common::abi::sample::{FRAME_BYTES, SAMPLE_HEADER_BYTES, SampleHeader, WalkEnd};

use crate::maps::{FRAMES_MAX, SAMPLES, SCRATCH, Scratch, WALKS};
use crate::walk::Progress;
use crate::{task, walk};

/// Takes the sample and says how it ended.
#[inline(always)]
pub fn take(ctx: &PerfEventContext) -> Outcome {
    let (tgid, tid) = task::split(bpf_get_current_pid_tgid());
    if tid == 0 {
        return Outcome::SampleIdle;
    }
    if !task::is_target(tgid) {
        return Outcome::SampleFiltered;
    }
    let Some(scratch) = scratch() else { return Outcome::SampleNoScratch };
    describe(&mut scratch.header, tgid, tid);
    walk::kernel(ctx, scratch);
    match walk::begin(ctx, scratch) {
        Progress::Ended(end) => submit(scratch, end),
        Progress::More => walk_on(ctx, scratch),
    }
}

/// Fills the header in place: built elsewhere first, it would be copied byte by byte.
#[inline(always)]
fn describe(header: &mut SampleHeader, tgid: u32, tid: u32) {
    // SAFETY: the helper takes nothing.
    header.time_ns = unsafe { bpf_ktime_get_ns() };
    header.start_ns = task::start_ns();
    // SAFETY: the helper takes nothing.
    header.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    header.tgid = tgid;
    header.tid = tid;
    // SAFETY: the helper writes at most the bytes of the name, and clears them on failure.
    unsafe { bpf_get_current_comm(header.comm.as_mut_ptr().cast(), header.comm.len() as u32) };
    header.kernel_frames = 0;
    header.user_frames = 0;
}

/// Walks on where the program before stopped.
#[inline(always)]
pub fn resume(ctx: &PerfEventContext) -> Outcome {
    let Some(scratch) = scratch() else { return Outcome::SampleNoScratch };
    match walk::go_on(scratch) {
        Progress::Ended(end) => submit(scratch, end),
        Progress::More => walk_on(ctx, scratch),
    }
}

/// Leaves the rest of the walk to the next program. The first one walks no frame itself: the verifier would have to
/// follow the loop once more, and the CPU to fetch its code twice.
#[inline(always)]
fn walk_on(ctx: &PerfEventContext, scratch: &mut Scratch) -> Outcome {
    // SAFETY: the context is the program's own; what the walk needs is in the scratch.
    unsafe { WALKS.tail_call(ctx, 0) };
    // Only a call that was refused comes back.
    submit(scratch, WalkEnd::Truncated)
}

#[inline(always)]
fn submit(scratch: &mut Scratch, end: WalkEnd) -> Outcome {
    scratch.header.walk_end = end as u32;
    let frames = u64::from(scratch.header.kernel_frames) + u64::from(scratch.header.user_frames);
    let bytes =
        SAMPLE_HEADER_BYTES as u64 + FRAME_BYTES as u64 * (frames & (FRAMES_MAX as u64 - 1));
    // Waking the agent for each sample would cost more than the sample: it reads at its own pace.
    // SAFETY: the scratch begins with the header and its frames, which are at least `bytes` bytes.
    let refused = unsafe {
        bpf_ringbuf_output(
            (&raw const SAMPLES).cast_mut().cast(),
            (&raw mut *scratch).cast(),
            bytes,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if refused == 0 { Outcome::SampleSubmitted } else { Outcome::SampleRingFull }
}

#[inline(always)]
fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: the pointer leads to this CPU's own scratch. A sample is not interrupted by another on its CPU, and no
    // other program uses it.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}
