//! A syscall that the baseline has none of: what a write that became synchronous looks like.

use crate::diff::Replicate;

use super::super::count_test::INTERVAL_TAIL;
use super::super::special::{P_MIN, t_quantile};
use super::super::{Direction, Policy, Subject, SyscallMetric, Verdict};
use super::calls::Calls;
use super::latencies::Latencies;

/// A verdict on a syscall of the candidate alone, told by its p99.
///
/// p is that all calls fall on the candidate's windows by chance, `r^(n/φ)` with r its share of all windows and φ the
/// dispersion of its calls over replicates.
pub(super) fn judge(calls: &Calls<'_>, policy: &Policy) -> Option<Verdict> {
    let diff = calls.diff;
    let after = &calls.syscall.candidate;
    let by_replicate: Vec<f64> =
        after.iter().map(|counts| counts.histogram.calls() as f64).collect();
    let total: f64 = by_replicate.iter().sum();
    let seen = by_replicate.iter().filter(|calls| **calls > 0.0).count();
    let least = policy.min_replicates.max(2);
    if total < policy.min_new_calls as f64 || seen < least || diff.baseline.len() < least {
        return None;
    }
    let latencies = Latencies::of(after.iter().map(|counts| (&counts.histogram, 1.0)));
    let p99 = latencies.quantile_ns(0.99);
    if p99 < policy.p99_abs_min_ns as f64 && !calls.takes_time(policy) {
        return None;
    }
    let mean = total / by_replicate.len() as f64;
    let variance = by_replicate.iter().map(|calls| (calls - mean).powi(2)).sum::<f64>()
        / (by_replicate.len() as f64 - 1.0).max(1.0);
    let independent = total / (variance / mean).max(1.0);
    // Woodruff's interval around the quantile, with as many calls as are independent.
    let z = t_quantile(INTERVAL_TAIL, f64::INFINITY);
    let reach = z * (0.99 * 0.01 / independent).sqrt();
    let [ci_low, ci_high] = [-reach, reach].map(|step| latencies.quantile_ns(0.99 + step));
    let windows =
        |side: &[Replicate]| side.iter().map(|replicate| replicate.windows).sum::<u64>() as f64;
    let share = windows(&diff.candidate) / (windows(&diff.candidate) + windows(&diff.baseline));
    Some(Verdict {
        subject: Subject::Syscall { name: calls.syscall.name.clone(), metric: SyscallMetric::P99 },
        direction: Direction::Worse,
        baseline_value: None,
        candidate_value: p99,
        delta_abs: p99,
        delta_rel: None,
        ci_low,
        ci_high,
        ratio_interval: None,
        standard_error: (ci_high - ci_low) / (2.0 * z),
        degrees: f64::INFINITY,
        p: share.powf(independent).max(P_MIN),
        q: 1.0,
        samples_baseline: 0,
        samples_candidate: total as u64,
        replicates_baseline: diff.baseline.len(),
        replicates_candidate: seen,
        significant: false,
        explained_by: None,
        also_visible_in: Vec::new(),
    })
}
