//! Puts two sides beside each other, function by function and syscall by syscall, replicate by replicate.
//!
//! Pure: the same windows give the same difference in any order. It decides nothing; [`detect`](crate::detect) does.

pub mod args;
mod build;
mod name;
mod offline;
mod paint;
mod pprof;
mod sides;
mod table;
mod trust;
mod values;

pub use args::{DiffArgs, Output};
pub(crate) use name::comparable;
pub use offline::{command, parse_profile};
pub(crate) use paint::Paint;
pub use sides::{
    FunctionKey, ProfileDiff, Replicate, Replication, SideFacts, StackCount, StackTable,
    SyscallCounts, SyscallDiff, UnitFacts, Work, is_flow_control,
};
pub(crate) use table::{cause_of, groups_table};
pub use trust::WHOLE_SHARE_MIN;
pub(crate) use values::{show, show_baseline, show_change, show_ns, show_relative, show_value};

use crate::store::UnitWindow;

/// Most stacks that are compared; the rarest are left out.
pub const STACKS_MAX: usize = 200_000;

/// How far a window may begin in the future: clocks of a fleet differ by less; one that runs farther ahead puts what is
/// still to come beside what was.
pub const AHEAD_NS_MAX: u64 = 120 * 1_000_000_000;

/// How windows become replicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouping {
    /// Length of a window in nanoseconds.
    pub window_ns: u64,
    /// Time after the start of a unit that is left out, in nanoseconds.
    pub warm_up_ns: u64,
    /// The time now, Unix nanoseconds: windows more than [`AHEAD_NS_MAX`] after it are left out.
    pub now_unix_ns: u64,
    /// Syscall of which each call that succeeds is one request; without it, something that may stand for requests.
    pub request_syscall: Option<String>,
    /// What a replicate is; chosen by the data when `None`.
    pub replication: Option<Replication>,
}

impl Default for Grouping {
    fn default() -> Self {
        Self {
            window_ns: 60_000_000_000,
            warm_up_ns: 0,
            now_unix_ns: u64::MAX,
            request_syscall: None,
            replication: None,
        }
    }
}

impl ProfileDiff {
    /// Counts both sides.
    #[must_use]
    pub fn new(baseline: &[UnitWindow], candidate: &[UnitWindow], grouping: &Grouping) -> Self {
        build::build(baseline, candidate, grouping)
    }
}
