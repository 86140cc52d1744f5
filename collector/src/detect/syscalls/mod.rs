//! Judges every syscall that does work: its latency, its errors, and how often it is called.
//!
//! Each number is put as a count over an exposure for each replicate, so that one test serves all: calls slower than a
//! latency of all calls, failed calls of all calls, calls of a CPU-second or a request.

mod calls;
mod case;
mod errno;
mod errors;
mod latencies;
mod new;
mod quantiles;
mod rates;
mod shape;
#[cfg(test)]
mod tests;

pub(super) use errno::errno_name;

use crate::diff::ProfileDiff;

use super::dispersion::{Prior, Scatter};
use super::normalize::Scale;
use super::{Policy, Subject, Verdict};

use calls::Calls;
use case::Case;

/// A verdict on each number of each working syscall with enough calls and replicates.
///
/// `scale` is what each replicate has of the functions that did not change: it stands for the same work.
pub(super) fn judge(diff: &ProfileDiff, policy: &Policy, scale: &Scale) -> Vec<Verdict> {
    let working: Vec<Calls<'_>> = diff
        .syscalls
        .iter()
        .filter(|syscall| !syscall.waiting)
        .map(|syscall| Calls::of(diff, syscall))
        .collect();
    let (known, fresh): (Vec<&Calls<'_>>, Vec<&Calls<'_>>) =
        working.iter().partition(|calls| calls.pooled[0].calls() > 0);
    let mut verdicts: Vec<Verdict> =
        fresh.iter().filter_map(|calls| new::judge(calls, policy)).collect();
    let slow = known.iter().flat_map(|calls| quantiles::cases(calls, policy));
    let failed = known.iter().flat_map(|calls| errors::cases(calls, policy));
    let shares: Vec<Case<'_>> = slow.chain(failed).collect();
    let prior = Prior::learn(&shares.iter().map(Case::scatter).collect::<Vec<_>>());
    verdicts.extend(shares.iter().map(|case| {
        let noise = prior.noise(&case.scatter());
        match case.threshold_ns {
            Some(threshold_ns) => quantiles::verdict(case, threshold_ns, noise, policy),
            None => errors::verdict(case, noise, policy),
        }
    }));
    let unmoved: Vec<&&Calls<'_>> =
        known.iter().filter(|calls| !has_moved(calls, &verdicts, policy)).collect();
    for calls in unmoved {
        verdicts.extend(shape::case(calls, policy).map(|case| {
            let noise = prior.noise(&case.scatter());
            shape::verdict(&case, noise)
        }));
    }
    verdicts.extend(judge_rates(diff, &known, policy, scale));
    verdicts
}

/// Whether a quantile of the syscall is likely to have moved: then its shape says nothing more.
fn has_moved(calls: &Calls<'_>, verdicts: &[Verdict], policy: &Policy) -> bool {
    verdicts.iter().any(|verdict| match &verdict.subject {
        Subject::Syscall { name, metric } => {
            *name == calls.syscall.name && metric.quantile().is_some() && verdict.p <= policy.q
        }
        Subject::Function { .. } => false,
    })
}

/// How often syscalls are called. What they scatter is not that of shares, so they lend to each other only.
fn judge_rates(
    diff: &ProfileDiff,
    known: &[&Calls<'_>],
    policy: &Policy,
    scale: &Scale,
) -> Vec<Verdict> {
    let exposures = rates::Exposure::all(diff, policy, scale);
    let mut verdicts = Vec::new();
    for exposure in &exposures {
        let cases: Vec<Case<'_>> =
            known.iter().filter_map(|calls| rates::case(calls, exposure, policy)).collect();
        // No share of anything, so none is too large to learn from.
        let scatter = |case: &Case<'_>| Scatter { rate: 0.0, ..case.scatter() };
        let prior = Prior::learn(&cases.iter().map(scatter).collect::<Vec<_>>());
        verdicts.extend(cases.iter().map(|case| {
            let noise = prior.noise(&scatter(case));
            rates::verdict(case, noise, policy)
        }));
    }
    verdicts
}
