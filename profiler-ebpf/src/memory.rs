//! Reads the user's stack: a window of it at once, so that most words of a walk cost no call of a helper.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::unwind::Memory;

use crate::maps::{WINDOW, WINDOW_BYTES_MAX, Window};
use crate::registers::UserRegisters;

/// The stack of the thread that is walked, and the registers of its innermost frame.
pub struct UserMemory<'s> {
    window: *mut Window,
    registers: &'s UserRegisters,
}

impl<'s> UserMemory<'s> {
    /// Opens the memory with what the window holds already.
    #[inline(always)]
    pub fn open(registers: &'s UserRegisters) -> Option<Self> {
        Some(Self { window: WINDOW.get_ptr_mut(0)?, registers })
    }

    /// Empties the window: it may hold the stack of another thread.
    #[inline(always)]
    pub fn forget() {
        if let Some(window) = WINDOW.get_ptr_mut(0) {
            // SAFETY: the pointer leads to this CPU's own window, which only one walk uses.
            unsafe { (*window).bytes = 0 };
        }
    }

    /// The word at an address, if the window holds it.
    #[inline(always)]
    fn in_window(&self, address: u64) -> Option<u64> {
        // SAFETY: the pointer leads to this CPU's own window, which only this walk uses; a masked offset of a multiple
        // of 8 has 8 bytes behind it.
        unsafe {
            let offset = address.wrapping_sub((*self.window).start);
            if offset >= (*self.window).bytes {
                return None;
            }
            let at = offset as usize & (WINDOW_BYTES_MAX - 1) & !7;
            Some((&raw const (*self.window).content).cast::<u8>().add(at).cast::<u64>().read())
        }
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
        Some(self.registers.get(number))
    }
}

/// Reads the stack from an address, which is a multiple of 8, to the end of its page: what is beyond may not be mapped.
/// Returns 0, or an error of the kernel, and the window is empty then.
///
/// A function of its own, which the verifier checks once and not at every word.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn move_window(address: u64) -> i64 {
    let Some(window) = WINDOW.get_ptr_mut(0) else { return -1 };
    let bytes = WINDOW_BYTES_MAX as u64 - (address & (WINDOW_BYTES_MAX as u64 - 1));
    // SAFETY: the pointer leads to this CPU's own window, which only this walk uses; it has room for a page.
    unsafe {
        let content = (&raw mut (*window).content).cast();
        let result = bpf_probe_read_user(content, bytes as u32, address as *const _);
        (*window).start = address;
        (*window).bytes = if result == 0 { bytes } else { 0 };
        result
    }
}
