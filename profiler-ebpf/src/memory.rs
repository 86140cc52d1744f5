//! Reads the user's stack: a window of it at once, so that most words of a walk cost no call of a helper.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::unwind::Memory;

use crate::maps::{SCRATCH, Scratch, WINDOW_BYTES_MAX};

/// The stack of the thread that is walked.
pub struct UserMemory<'s> {
    scratch: &'s mut Scratch,
}

impl<'s> UserMemory<'s> {
    #[inline(always)]
    pub fn new(scratch: &'s mut Scratch) -> Self {
        Self { scratch }
    }

    /// The word at an address, if the window holds it.
    #[inline(always)]
    fn in_window(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.scratch.walk.window_start);
        if offset >= self.scratch.walk.window_bytes {
            return None;
        }
        // The window begins at a multiple of 8, so a word of an odd address may reach beyond its last byte.
        let at = offset as usize & (WINDOW_BYTES_MAX - 1) & !7;
        // SAFETY: a masked offset of a multiple of 8 has 8 bytes behind it.
        Some(unsafe { (&raw const self.scratch.window).cast::<u8>().add(at).cast::<u64>().read() })
    }
}

impl Memory for UserMemory<'_> {
    #[inline(always)]
    fn word(&mut self, address: u64) -> Option<u64> {
        // No compiler puts a word of a stack elsewhere.
        if address & 7 != 0 {
            return None;
        }
        match self.in_window(address) {
            None if move_window(address) == 0 => self.in_window(address),
            word => word,
        }
    }

    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        Some(self.scratch.registers.get(number))
    }
}

/// Reads the stack from an address, which is a multiple of 8, to the end of its page: what is beyond may not be mapped.
/// Returns 0, or an error of the kernel, and the window is empty then.
///
/// A function of its own, which the verifier checks once and not at every word.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn move_window(address: u64) -> i64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return -1 };
    let bytes = WINDOW_BYTES_MAX as u64 - (address & (WINDOW_BYTES_MAX as u64 - 1));
    // SAFETY: the pointer leads to this CPU's own scratch, which only this walk uses; the window has room for a page.
    unsafe {
        let window = (&raw mut (*scratch).window).cast();
        let result = bpf_probe_read_user(window, bytes as u32, address as *const _);
        (*scratch).walk.window_start = address;
        (*scratch).walk.window_bytes = if result == 0 { bytes } else { 0 };
        result
    }
}
