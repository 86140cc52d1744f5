//! Entry points of the kernel side: each hands over to its stage and counts how it ended.
//!
//! - `sample`: takes an on-CPU sample, with `walk` for the stacks: `registers` says where to begin, `rule` how to go on,
//!   `memory` reads the stack.
//! - `event`: tells the agent of exec and exit, and lets children of targets become targets.
//! - `syscall`: measures how long each syscall takes.
//!
//! The floor is Linux 5.10: no `bpf_loop`, no compare-and-exchange, no task pointers from BTF.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;
mod sample;
mod walk;
mod registers;
mod rule;
mod memory;
mod task;
mod event;
mod syscall;
mod count;

use aya_ebpf::macros::{perf_event, raw_tracepoint};
use aya_ebpf::programs::{PerfEventContext, RawTracePointContext};
use aya_log_ebpf::debug;

#[perf_event]
fn sample(ctx: PerfEventContext) -> u32 {
    count::add(sample::take(&ctx));
    0
}

/// Walks a user stack: called by [`sample`], and by itself when the stack is deep.
#[perf_event]
fn walk_on(ctx: PerfEventContext) -> u32 {
    count::add(sample::resume(&ctx));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    let outcome = event::exec(&ctx);
    syscall::follow_exec(&ctx);
    debug!(&ctx, "exec: outcome {}", outcome as u32);
    count::add(outcome);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(ctx: RawTracePointContext) -> i32 {
    syscall::forget_thread();
    if let Some(outcome) = event::exit() {
        debug!(&ctx, "exit: outcome {}", outcome as u32);
        count::add(outcome);
    }
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    if let Some(outcome) = event::fork(&ctx) {
        debug!(&ctx, "fork: child not followed");
        count::add(outcome);
    }
    0
}

#[raw_tracepoint(tracepoint = "sys_enter")]
fn call_enter(ctx: RawTracePointContext) -> i32 {
    if let Err(outcome) = syscall::enter(&ctx) {
        count::add(outcome);
    }
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
fn call_exit(ctx: RawTracePointContext) -> i32 {
    if let Err(outcome) = syscall::exit(&ctx) {
        count::add(outcome);
    }
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that read kernel memory and stacks are for GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
