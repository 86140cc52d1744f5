//! Judges the latency and the error rate of every syscall that does work.

use profiler_common::abi::latency::{BUCKETS, bucket_floor_ns, bucket_of};
use profiler_common::profile::LatencyHistogram;

use crate::diff::{ProfileDiff, Replicate, SyscallCounts, SyscallDiff};

use super::count_test::{Arm, Item, Noise, Outcome, compare};
use super::dispersion::moderate;
use super::special::{binomial_upper_tail, t_quantile};
use super::{Direction, Policy, Subject, SyscallMetric, Verdict};

/// Fewest failed calls, both sides together, of an error rate that is judged.
const ERRORS_MIN: f64 = 30.0;

/// Fewest calls a side of an error rate that is judged.
const CALLS_MIN: f64 = 200.0;

/// Tail of the two-sided 95 % interval.
const INTERVAL_TAIL: f64 = 0.025;

/// One metric of one syscall, ready to be tested.
struct Case<'d> {
    syscall: &'d SyscallDiff,
    metric: SyscallMetric,
    before: LatencyHistogram,
    after: LatencyHistogram,
    /// Calls above the baseline's quantile, or failed calls, of all calls.
    item: Item,
    /// Lower edge of the first bucket above the baseline's quantile, in nanoseconds.
    threshold_ns: u64,
}

/// A verdict on each metric of each working syscall with enough calls.
pub(super) fn judge(diff: &ProfileDiff, policy: &Policy) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut cases = Vec::new();
    for syscall in diff.syscalls.iter().filter(|syscall| !syscall.waiting) {
        let (before, after) = (pooled(&syscall.baseline), pooled(&syscall.candidate));
        if after.calls() == 0 {
            continue;
        }
        if before.calls() == 0 {
            verdicts.extend(judge_new(diff, syscall, &after, policy));
            continue;
        }
        let takes_time = time_share(&before, &diff.baseline)
            .max(time_share(&after, &diff.candidate))
            >= policy.syscall_time_min;
        for metric in [SyscallMetric::P50, SyscallMetric::P95, SyscallMetric::P99] {
            if takes_time {
                cases.extend(quantile_case(syscall, metric, [&before, &after], policy));
            }
        }
        cases.extend(error_case(syscall, [&before, &after], policy));
    }
    let items: Vec<Item> = cases.iter().map(|case| case.item.clone()).collect();
    let noises = moderate(&items, 0.0);
    verdicts.extend(cases.iter().zip(noises).map(|(case, noise)| case.verdict(noise, policy)));
    verdicts
}

fn pooled(counts: &[SyscallCounts]) -> LatencyHistogram {
    let mut all = LatencyHistogram::default();
    for replicate in counts {
        all.merge(&replicate.histogram);
    }
    all
}

/// Time in the calls over CPU time of the service.
fn time_share(calls: &LatencyHistogram, replicates: &[Replicate]) -> f64 {
    let cpu_ns: u64 = replicates.iter().map(|replicate| replicate.cpu_ns).sum();
    calls.sum_ns as f64 / cpu_ns.max(1) as f64
}

/// An arm over the replicates that made the call at all.
fn arm(counts: &[SyscallCounts], hits: impl Fn(&SyscallCounts) -> u64) -> Arm {
    let (counts, exposures) = counts
        .iter()
        .filter(|replicate| replicate.histogram.calls() > 0)
        .map(|replicate| (hits(replicate) as f64, replicate.histogram.calls() as f64))
        .unzip();
    Arm { counts, exposures }
}

fn has_replicates(item: &Item, policy: &Policy) -> bool {
    let least = policy.min_replicates.max(2);
    item.baseline.counts.len() >= least && item.candidate.counts.len() >= least
}

/// Calls above the baseline's quantile: a shift of the quantile is a change of that share.
fn quantile_case<'d>(
    syscall: &'d SyscallDiff,
    metric: SyscallMetric,
    [before, after]: [&LatencyHistogram; 2],
    policy: &Policy,
) -> Option<Case<'d>> {
    let quantile = metric.quantile()?;
    let expected = |calls: u64| calls as f64 * (1.0 - quantile);
    if expected(before.calls().min(after.calls())) < policy.min_exceedances {
        return None;
    }
    let threshold_ns = threshold_above(before, quantile);
    let above = |replicate: &SyscallCounts| replicate.histogram.calls_at_least(threshold_ns);
    let item =
        Item { baseline: arm(&syscall.baseline, above), candidate: arm(&syscall.candidate, above) };
    has_replicates(&item, policy).then(|| Case {
        syscall,
        metric,
        before: before.clone(),
        after: after.clone(),
        item,
        threshold_ns,
    })
}

