//! Walks the kernel and the user stack of the interrupted thread into a buffer, leaf first.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::bpf_get_stack;
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::sample::{FRAME_BYTES, WalkEnd};
use profiler_common::abi::{KERNEL_FRAMES_MAX, USER_FRAMES_MAX};

use crate::maps::setting;
use crate::task;

/// What a walk gave: how many bytes of frames it wrote, and how it ended.
pub struct Walk {
    pub bytes: u64,
    pub end: WalkEnd,
}

/// All bytes that a walk may write: the verifier knows a masked value to lie below the mask.
const FRAMES_BYTES_MASK: u64 = 0x3f8;

const _: () = assert!(KERNEL_FRAMES_MAX * FRAME_BYTES == FRAMES_BYTES_MASK as usize);
const _: () = assert!(USER_FRAMES_MAX * FRAME_BYTES == FRAMES_BYTES_MASK as usize);

/// Walks the kernel stack; returns the bytes written, 0 when the thread was in user code.
///
/// # Safety
///
/// `frames` has room for [`KERNEL_FRAMES_MAX`] frames.
#[inline(always)]
pub unsafe fn kernel(ctx: &PerfEventContext, frames: *mut u64) -> u64 {
    // SAFETY: the caller gives the room that is passed on here.
    let written = unsafe { stack(ctx, frames, 0) };
    if written < 0 { 0 } else { written as u64 & FRAMES_BYTES_MASK }
}

/// Walks the user stack by its frame pointers.
///
/// # Safety
///
/// `frames` has room for [`USER_FRAMES_MAX`] frames.
#[inline(always)]
pub unsafe fn user(ctx: &PerfEventContext, frames: *mut u64) -> Walk {
    // SAFETY: the caller gives the room that is passed on here.
    let written = unsafe { stack(ctx, frames, u64::from(BPF_F_USER_STACK)) };
    if written <= 0 {
        let no_stack = task::has_no_user_memory();
        let end = if no_stack { WalkEnd::NoUserStack } else { WalkEnd::Unreadable };
        return Walk { bytes: 0, end };
    }
    let bytes = written as u64 & FRAMES_BYTES_MASK;
    // The kernel says nothing when it stops at its limit. A stack of exactly that depth counts as cut off too.
    let full = bytes >= u64::from(setting!(stack_frames_max)) * FRAME_BYTES as u64;
    let end = if full { WalkEnd::Truncated } else { WalkEnd::Stopped };
    Walk { bytes, end }
}

/// # Safety
///
/// `frames` has room for [`FRAMES_BYTES_MASK`] bytes.
#[inline(always)]
unsafe fn stack(ctx: &PerfEventContext, frames: *mut u64, flags: u64) -> i64 {
    // SAFETY: the context is the program's own, the caller gives the room.
    unsafe { bpf_get_stack(ctx.as_ptr(), frames.cast(), FRAMES_BYTES_MASK as u32, flags) }
}
