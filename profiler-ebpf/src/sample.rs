//! Takes one on-CPU sample: header, kernel frames, user frames, written to the ring with only the bytes used.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns,
    bpf_ringbuf_output,
};
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::outcome::Outcome;
use profiler_common::abi::sample::{FRAME_BYTES, SAMPLE_HEADER_BYTES, SampleHeader};

use crate::maps::{SAMPLES, SCRATCH};
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
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return Outcome::SampleNoScratch;
    };
    // SAFETY: the pointer leads to this CPU's own scratch, which no other program uses; each walk gets room for the
    // most that it writes, because the first one writes at most half of the frames.
    let bytes = unsafe {
        let frames = (&raw mut (*scratch).frames).cast::<u64>();
        let kernel_bytes = walk::kernel(ctx, frames);
        let user = walk::user(ctx, frames.byte_add(kernel_bytes as usize));
        (*scratch).header = SampleHeader {
            time_ns: bpf_ktime_get_ns(),
            start_ns: task::start_ns(),
            cgroup_id: bpf_get_current_cgroup_id(),
            tgid,
            tid,
            comm: bpf_get_current_comm().unwrap_or_default(),
            kernel_frames: (kernel_bytes / FRAME_BYTES as u64) as u16,
            user_frames: (user.bytes / FRAME_BYTES as u64) as u16,
            walk_end: user.end as u32,
        };
        SAMPLE_HEADER_BYTES as u64 + kernel_bytes + user.bytes
    };
    // Waking the agent for each sample would cost more than the sample: it reads at its own pace.
    // SAFETY: the scratch holds at least `bytes` bytes.
    let refused = unsafe {
        bpf_ringbuf_output(
            (&raw const SAMPLES).cast_mut().cast(),
            scratch.cast(),
            bytes,
            u64::from(BPF_RB_NO_WAKEUP),
        )
    };
    if refused == 0 { Outcome::SampleSubmitted } else { Outcome::SampleRingFull }
}
