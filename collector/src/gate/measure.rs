//! Measures what a condition is about, with its uncertainty. Pure.

use crate::detect::{CostBasis, CostMetric, Estimate, ServiceCost};
use crate::diff::{ProfileDiff, Replicate, SyscallCounts, SyscallDiff};

use super::policy::{Comparison, Condition, FunctionPart, Metric, SyscallPart};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// In the metric's unit.
    pub(super) value: f64,
    /// P of what was found, or worse, if the condition holds.
    pub(super) p_broken: f64,
    /// P of what was found, or better, if the condition does not hold.
    pub(super) p_met: f64,
}

/// Measures what a condition is about; a sentence where it cannot be measured.
///
/// Ratios are tested on their logarithm, shares as they are. A quantile is tested by the share of calls slower than the
/// limit: p99 is at most 20 ms where at most 1 % of the calls are slower than that.
pub(super) fn measure(
    condition: &Condition,
    diff: &ProfileDiff,
    costs: &[ServiceCost],
) -> Result<Measured, String> {
    let limit = condition.limit;
    let cost = |metric| costs.iter().find(|cost| cost.metric == metric);
    let (value, estimate, limit) = match &condition.metric {
        Metric::ServiceCpuRatio => ratio_of(cost(CostMetric::Cpu), limit)?,
        Metric::SyscallTimeRatio => ratio_of(cost(CostMetric::SyscallTime), limit)?,
        Metric::ServiceCpuMsPerRequest => {
            let is_per_request =
                cost(CostMetric::Cpu).is_some_and(|cost| cost.basis != CostBasis::UnitSecond);
            if !is_per_request {
                return Err("no requests are counted; set `request_syscall`".to_owned());
            }
            let ms = |unit: &Replicate| {
                unit.cpu_ns as f64 / 1e6 / unit.work.map_or(0.0, |work| work.requests)
            };
            mean_log(&diff.candidate, ms, limit)?
        }
        Metric::ServiceCpuCores => {
            mean_log(&diff.candidate, |unit| unit.cpu_ns as f64 / 1e9 / unit.seconds, limit)?
        }
        Metric::ErrorRatePct => {
            let share = error_share(&diff.syscalls.iter().collect::<Vec<_>>(), diff)?;
            (share.value * 100.0, share, limit / 100.0)
        }
        Metric::Syscall(name, part) => of_syscall(name, *part, diff, limit)?,
        Metric::Function(name, part) => of_function(name, *part, diff, limit)?,
    };
    let (above, below) = (estimate.p_above(limit), estimate.p_below(limit));
    let (p_broken, p_met) = match condition.comparison {
        Comparison::AtMost => (above, below),
        Comparison::AtLeast => (below, above),
    };
    Ok(Measured { value, p_broken, p_met })
}

/// A value as it is shown, the estimate that is tested, and the limit on the estimate's scale.
type Tested = (f64, Estimate, f64);

fn ratio_of(cost: Option<&ServiceCost>, limit: f64) -> Result<Tested, String> {
    let cost = cost.ok_or("nothing tells the cost of the service on both sides")?;
    if !cost.is_replicated {
        return Err(too_few());
    }
    Ok((cost.ratio, cost.log_ratio, limit.ln()))
}

/// Geometric mean over the units, on the scale of the logarithm: variance s²/n, n - 1 degrees of freedom.
fn mean_log(
    units: &[Replicate],
    cost: impl Fn(&Replicate) -> f64,
    limit: f64,
) -> Result<Tested, String> {
    let logs: Vec<f64> = units.iter().map(|unit| cost(unit).ln()).collect();
    let n = logs.len() as f64;
    if n < 2.0 || logs.iter().any(|log| !log.is_finite()) {
        return Err(too_few());
    }
    let mean = logs.iter().sum::<f64>() / n;
    let scatter: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let samples: u64 = units.iter().map(|unit| unit.samples).sum();
    let variance = (scatter / (n - 1.0) / n).max(1.0 / samples.max(1) as f64);
    let estimate = Estimate { value: mean, error: variance.sqrt(), degrees: n - 1.0 };
    Ok((mean.exp(), estimate, limit.ln()))
}

/// Share of hits over units that differ: `p = Σx/Σn`, `var = H/(H-1) Σ (x_h - p n_h)²/(Σn)²` (linearisation of a ratio,
/// Cochran 1977), at least the binomial one; H - 1 degrees of freedom.
fn share(hits: &[(f64, f64)]) -> Result<Estimate, String> {
    let used: Vec<(f64, f64)> = hits.iter().copied().filter(|(_, n)| *n > 0.0).collect();
    let units = used.len() as f64;
    if units < 2.0 {
        return Err(too_few());
    }
    let (x, n) = used.iter().fold((0.0, 0.0), |(x, n), (own, of)| (x + own, n + of));
    let p = x / n;
    let scatter: f64 = used.iter().map(|(own, of)| (own - p * of).powi(2)).sum();
    // A share of 0 is not without noise: it has that of half a hit.
    let binomial = (p * (1.0 - p)).max(0.5 / n) / n;
    let variance = (units / (units - 1.0) * scatter / (n * n)).max(binomial);
    Ok(Estimate { value: p, error: variance.sqrt(), degrees: units - 1.0 })
}

