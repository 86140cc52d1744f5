//! Puts two sides beside each other, function by function and syscall by syscall, replicate by replicate.
//!
//! Pure: the same windows give the same difference in any order. It decides nothing; [`detect`](crate::detect) does.

pub mod args;
mod build;
mod name;
mod offline;
mod pprof;
mod sides;
mod table;
mod trust;

pub use args::{DiffArgs, Output};
pub use offline::command;
pub use sides::{
    FunctionKey, ProfileDiff, Replicate, Replication, StackCount, StackTable, SyscallCounts,
    SyscallDiff, Work, is_flow_control,
};
pub(crate) use table::{show, verdict_table};
pub use trust::WHOLE_SHARE_MIN;

use crate::store::UnitWindow;

/// Most stacks that are compared; the rarest are left out.
pub const STACKS_MAX: usize = 200_000;

impl ProfileDiff {
    /// Counts both sides.
    #[must_use]
    pub fn new(baseline: &[UnitWindow], candidate: &[UnitWindow]) -> Self {
        build::build(baseline, candidate)
    }
}