fn error_case<'d>(
    syscall: &'d SyscallDiff,
    [before, after]: [&LatencyHistogram; 2],
    policy: &Policy,
) -> Option<Case<'d>> {
    let failed = |replicate: &SyscallCounts| replicate.errors;
    let item = Item {
        baseline: arm(&syscall.baseline, failed),
        candidate: arm(&syscall.candidate, failed),
    };
    let is_enough = item.baseline.count() + item.candidate.count() >= ERRORS_MIN
        && item.baseline.exposure().min(item.candidate.exposure()) >= CALLS_MIN;
    (is_enough && has_replicates(&item, policy)).then(|| Case {
        syscall,
        metric: SyscallMetric::ErrorRate,
        before: before.clone(),
        after: after.clone(),
        item,
        threshold_ns: 0,
    })
}

/// Lower edge of the first bucket above the one that holds the quantile.
fn threshold_above(histogram: &LatencyHistogram, quantile: f64) -> u64 {
    let rank = quantile * histogram.calls() as f64;
    let mut below = 0;
    for (bucket, calls) in histogram.buckets() {
        below += calls;
        if below as f64 >= rank {
            return bucket_floor_ns((bucket + 1).min(BUCKETS as u32 - 1));
        }
    }
    0
}

/// Smallest bucket edge that is at least `latency_ns`.
fn edge_at_least(latency_ns: u64) -> u64 {
    let bucket = bucket_of(latency_ns);
    let floor = bucket_floor_ns(bucket);
    if floor >= latency_ns { floor } else { bucket_floor_ns((bucket + 1).min(BUCKETS as u32 - 1)) }
}

impl Case<'_> {
    fn verdict(&self, noise: Noise, policy: &Policy) -> Verdict {
        let minimum = if self.metric == SyscallMetric::ErrorRate {
            (policy.error_rel_min * self.item.baseline.rate()).max(policy.error_abs_min)
        } else {
            0.0
        };
        let outcome = compare(&self.item, noise, minimum);
        let (p_growth, p_shrink, values) = match self.metric.quantile() {
            None => (outcome.p_growth, outcome.p_shrink, rate_values(&outcome)),
            Some(quantile) => (
                self.p_shifted(noise, self.shifted_up(policy), true),
                self.p_shifted(noise, self.shifted_down(policy), false),
                self.quantile_values(quantile, &outcome, noise.degrees),
            ),
        };
        let Values { before, after, ci_low, ci_high } = values;
        Verdict {
            subject: Subject::Syscall { name: self.syscall.name.clone(), metric: self.metric },
            direction: if p_growth <= p_shrink { Direction::Worse } else { Direction::Better },
            baseline_value: Some(before),
            candidate_value: after,
            delta_abs: after - before,
            delta_rel: (before > 0.0).then(|| (after - before) / before),
            ci_low,
            ci_high,
            p: (2.0 * p_growth.min(p_shrink)).min(1.0),
            q: 1.0,
            samples_baseline: self.before.calls(),
            samples_candidate: self.after.calls(),
            replicates_baseline: self.item.baseline.counts.len(),
            replicates_candidate: self.item.candidate.counts.len(),
            significant: false,
            explained_by: None,
            also_visible_in: Vec::new(),
        }
    }

    fn minimum_effect(&self, policy: &Policy) -> (f64, u64) {
        match self.metric {
            SyscallMetric::P50 => (policy.p50_rel_min, policy.p50_abs_min_ns),
            SyscallMetric::P95 => (policy.p95_rel_min, policy.p95_abs_min_ns),
            SyscallMetric::P99 | SyscallMetric::ErrorRate => {
                (policy.p99_rel_min, policy.p99_abs_min_ns)
            }
        }
    }

    /// The threshold, moved up by the minimum effect.
    fn shifted_up(&self, policy: &Policy) -> Option<u64> {
        let (relative, absolute) = self.minimum_effect(policy);
        let grown = (self.threshold_ns as f64 * (1.0 + relative)) as u64;
        Some(edge_at_least(grown.max(self.threshold_ns.saturating_add(absolute))))
    }

    /// The threshold, moved down by the minimum effect, or `None` when that is below 0.
    fn shifted_down(&self, policy: &Policy) -> Option<u64> {
        let (relative, absolute) = self.minimum_effect(policy);
        let shrunk = (self.threshold_ns as f64 / (1.0 + relative)) as u64;
        Some(bucket_floor_ns(bucket_of(shrunk.min(self.threshold_ns.checked_sub(absolute)?))))
    }

    /// P that the candidate's share of calls above the moved threshold differs so from the baseline's share above its
    /// own: the candidate's quantile lies beyond the moved threshold.
    fn p_shifted(&self, noise: Noise, moved_ns: Option<u64>, is_growth: bool) -> f64 {
        let Some(moved_ns) = moved_ns else {
            return 1.0;
        };
        let above = |replicate: &SyscallCounts| replicate.histogram.calls_at_least(moved_ns);
        let candidate = arm(&self.syscall.candidate, above);
        let outcome =
            compare(&Item { baseline: self.item.baseline.clone(), candidate }, noise, 0.0);
        if is_growth { outcome.p_growth } else { outcome.p_shrink }
    }

    /// Quantiles with an interval by Woodruff (1952): the quantiles at q ± t se(share above).
    fn quantile_values(&self, quantile: f64, outcome: &Outcome, degrees: f64) -> Values {
        let t = t_quantile(INTERVAL_TAIL, degrees);
        let around = |histogram: &LatencyHistogram, error: f64| {
            let reach = t * error;
            let quantiles = [quantile - reach, quantile, quantile + reach];
            histogram.quantiles_ns(quantiles.map(|q| q.clamp(0.0, 1.0))).map(|ns| ns as f64)
        };
        let [before_low, before, before_high] = around(&self.before, outcome.baseline_error);
        let [after_low, after, after_high] = around(&self.after, outcome.candidate_error);
        Values { before, after, ci_low: after_low - before_high, ci_high: after_high - before_low }
    }
}

