//! Whether the latencies of a syscall are spread otherwise, where no quantile says so: a part of the calls became slower.

use profiler_common::abi::latency::{BUCKETS, bucket_floor_ns};

use super::super::count_test::Noise;
use super::super::{Policy, SyscallMetric, Verdict};
use super::calls::Calls;
use super::case::{Case, Tails, Values};

/// Least distance of the two distributions that is of interest: one call in twenty became slower or faster.
const DISTANCE_MIN: f64 = 0.05;

/// Fewest calls a side.
const CALLS_MIN: u64 = 1_000;

/// Latencies at which the sides are compared, as quantiles of the baseline: the tails belong to p95 and p99.
const QUANTILES: [f64; 9] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// The calls slower than the latency at which the two sides differ most (Kolmogorov and Smirnov's D), of all calls.
pub(super) fn case<'c>(calls: &'c Calls<'c>, policy: &Policy) -> Option<Case<'c>> {
    if !calls.is_replicated(policy) || !calls.takes_time(policy) || calls.fewest() < CALLS_MIN {
        return None;
    }
    let (before, after) = (calls.latencies(0), calls.latencies(1));
    let edge = |quantile: f64| {
        before.bucket_at(quantile).map(|(bucket, _)| (bucket + 1).min(BUCKETS as u32 - 1))
    };
    let distance = |edge: &u32| (before.share_from(*edge) - after.share_from(*edge)).abs();
    let widest = QUANTILES
        .into_iter()
        .filter_map(edge)
        .max_by(|left, right| distance(left).total_cmp(&distance(right)))?;
    if distance(&widest) < DISTANCE_MIN {
        return None;
    }
    let threshold_ns = bucket_floor_ns(widest);
    Some(Case {
        calls,
        metric: SyscallMetric::LatencyShape,
        counts: calls.count(|counts| counts.histogram.calls_at_least(threshold_ns)),
        exposures: &calls.exposures,
        threshold_ns: None,
    })
}

/// Tests the distance beyond the least one. The latency was chosen by looking, so p is that of the best of all that were
/// looked at (Bonferroni).
pub(super) fn verdict(case: &Case<'_>, noise: Noise) -> Verdict {
    let outcome = case.sample().compare(noise, |_base| DISTANCE_MIN);
    let all = QUANTILES.len() as f64;
    let Tails { growth, shrink } = Tails::of(&outcome);
    let tails = Tails { growth: (all * growth).min(1.0), shrink: (all * shrink).min(1.0) };
    case.verdict(Values::of(&outcome), tails)
}
