//! The calls of one syscall on both sides, by the replicates that made any.

use profiler_common::profile::LatencyHistogram;

use crate::diff::{ProfileDiff, Replicate, SyscallCounts, SyscallDiff};

use super::super::Policy;
use super::super::count_test::Exposures;
use super::super::design::Design;
use super::latencies::Latencies;

/// Calls of one syscall.
#[derive(Debug)]
pub(super) struct Calls<'d> {
    pub(super) diff: &'d ProfileDiff,
    pub(super) syscall: &'d SyscallDiff,
    /// The replicates that made the call at all: without a call there is no share of calls. How busy they were on the
    /// CPU does not matter, since calls are counted, not sampled.
    pub(super) exposures: Exposures,
    /// Calls by row, the baseline's first.
    pub(super) by_row: Vec<f64>,
    /// By row, what a call of it counts: in pairs both sides weigh alike, `N0 N1/(N0 + N1)` each, so that a host that got
    /// more of the load does not look like a change of latency.
    pub(super) weights: Vec<f64>,
    /// All calls of the replicates that are used, of the baseline and of the candidate.
    pub(super) pooled: [LatencyHistogram; 2],
}

impl<'d> Calls<'d> {
    pub(super) fn of(diff: &'d ProfileDiff, syscall: &'d SyscallDiff) -> Self {
        let by_row: Vec<f64> =
            rows(syscall).map(|counts| counts.histogram.calls() as f64).collect();
        let design = Design::among(diff, |row| by_row[row] > 0.0);
        let mut pooled = <[LatencyHistogram; 2]>::default();
        for (side, own) in design.rows().into_iter().enumerate() {
            for row in own {
                pooled[side].merge(&counts_of(syscall, row).histogram);
            }
        }
        let exposures = Exposures::new(design, by_row.clone());
        let mut weights = vec![1.0; by_row.len()];
        if exposures.design.is_paired {
            for stratum in &exposures.design.strata {
                for (before, after) in stratum.baseline.iter().zip(&stratum.candidate) {
                    let both = by_row[*before] + by_row[*after];
                    weights[*before] = by_row[*after] / both;
                    weights[*after] = by_row[*before] / both;
                }
            }
        }
        Self { diff, syscall, exposures, by_row, weights, pooled }
    }

    /// Something counted on every row.
    pub(super) fn count(&self, hits: impl Fn(&SyscallCounts) -> u64) -> Vec<f64> {
        rows(self.syscall).map(|counts| hits(counts) as f64).collect()
    }

    /// All latencies of a side, of the replicates that are used.
    pub(super) fn latencies(&self, side: usize) -> Latencies {
        let rows = &self.exposures.design.rows()[side];
        Latencies::of(
            rows.iter().map(|row| (&counts_of(self.syscall, *row).histogram, self.weights[*row])),
        )
    }

    /// Whether both sides have enough replicates for a test.
    pub(super) fn is_replicated(&self, policy: &Policy) -> bool {
        self.exposures.design.is_replicated(policy)
    }

    /// Fewest calls of the two sides.
    pub(super) fn fewest(&self) -> u64 {
        self.pooled[0].calls().min(self.pooled[1].calls())
    }

    /// Whether the time in the calls is worth a word on either side: at least the policy's share of the CPU time.
    pub(super) fn takes_time(&self, policy: &Policy) -> bool {
        let side = |histogram: &LatencyHistogram, replicates: &[Replicate]| {
            let cpu_ns: u64 = replicates.iter().map(|replicate| replicate.cpu_ns).sum();
            histogram.sum_ns as f64 / cpu_ns.max(1) as f64
        };
        side(&self.pooled[0], &self.diff.baseline).max(side(&self.pooled[1], &self.diff.candidate))
            >= policy.syscall_time_min
    }
}

fn rows(syscall: &SyscallDiff) -> impl Iterator<Item = &SyscallCounts> {
    syscall.baseline.iter().chain(&syscall.candidate)
}

fn counts_of(syscall: &SyscallDiff, row: usize) -> &SyscallCounts {
    match row.checked_sub(syscall.baseline.len()) {
        None => &syscall.baseline[row],
        Some(index) => &syscall.candidate[index],
    }
}