struct Values {
    before: f64,
    after: f64,
    ci_low: f64,
    ci_high: f64,
}

fn rate_values(outcome: &Outcome) -> Values {
    let Outcome { baseline_rate, candidate_rate, ci_low, ci_high, .. } = *outcome;
    Values { before: baseline_rate, after: candidate_rate, ci_low, ci_high }
}

/// A syscall that the baseline has none of: what a write that became synchronous looks like.
///
/// p is that all calls fall on the candidate's windows by chance, `r^(n/φ)` with r its share of all windows and φ the
/// dispersion of its calls over replicates.
fn judge_new(
    diff: &ProfileDiff,
    syscall: &SyscallDiff,
    after: &LatencyHistogram,
    policy: &Policy,
) -> Option<Verdict> {
    let calls: Vec<f64> =
        syscall.candidate.iter().map(|replicate| replicate.histogram.calls() as f64).collect();
    let seen = calls.iter().filter(|calls| **calls > 0.0).count();
    let [p99] = after.quantiles_ns([0.99]);
    let matters = p99 >= policy.p99_abs_min_ns
        || time_share(after, &diff.candidate) >= policy.syscall_time_min;
    let least = policy.min_replicates.max(2);
    if after.calls() < policy.min_new_calls
        || seen < least
        || diff.baseline.len() < least
        || !matters
    {
        return None;
    }
    let mean = calls.iter().sum::<f64>() / calls.len() as f64;
    let variance = calls.iter().map(|calls| (calls - mean).powi(2)).sum::<f64>()
        / (calls.len() as f64 - 1.0).max(1.0);
    let independent = after.calls() as f64 / (variance / mean).max(1.0);
    // Woodruff's interval around the quantile, with as many calls as are independent.
    let reach = t_quantile(INTERVAL_TAIL, f64::INFINITY) * (0.99 * 0.01 / independent).sqrt();
    let [low, high] = after.quantiles_ns([0.99 - reach, 0.99 + reach].map(|q| q.clamp(0.0, 1.0)));
    let windows =
        |side: &[Replicate]| side.iter().map(|replicate| replicate.windows).sum::<u64>() as f64;
    let share = windows(&diff.candidate) / (windows(&diff.candidate) + windows(&diff.baseline));
    Some(Verdict {
        subject: Subject::Syscall { name: syscall.name.clone(), metric: SyscallMetric::P99 },
        direction: Direction::Worse,
        baseline_value: None,
        candidate_value: p99 as f64,
        delta_abs: p99 as f64,
        delta_rel: None,
        ci_low: low as f64,
        ci_high: high as f64,
        p: binomial_upper_tail(independent, independent, share),
        q: 1.0,
        samples_baseline: 0,
        samples_candidate: after.calls(),
        replicates_baseline: diff.baseline.len(),
        replicates_candidate: seen,
        significant: false,
        explained_by: None,
        also_visible_in: Vec::new(),
    })
}
