//! Finds the registers with which the interrupted thread was, or will be again, in user code.
//!
//! A sample that hits user code has them in its context; one that hits a syscall, an interrupt or a page fault finds
//! them where the entry to the kernel saved them: at the end of the thread's kernel stack.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{bpf_perf_event_data, pt_regs};
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel_buf, bpf_task_pt_regs};
use aya_ebpf::programs::PerfEventContext;
use profiler_common::unwind::{Registers, left};

use crate::maps::setting;
use crate::task;

/// All registers, in the order of `struct pt_regs`; more room than that, so that a masked index is one that the
/// verifier believes.
#[repr(C)]
pub struct UserRegisters {
    words: [u64; 32],
}

/// Bytes of `struct pt_regs`.
const PT_REGS_BYTES: usize = size_of::<pt_regs>();

/// Bytes of a kernel stack on x86-64.
const KERNEL_STACK_BYTES: u64 = 16 << 10;

/// Index in `struct pt_regs` of each DWARF register from 0 to 15, four bits each; rsp has a place of its own.
const PT_REGS_INDEX: u64 = 0x0123_6789_f4ed_5bca;

const RBP: usize = 4;
const RIP: usize = 16;
const CS: usize = 17;
const RSP: usize = 19;

/// Code segment of 32-bit programs.
const CS_32: u64 = 0x23;

/// What kind of user registers a thread has.
pub enum Mode {
    /// None: it is a kernel thread.
    None,
    /// Those of a 32-bit program.
    Compat,
    /// The usual ones.
    Long,
}

/// Whether the sample hit user code: the low bits of the code segment say how privileged it is.
#[inline(always)]
pub fn in_user_code(ctx: &PerfEventContext) -> bool {
    let data = ctx.as_ptr().cast::<bpf_perf_event_data>();
    // SAFETY: the context of a perf event starts with the registers, which a program may read field by field.
    unsafe { (*data).regs.cs & 3 == 3 }
}

impl UserRegisters {
    /// Reads the registers of the current thread.
    #[inline(always)]
    pub fn read(&mut self, ctx: &PerfEventContext) -> Mode {
        if in_user_code(ctx) {
            self.copy(ctx.as_ptr().cast());
        } else if task::has_no_user_memory() || !self.read_saved() {
            return Mode::None;
        }
        match (self.words[CS], self.words[RIP]) {
            // A worker of the kernel that borrows a program's memory never was in user code.
            (_, 0) => Mode::None,
            (CS_32, _) => Mode::Compat,
            _ => Mode::Long,
        }
    }

    /// The frame that was interrupted.
    #[inline(always)]
    pub fn frame(&self) -> Registers {
        let [rip, rsp, rbp] = [RIP, RSP, RBP].map(|at| self.words[at]);
        Registers { rip, rsp, rbp, left: left::SAMPLE }
    }

    /// A register by its DWARF number, rsp excepted.
    #[inline(always)]
    pub fn get(&self, number: u8) -> u64 {
        let at = PT_REGS_INDEX >> (4 * (number & 15)) & 15;
        self.words[at as usize]
    }

    #[inline(always)]
    fn copy(&mut self, data: *mut bpf_perf_event_data) {
        /// Copies fields in the order of `struct pt_regs`.
        macro_rules! copy {
            ($($at:literal $field:ident),+) => {
                // SAFETY: as above, field by field.
                unsafe { $(self.words[$at] = core::ptr::read_volatile(&raw const (*data).regs.$field);)+ }
            };
        }
        copy!(
            0 r15, 1 r14, 2 r13, 3 r12, 4 rbp, 5 rbx, 6 r11, 7 r10, 8 r9, 9 r8, 10 rax, 11 rcx, 12 rdx, 13 rsi,
            14 rdi, 16 rip, 17 cs, 19 rsp
        );
    }

    /// Reads what the entry to the kernel saved; `false` where it cannot be found.
    #[inline(always)]
    fn read_saved(&mut self) -> bool {
        let saved = if setting!(registers_by_helper) != 0 {
            // SAFETY: both helpers give pointers that the kernel vouches for.
            unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
        } else if setting!(task_stack) != 0 {
            let stack: u64 = task::read_at(task::current(), setting!(task_stack));
            stack + KERNEL_STACK_BYTES - PT_REGS_BYTES as u64
        } else {
            return false;
        };
        // SAFETY: the words are at least as many bytes, of which any value is valid.
        unsafe {
            let bytes =
                core::slice::from_raw_parts_mut((&raw mut self.words).cast::<u8>(), PT_REGS_BYTES);
            bpf_probe_read_kernel_buf(saved as *const u8, bytes).is_ok()
        }
    }
}
