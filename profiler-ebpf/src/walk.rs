//! Walks the kernel and the user stack of the interrupted thread, leaf first.
//!
//! The user's stack is walked by the tables of its process, [`FRAMES_PER_PROGRAM`] frames at a time: then the program
//! calls itself anew. A process without tables is left to the kernel's own walk by frame pointers.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::bpf_get_stack;
use aya_ebpf::programs::PerfEventContext;
use profiler_common::abi::row::Space;
use profiler_common::abi::sample::{FRAME_BYTES, WalkEnd};
use profiler_common::abi::{FRAME_POINTER_FRAMES_MAX, KERNEL_FRAMES_MAX, USER_FRAMES_MAX};
use profiler_common::unwind::{Registers, step};

use crate::maps::{FRAMES_MAX, SPACES, Scratch, setting};
use crate::memory::UserMemory;
use crate::registers::{self, Mode};
use crate::rule::{SpaceRef, Tables};

/// Frames that one program walks: more frames need more of the instructions that the verifier is willing to follow.
const FRAMES_PER_PROGRAM: u32 = 64;

/// The kernel lets programs call one another 33 times.
const _: () = assert!(FRAMES_PER_PROGRAM as usize * 33 > USER_FRAMES_MAX);

/// What a walk keeps from one program to the next.
#[repr(C)]
pub struct WalkState {
    frame: Registers,
    space: SpaceRef,
}

/// How far a walk got.
pub enum Progress {
    /// It ended.
    Ended(WalkEnd),
    /// There are more frames.
    More,
}

/// Bytes that the kernel's own walk may write: the verifier knows a masked value to lie below the mask.
const FRAMES_BYTES_MASK: u64 = 0x3f8;

const _: () = assert!(KERNEL_FRAMES_MAX * FRAME_BYTES == FRAMES_BYTES_MASK as usize);
const _: () = assert!(FRAME_POINTER_FRAMES_MAX * FRAME_BYTES == FRAMES_BYTES_MASK as usize);
const _: () = assert!(KERNEL_FRAMES_MAX + FRAME_POINTER_FRAMES_MAX <= FRAMES_MAX);

/// Walks the kernel's stack into the first frames; there is none when the thread was in user code.
#[inline(always)]
pub fn kernel(ctx: &PerfEventContext, scratch: &mut Scratch) {
    if registers::in_user_code(ctx) {
        return;
    }
    let frames = (&raw mut scratch.frames).cast::<u64>();
    // SAFETY: there is room for `FRAMES_BYTES_MASK` bytes.
    let written = unsafe { stack(ctx, frames, 0) };
    let bytes = if written < 0 { 0 } else { written as u64 & FRAMES_BYTES_MASK };
    scratch.header.kernel_frames = (bytes / FRAME_BYTES as u64) as u16;
}

/// Begins to walk the user's stack, behind the kernel's frames.
#[inline(always)]
pub fn begin(ctx: &PerfEventContext, scratch: &mut Scratch) -> Progress {
    match scratch.registers.read(ctx) {
        Mode::None => return Progress::Ended(WalkEnd::NoUserStack),
        Mode::Compat => return by_frame_pointers(ctx, scratch, WalkEnd::Compat32),
        Mode::Long => {}
    }
    match find_space(scratch.header.tgid, scratch.header.start_ns) {
        Some(space) => scratch.walk.space = space,
        None => return by_frame_pointers(ctx, scratch, WalkEnd::NoTables),
    }
    scratch.walk.frame = scratch.registers.frame();
    UserMemory::forget();
    Progress::More
}

/// Walks on for as many frames as one program may.
#[inline(always)]
pub fn go_on(scratch: &mut Scratch) -> Progress {
    let Some(tables) = Tables::open() else { return Progress::Ended(WalkEnd::NoTables) };
    let Some(mut memory) = UserMemory::open(&scratch.registers) else {
        return Progress::Ended(WalkEnd::Unreadable);
    };
    let space = scratch.walk.space;
    let mut frame = scratch.walk.frame;
    for _ in 0..FRAMES_PER_PROGRAM {
        let user_frames = usize::from(scratch.header.user_frames);
        if user_frames >= USER_FRAMES_MAX {
            return Progress::Ended(WalkEnd::Truncated);
        }
        let at = usize::from(scratch.header.kernel_frames) + user_frames;
        scratch.frames[at & (FRAMES_MAX - 1)] = frame.recorded_address();
        scratch.header.user_frames = user_frames as u16 + 1;
        // No closure here: what is in one becomes a function of its own, and the frame then lives in memory.
        let rule = match tables.rule(space, frame.rule_address()) {
            Ok(rule) => rule,
            Err(end) => return Progress::Ended(end),
        };
        match step(rule, &frame, &mut memory) {
            Ok(caller) => frame = caller,
            Err(end) => return Progress::Ended(end),
        }
    }
    scratch.walk.frame = frame;
    Progress::More
}

/// The tables of a process, unless they are of an earlier one with its number.
#[inline(always)]
fn find_space(tgid: u32, start_ns: u64) -> Option<SpaceRef> {
    // SAFETY: the agent replaces a space as a whole; the kernel keeps the old one until this program ends.
    let space: &Space = unsafe { SPACES.get(tgid) }?;
    if space.start_ns != start_ns && space.start_ns != 0 {
        return None;
    }
    let Space { id, header, mappings, .. } = *space;
    Some(SpaceRef { id, header, mappings, reserved: 0 })
}

/// Leaves the walk to the kernel.
#[inline(always)]
fn by_frame_pointers(ctx: &PerfEventContext, scratch: &mut Scratch, end: WalkEnd) -> Progress {
    let at = usize::from(scratch.header.kernel_frames) & KERNEL_FRAMES_MAX;
    // SAFETY: the kernel's frames take at most `KERNEL_FRAMES_MAX`, and behind them is room for as many again.
    let written = unsafe {
        let frames = (&raw mut scratch.frames).cast::<u64>().add(at);
        stack(ctx, frames, u64::from(BPF_F_USER_STACK))
    };
    if written <= 0 {
        return Progress::Ended(WalkEnd::Unreadable);
    }
    let bytes = written as u64 & FRAMES_BYTES_MASK;
    scratch.header.user_frames = (bytes / FRAME_BYTES as u64) as u16;
    // The kernel says nothing when it stops at its limit. A stack of exactly that depth counts as cut off too.
    let full = bytes >= u64::from(setting!(stack_frames_max)) * FRAME_BYTES as u64;
    Progress::Ended(if full { WalkEnd::Truncated } else { end })
}

/// # Safety
///
/// `frames` has room for [`FRAMES_BYTES_MASK`] bytes.
#[inline(always)]
unsafe fn stack(ctx: &PerfEventContext, frames: *mut u64, flags: u64) -> i64 {
    // SAFETY: the context is the program's own, the caller gives the room.
    unsafe { bpf_get_stack(ctx.as_ptr(), frames.cast(), FRAMES_BYTES_MASK as u32, flags) }
}
