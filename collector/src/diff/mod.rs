//! Puts two sides beside each other, function by function and syscall by syscall, replicate by replicate.
//!
//! Pure: the same windows give the same difference in any order. It decides nothing; [`detect`](crate::detect) does.

pub mod args;
mod build;
mod name;
mod offline;
mod pprof;
mod table;
mod trust;

pub use args::{DiffArgs, Output};
pub use offline::command;
pub(crate) use table::{show, verdict_table};
pub use trust::WHOLE_SHARE_MIN;

use profiler_common::profile::{LatencyHistogram, Quality};
use serde::Serialize;

use crate::store::UnitWindow;

/// Most stacks kept as evidence; the rarest are left out, their functions stay counted.
pub const STACKS_MAX: usize = 200_000;

/// Names one function across versions: no hashes, no addresses, no lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct FunctionKey {
    /// File name of the executable or library, `[kernel]`, or empty.
    pub module: String,
    /// Demangled name without the parts that change from build to build.
    pub function: String,
}

/// What counts as one independent observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// Each (host, unit), cumulated over its windows: both sides have at least two.
    Units,
    /// Each window of each unit: before and after on too few units.
    Windows,
}

/// One independent observation of a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replicate {
    /// Host and unit, with the start of the window when windows are the replicates.
    pub name: String,
    /// On-CPU samples.
    pub samples: u64,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Unit windows that were added up.
    pub windows: u64,
}

/// Samples of one function on one side; each vector is parallel to the side's replicates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionCounts {
    /// Samples with the function on top of the stack.
    pub self_samples: Vec<u64>,
    /// Samples with the function anywhere in the stack, once for each stack.
    pub total_samples: Vec<u64>,
}

/// One function on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionDiff {
    /// The function.
    pub key: FunctionKey,
    /// Before, or the version known to be good.
    pub baseline: FunctionCounts,
    /// After, or the version in question.
    pub candidate: FunctionCounts,
}

/// Calls of one syscall in one replicate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyscallCounts {
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// Calls that failed, without those that only say "later" (see [`is_flow_control`]).
    pub errors: u64,
}

/// One syscall on both sides; each vector is parallel to the side's replicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallDiff {
    /// Name of the syscall.
    pub name: String,
    /// Whether the call waits by design.
    pub waiting: bool,
    /// Before.
    pub baseline: Vec<SyscallCounts>,
    /// After.
    pub candidate: Vec<SyscallCounts>,
}

/// One stack with its samples on both sides, pooled: for evidence, never for a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackDiff {
    /// Indices into [`ProfileDiff::functions`], root first.
    pub functions: Vec<u32>,
    /// Samples before.
    pub baseline: u64,
    /// Samples after.
    pub candidate: u64,
}

/// Two sides beside each other.
#[derive(Debug, Clone)]
pub struct ProfileDiff {
    /// What a replicate is.
    pub replication: Replication,
    /// Replicates before, by name.
    pub baseline: Vec<Replicate>,
    /// Replicates after, by name.
    pub candidate: Vec<Replicate>,
    /// How the walks over the stacks ended before.
    pub baseline_quality: Quality,
    /// How they ended after.
    pub candidate_quality: Quality,
    /// Every function of either side, by key.
    pub functions: Vec<FunctionDiff>,
    /// Every syscall of either side, by name.
    pub syscalls: Vec<SyscallDiff>,
    /// Every stack of either side, at most [`STACKS_MAX`].
    pub stacks: Vec<StackDiff>,
}

impl ProfileDiff {
    /// Counts both sides.
    #[must_use]
    pub fn new(baseline: &[UnitWindow], candidate: &[UnitWindow]) -> Self {
        build::build(baseline, candidate)
    }

    /// Samples of the baseline, all replicates.
    #[must_use]
    pub fn baseline_samples(&self) -> u64 {
        self.baseline.iter().map(|replicate| replicate.samples).sum()
    }

    /// Samples of the candidate, all replicates.
    #[must_use]
    pub fn candidate_samples(&self) -> u64 {
        self.candidate.iter().map(|replicate| replicate.samples).sum()
    }
}

/// Whether an errno only says that nothing is there yet: EINTR, EAGAIN, EINPROGRESS. Event loops meet them all the time.
#[must_use]
pub const fn is_flow_control(errno: u32) -> bool {
    const EINTR: u32 = 4;
    const EAGAIN: u32 = 11;
    const EINPROGRESS: u32 = 115;
    matches!(errno, EINTR | EAGAIN | EINPROGRESS)
}
