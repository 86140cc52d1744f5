//! Counts outcomes: one counter of each kind and CPU.

use profiler_common::abi::outcome::Outcome;

use crate::maps::OUTCOMES;

/// Adds one.
#[inline(always)]
pub fn add(outcome: Outcome) {
    if let Some(counter) = OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: the pointer leads to this CPU's own counter. A program that interrupts another on the same CPU counts
        // other outcomes than the interrupted one.
        unsafe { *counter += 1 };
    }
}