/// Difference of two estimates with Welch's degrees of freedom: `(v0 + v1)²/(v0²/d0 + v1²/d1)` (Welch 1947).
fn difference(after: Estimate, before: Estimate) -> Estimate {
    let (v0, v1) = (before.error.powi(2), after.error.powi(2));
    let degrees = (v0 + v1).powi(2) / (v0 * v0 / before.degrees + v1 * v1 / after.degrees);
    Estimate { value: after.value - before.value, error: (v0 + v1).sqrt(), degrees }
}

/// The logarithm of a share, by the delta method: error/p.
fn log(share: Estimate) -> Estimate {
    let floor = share.value.max(share.error * 1e-3);
    Estimate { value: floor.ln(), error: share.error / floor, degrees: share.degrees }
}

fn error_share(syscalls: &[&SyscallDiff], diff: &ProfileDiff) -> Result<Estimate, String> {
    let of_unit = |unit: usize| {
        let counts = syscalls.iter().filter_map(|syscall| syscall.candidate.get(unit));
        counts.fold((0.0, 0.0), |(x, n), counts: &SyscallCounts| {
            (x + counts.failed() as f64, n + counts.histogram.calls() as f64)
        })
    };
    share(&(0..diff.candidate.len()).map(of_unit).collect::<Vec<_>>())
}

fn of_syscall(
    name: &str,
    part: SyscallPart,
    diff: &ProfileDiff,
    limit: f64,
) -> Result<Tested, String> {
    let syscall = diff
        .syscalls
        .iter()
        .find(|syscall| syscall.name == name)
        .ok_or_else(|| format!("no call of `{name}` was seen on either side"))?;
    let slower = |units: &[SyscallCounts], ns: f64| {
        let counts = units.iter().map(|unit| {
            let calls = unit.histogram.calls() as f64;
            (unit.histogram.calls_at_least(ns as u64) as f64, calls)
        });
        share(&counts.collect::<Vec<_>>())
    };
    let quantile_ns = |units: &[SyscallCounts], q: f64| {
        let mut all = profiler_common::profile::LatencyHistogram::default();
        for unit in units {
            all.merge(&unit.histogram);
        }
        all.quantiles_ns([q])[0] as f64
    };
    match part {
        SyscallPart::ErrorRatePct => {
            let share = error_share(&[syscall], diff)?;
            Ok((share.value * 100.0, share, limit / 100.0))
        }
        SyscallPart::Ms(q) => {
            let estimate = slower(&syscall.candidate, limit * 1e6)?;
            Ok((quantile_ns(&syscall.candidate, q) / 1e6, estimate, 1.0 - q))
        }
        SyscallPart::Ratio(q) => {
            let before = quantile_ns(&syscall.baseline, q);
            let after = slower(&syscall.candidate, limit * before)?;
            // The baseline's quantile is uncertain by as much as its share of slower calls is.
            let error = after.error.hypot(slower(&syscall.baseline, before)?.error);
            let estimate = Estimate { error, ..after };
            Ok((quantile_ns(&syscall.candidate, q) / before.max(1.0), estimate, 1.0 - q))
        }
    }
}

fn of_function(
    name: &str,
    part: FunctionPart,
    diff: &ProfileDiff,
    limit: f64,
) -> Result<Tested, String> {
    let is_named: Vec<bool> = diff.functions.iter().map(|key| key.function == name).collect();
    if !is_named.contains(&true) {
        return Err(format!("no function `{name}` was seen on either side"));
    }
    let is_self = matches!(part, FunctionPart::SelfPct | FunctionPart::SelfRatio);
    let mut hits = vec![0.0; diff.baseline.len() + diff.candidate.len()];
    for stack in 0..diff.stacks.len() {
        let functions = diff.stacks.functions(stack);
        let is_hit = if is_self {
            functions.last().is_some_and(|leaf| is_named[*leaf as usize])
        } else {
            functions.iter().any(|function| is_named[*function as usize])
        };
        if is_hit {
            for count in diff.stacks.counts(stack) {
                hits[count.replicate as usize] += count.samples as f64;
            }
        }
    }
    let (before, after) = hits.split_at(diff.baseline.len());
    let of = |hits: &[f64], units: &[Replicate]| {
        let pairs = hits.iter().zip(units).map(|(hits, unit)| (*hits, unit.samples as f64));
        share(&pairs.collect::<Vec<_>>())
    };
    let after = of(after, &diff.candidate)?;
    match part {
        FunctionPart::SelfPct | FunctionPart::TotalPct => {
            Ok((after.value * 100.0, after, limit / 100.0))
        }
        FunctionPart::SelfRatio | FunctionPart::TotalRatio => {
            let before = of(before, &diff.baseline)?;
            if before.value <= 0.0 {
                return Err(format!("the baseline has no sample of `{name}`"));
            }
            Ok((after.value / before.value, difference(log(after), log(before)), limit.ln()))
        }
    }
}

fn too_few() -> String {
    "fewer than two units have it, so its uncertainty is not known".to_owned()
}
