//! The least that programs on both edges of a syscall can cost: two that do nothing, and two that read the clock.
//!
//! `cargo xtask bench syscalls` compares ours with it; the agent does not embed it.

#![no_std]
#![no_main]

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

#[raw_tracepoint(tracepoint = "sys_enter")]
fn floor_enter(_ctx: RawTracePointContext) -> i32 {
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn floor_exit(_ctx: RawTracePointContext) -> i32 {
    0
}

#[raw_tracepoint(tracepoint = "sys_enter")]
fn clock_enter(_ctx: RawTracePointContext) -> i32 {
    clock()
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn clock_exit(_ctx: RawTracePointContext) -> i32 {
    clock()
}

/// Reads the clock; the kernel ignores what these programs return, the compiler must not.
#[inline(always)]
fn clock() -> i32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() as i32 }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
