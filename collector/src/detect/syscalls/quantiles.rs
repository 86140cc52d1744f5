//! Whether a quantile of the latency moved: the share of calls above it.

use profiler_common::abi::latency::{BUCKETS, bucket_floor_ns, bucket_of};

use super::super::count_test::{INTERVAL_TAIL, Noise};
use super::super::special::t_quantile;
use super::super::{Policy, SyscallMetric, Verdict};
use super::calls::Calls;
use super::case::{Case, Tails, Values};
use super::latencies::Latencies;

/// The quantiles of a syscall that takes time, as far as there are enough calls above them.
pub(super) fn cases<'c>(calls: &'c Calls<'c>, policy: &Policy) -> Vec<Case<'c>> {
    if !calls.is_replicated(policy) || !calls.takes_time(policy) {
        return Vec::new();
    }
    let before = calls.latencies(0);
    [SyscallMetric::P50, SyscallMetric::P95, SyscallMetric::P99]
        .into_iter()
        .filter_map(|metric| {
            let quantile = metric.quantile()?;
            let expected = calls.fewest() as f64 * (1.0 - quantile);
            (expected >= policy.min_exceedances).then(|| {
                let threshold_ns = edge_above(&before, quantile);
                Case {
                    calls,
                    metric,
                    counts: at_least(calls, threshold_ns),
                    exposures: &calls.exposures,
                    threshold_ns: Some(threshold_ns),
                }
            })
        })
        .collect()
}

/// Tests whether the candidate's quantile lies beyond the baseline's moved by the minimum effect: whether its share of
/// calls above the moved edge differs from the baseline's above its own. No distribution of the latencies is assumed.
pub(super) fn verdict(
    case: &Case<'_>,
    threshold_ns: u64,
    noise: Noise,
    policy: &Policy,
) -> Verdict {
    let tail = |moved_ns: u64| {
        // Only the candidate's calls are counted above the moved edge.
        let moved = at_least(case.calls, moved_ns);
        let mut counts = case.counts.clone();
        let baselines = case.calls.syscall.baseline.len();
        counts[baselines..].copy_from_slice(&moved[baselines..]);
        Tails::of(&case.sample_of(&counts).compare(noise, |_base| 0.0))
    };
    let (relative, absolute_ns) = minimum_effect(case.metric, policy);
    let up = edge_at_least(threshold_ns, relative, absolute_ns);
    let down = edge_at_most(threshold_ns, relative, absolute_ns);
    let tails = Tails {
        growth: tail(up).growth,
        shrink: down.map_or(1.0, |moved_ns| tail(moved_ns).shrink),
    };
    let quantile = case.metric.quantile().unwrap_or(0.5);
    case.verdict(values(case, quantile, noise), tails)
}

/// (relative, absolute in nanoseconds) growth that is of no interest.
fn minimum_effect(metric: SyscallMetric, policy: &Policy) -> (f64, u64) {
    match metric {
        SyscallMetric::P50 => (policy.p50_rel_min, policy.p50_abs_min_ns),
        SyscallMetric::P95 => (policy.p95_rel_min, policy.p95_abs_min_ns),
        _ => (policy.p99_rel_min, policy.p99_abs_min_ns),
    }
}

/// Calls of each row that took at least so long.
fn at_least(calls: &Calls<'_>, threshold_ns: u64) -> Vec<f64> {
    calls.count(|counts| counts.histogram.calls_at_least(threshold_ns))
}

/// Lower edge of the first bucket above the one that holds the quantile.
fn edge_above(latencies: &Latencies, quantile: f64) -> u64 {
    latencies.bucket_at(quantile).map_or(0, |(bucket, _)| edge_after(bucket))
}

/// Smallest edge above both the threshold grown by a part of itself and by so many nanoseconds.
fn edge_at_least(threshold_ns: u64, relative: f64, absolute_ns: u64) -> u64 {
    let grown = (threshold_ns as f64 * (1.0 + relative)) as u64;
    let latency_ns = grown.max(threshold_ns.saturating_add(absolute_ns));
    let bucket = bucket_of(latency_ns);
    let floor = bucket_floor_ns(bucket);
    if floor >= latency_ns { floor } else { edge_after(bucket) }
}

/// Largest edge below both the threshold shrunk likewise; `None` when that is below 0.
fn edge_at_most(threshold_ns: u64, relative: f64, absolute_ns: u64) -> Option<u64> {
    let shrunk = (threshold_ns as f64 / (1.0 + relative)) as u64;
    Some(bucket_floor_ns(bucket_of(shrunk.min(threshold_ns.checked_sub(absolute_ns)?))))
}

fn edge_after(bucket: u32) -> u64 {
    bucket_floor_ns((bucket + 1).min(BUCKETS as u32 - 1))
}

/// The quantiles of both sides, with the interval of their difference.
///
/// Each side by Woodruff (1952): the latencies at `q ± t se`, with se the standard error of the share of calls above the
/// side's own quantile over replicates. The two together by the square-and-add method (Zou and Donner 2008), which needs
/// no symmetry: with `l`, `u` the ends of a side, `Δ - √((x1-l1)² + (u0-x0)²)` and `Δ + √((u1-x1)² + (x0-l0)²)`.
fn values(case: &Case<'_>, quantile: f64, noise: Noise) -> Values {
    let reach = t_quantile(INTERVAL_TAIL, noise.degrees);
    let side = |side: usize| {
        let latencies = case.calls.latencies(side);
        let step = reach * share_error(case, side, 1.0 - quantile, noise);
        [quantile - step, quantile, quantile + step].map(|q| latencies.quantile_ns(q))
    };
    let [before, after] = [side(0), side(1)];
    let interval = difference(before, after);
    let is_positive = before[0] > 0.0 && after[0] > 0.0;
    let logarithms = || difference(before.map(f64::ln), after.map(f64::ln)).map(f64::exp);
    Values {
        before: before[1],
        after: after[1],
        interval,
        ratio_interval: is_positive.then(logarithms),
        error: (interval[1] - interval[0]) / (2.0 * reach),
        degrees: noise.degrees,
    }
}

/// Ends of the interval of `after - before`, each given as [low, value, high].
fn difference(before: [f64; 3], after: [f64; 3]) -> [f64; 2] {
    let delta = after[1] - before[1];
    let down = (after[1] - after[0]).hypot(before[2] - before[1]);
    let up = (after[2] - after[1]).hypot(before[1] - before[0]);
    [delta - down, delta + up]
}

/// Standard error of the share of a side's calls above its own quantile.
///
/// `√Σ w_h² N_h p (1 - p + N_h p τ²) / Σ w_h N_h`, w the weights of the rows: binomial within a replicate, and between them the variance `τ²` of the rate that
/// is left of the dispersion φ of a mean replicate, `φ = 1 - p + μ τ²`.
fn share_error(case: &Case<'_>, side: usize, share: f64, noise: Noise) -> f64 {
    let binomial = 1.0 - share;
    // A dispersion of 1 is the least that a noise can have; nothing says that replicates differ then.
    let excess = if noise.dispersion > 1.0 { noise.dispersion - binomial } else { 0.0 };
    let tau2 = excess / case.sample().mean_count().max(1.0);
    let rows = case.exposures.design.rows();
    let exposures =
        || rows[side].iter().map(|row| (case.calls.weights[*row], case.calls.by_row[*row]));
    let variance: f64 =
        exposures().map(|(w, n)| w * w * n * share * (n * share).mul_add(tau2, binomial)).sum();
    variance.sqrt() / exposures().map(|(w, n)| w * n).sum::<f64>().max(f64::MIN_POSITIVE)
}
