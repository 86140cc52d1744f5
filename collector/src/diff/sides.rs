//! Two sides beside each other, stack by stack and syscall by syscall, replicate by replicate: what the detector reads.

use std::collections::BTreeMap;

use profiler_common::profile::{LatencyHistogram, Quality};
use serde::{Deserialize, Serialize};

/// Names one function across versions: no hashes, no addresses, no lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Each host that ran both versions: baseline `i` and candidate `i` are the same host, and both sides are as long.
    Pairs,
    /// Each window of each unit: before and after on too few units.
    Windows,
}

/// One independent observation of a side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replicate {
    /// Host and unit, with the start of the window when windows are the replicates.
    pub name: String,
    /// On-CPU samples.
    pub samples: u64,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Unit windows that were added up.
    pub windows: u64,
    /// Time that those windows cover, in seconds.
    pub seconds: f64,
    /// What it worked off in that time, where anything tells.
    pub work: Option<Work>,
    /// Kind of machine: replicates are compared with those of the same number, and the comparisons put together.
    pub stratum: u32,
}

/// An amount of work: what the cost of a service is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Work {
    /// Requests, or what stands for them.
    pub requests: f64,
    /// Whether something stands for requests that need not be one, such as accepted connections.
    pub is_proxy: bool,
}

/// Calls of one syscall in one replicate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyscallCounts {
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (errno, failed calls) by rising errno, without those that only say "later" (see [`is_flow_control`]).
    pub errors: Vec<(u32, u64)>,
}

impl SyscallCounts {
    /// Adds failed calls.
    pub(super) fn add_errors(&mut self, errno: u32, calls: u64) {
        match self.errors.binary_search_by_key(&errno, |(known, _)| *known) {
            Ok(at) => self.errors[at].1 = self.errors[at].1.saturating_add(calls),
            Err(at) => self.errors.insert(at, (errno, calls)),
        }
    }

    /// Calls that failed, whatever the errno.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.iter().map(|(_, calls)| calls).sum()
    }
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

/// Samples of one stack in one replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StackCount {
    /// Index of the replicate: those of the baseline first, then those of the candidate.
    pub replicate: u32,
    /// Samples.
    pub samples: u64,
}

/// Unique stacks in the order of their functions, root first, each with its samples by replicate.
///
/// In this order the stacks below any node of the call tree stand side by side, which all of the detector rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackTable {
    functions: Vec<u32>,
    function_ends: Vec<usize>,
    counts: Vec<StackCount>,
    count_ends: Vec<usize>,
}

impl StackTable {
    /// Sorts the stacks, given as indices into [`ProfileDiff::functions`] with counts by rising replicate. Equal ones are
    /// put together: in this order they would else be taken for a caller and its callee.
    #[must_use]
    pub fn new(mut stacks: Vec<(Vec<u32>, Vec<StackCount>)>) -> Self {
        stacks.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        let mut table = Self::default();
        for same in stacks.chunk_by(|left, right| left.0 == right.0) {
            table.functions.extend(&same[0].0);
            table.function_ends.push(table.functions.len());
            match same {
                [(_, counts)] => table.counts.extend(counts),
                several => table.counts.extend(sum(several)),
            }
            table.count_ends.push(table.counts.len());
        }
        table
    }

    /// Number of stacks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.function_ends.len()
    }

    /// Whether there is no stack.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.function_ends.is_empty()
    }

    /// Functions of stack `index`, root first.
    #[must_use]
    pub fn functions(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.function_ends[before]);
        &self.functions[start..self.function_ends[index]]
    }

    /// Samples of stack `index` by replicate.
    #[must_use]
    pub fn counts(&self, index: usize) -> &[StackCount] {
        let start = index.checked_sub(1).map_or(0, |before| self.count_ends[before]);
        &self.counts[start..self.count_ends[index]]
    }
}

/// Counts of equal stacks, added up by replicate.
fn sum(stacks: &[(Vec<u32>, Vec<StackCount>)]) -> impl Iterator<Item = StackCount> {
    let mut samples: BTreeMap<u32, u64> = BTreeMap::new();
    for count in stacks.iter().flat_map(|(_, counts)| counts) {
        let own = samples.entry(count.replicate).or_default();
        *own = own.saturating_add(count.samples);
    }
    samples.into_iter().map(|(replicate, samples)| StackCount { replicate, samples })
}

/// One (host, unit) of a side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitFacts {
    /// Host and unit.
    pub name: String,
    /// Start of the first window of this unit and version that the store has, Unix nanoseconds: what its age is counted
    /// from.
    pub since_unix_ns: u64,
    /// Start of its first window that was used, Unix nanoseconds.
    pub first_unix_ns: u64,
    /// End of its last window that was used, Unix nanoseconds.
    pub last_unix_ns: u64,
    /// Windows that were used; fewer than lie between the two are a gap.
    pub windows: u64,
    /// CPU model and kernel; empty where the agent named none.
    pub machine: String,
}

impl UnitFacts {
    /// Age of the unit at the end of its last window, in seconds.
    #[must_use]
    pub fn age_seconds(&self) -> f64 {
        self.last_unix_ns.saturating_sub(self.since_unix_ns) as f64 / 1e9
    }
}

/// What is known of a side beside its counts: what to look at before a comparison is believed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SideFacts {
    /// On-CPU samples for each second of CPU time: both sides were sampled alike where these are alike. `None` without
    /// CPU time.
    pub samples_per_cpu_second: Option<f64>,
    /// Share of the samples that the agents of this side lost, 0 to 1; `None` where no agent said.
    pub lost_share: Option<f64>,
    /// Share of the samples whose innermost function has a name, 0 to 1; `None` without samples.
    pub named_share: Option<f64>,
    /// Start of the first window, Unix nanoseconds; 0 without windows.
    pub first_unix_ns: u64,
    /// End of the last window, Unix nanoseconds; 0 without windows.
    pub last_unix_ns: u64,
    /// Every (host, unit), by name.
    pub units: Vec<UnitFacts>,
    /// Units that began after the first window: new pods, or the same ones restarted.
    pub appeared: usize,
    /// Units that were not seen any more in the last two windows.
    pub vanished: usize,
    /// Units with a gap of a window or more: a restart under the same name, or an agent that was away.
    pub interrupted: usize,
    /// Windows left out because their unit was still warming up.
    pub warm_up_windows: u64,
    /// Whether no unit was past the warm-up, so that nothing was left out.
    pub is_cold: bool,
    /// Windows left out because they start in the future: the clock of their host runs ahead.
    pub future_windows: u64,
}

impl SideFacts {
    /// Kinds of machines (CPU model and kernel) by name, with the number of units on each.
    #[must_use]
    pub fn machines(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for unit in &self.units {
            *kinds.entry(unit.machine.as_str()).or_default() += 1;
        }
        kinds
    }
}

/// Two sides beside each other.
#[derive(Debug, Clone)]
pub struct ProfileDiff {
    /// What a replicate is.
    pub replication: Replication,
    /// Replicates before, or of the version known to be good.
    pub baseline: Vec<Replicate>,
    /// Replicates after, or of the version in question.
    pub candidate: Vec<Replicate>,
    /// How the walks over the stacks ended before.
    pub baseline_quality: Quality,
    /// How they ended after.
    pub candidate_quality: Quality,
    /// Every function of either side, in order.
    pub functions: Vec<FunctionKey>,
    /// Every stack of either side.
    pub stacks: StackTable,
    /// Every syscall of either side, by name.
    pub syscalls: Vec<SyscallDiff>,
    /// What is known of the baseline and of the candidate beside their counts.
    pub facts: [SideFacts; 2],
}

impl ProfileDiff {
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

    /// Samples of stack `index` on the baseline and on the candidate: for evidence, never for a test.
    #[must_use]
    pub fn pooled(&self, index: usize) -> [u64; 2] {
        let mut sides = [0, 0];
        for count in self.stacks.counts(index) {
            let side = usize::from(count.replicate as usize >= self.baseline.len());
            sides[side] += count.samples;
        }
        sides
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_below_a_node_stand_side_by_side_and_equal_ones_once() {
        let count = |replicate, samples| StackCount { replicate, samples };
        let table = StackTable::new(vec![
            (vec![0, 2], vec![count(1, 5)]),
            (vec![0], vec![count(0, 1), count(1, 2)]),
            (vec![0, 1, 3], vec![]),
            (vec![0, 1], vec![count(0, 8)]),
            (vec![0, 1], vec![count(0, 1), count(2, 3)]),
        ]);
        let paths: Vec<&[u32]> = (0..table.len()).map(|index| table.functions(index)).collect();
        assert_eq!(paths, [&[0][..], &[0, 1], &[0, 1, 3], &[0, 2]]);
        assert_eq!(table.counts(0), [count(0, 1), count(1, 2)]);
        assert_eq!(table.counts(1), [count(0, 9), count(2, 3)]);
        assert_eq!(table.counts(3), [count(1, 5)]);
    }
}
