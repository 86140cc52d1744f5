//! How often a syscall is called: for each second of CPU time, and for each request.

use crate::diff::{ProfileDiff, Replicate, Work};

use super::super::count_test::{Exposures, Noise};
use super::super::design::{Design, usable};
use super::super::normalize::Scale;
use super::super::{Policy, SyscallMetric, Verdict};
use super::calls::Calls;
use super::case::{Case, Tails, Values};

/// Fewest calls of the baseline: what is called less often costs nothing, however often it is called after.
const CALLS_MIN: f64 = 200.0;

/// What calls are counted against.
#[derive(Debug)]
pub(super) struct Exposure {
    metric: SyscallMetric,
    exposures: Exposures,
}

impl Exposure {
    /// CPU time, and requests where they are counted on every replicate.
    ///
    /// A function that got cheaper leaves less CPU time for as many calls, so the CPU time is corrected by what each
    /// replicate has of the functions that did not change: it is the CPU time of the same work.
    pub(super) fn all(diff: &ProfileDiff, policy: &Policy, scale: &Scale) -> Vec<Self> {
        let measured = measured(diff, policy);
        let by_row = |of: &dyn Fn(&Replicate) -> f64| -> Vec<f64> {
            diff.baseline.iter().chain(&diff.candidate).map(of).collect()
        };
        let cpu = by_row(&|replicate| replicate.cpu_ns as f64 / 1e9);
        let requests = by_row(&|replicate| replicate.work.map_or(0.0, counted));
        let has_requests =
            measured.iter().zip(&requests).all(|(is_used, own)| !is_used || *own > 0.0);
        let known = Scale::flat(measured.len());
        let exposure = |metric, by_row: Vec<f64>, scale: &Scale| {
            let design = Design::among(diff, |row| measured[row] && by_row[row] > 0.0);
            Self { metric, exposures: scale.correct(design, by_row) }
        };
        let mut all = vec![exposure(SyscallMetric::CallRate, cpu, scale)];
        if has_requests {
            all.push(exposure(SyscallMetric::CallsPerRequest, requests, &known));
        }
        all
    }
}

/// Requests, unless something else stands for them: then a rate would say how the two syscalls go together.
fn counted(work: Work) -> f64 {
    if work.is_proxy { 0.0 } else { work.requests }
}

/// By row, whether the replicate has enough samples to know its CPU time, and its syscalls were traced at all.
fn measured(diff: &ProfileDiff, policy: &Policy) -> Vec<bool> {
    let baselines = diff.baseline.len();
    let mut measured = vec![false; baselines + diff.candidate.len()];
    for index in usable(&diff.baseline, policy) {
        measured[index] =
            diff.syscalls.iter().any(|syscall| syscall.baseline[index].histogram.calls() > 0);
    }
    for index in usable(&diff.candidate, policy) {
        measured[baselines + index] =
            diff.syscalls.iter().any(|syscall| syscall.candidate[index].histogram.calls() > 0);
    }
    measured
}

/// The rate of a syscall that takes time. Replicates that never called it count as such.
pub(super) fn case<'c>(
    calls: &'c Calls<'c>,
    exposure: &'c Exposure,
    policy: &Policy,
) -> Option<Case<'c>> {
    let is_enough = exposure.exposures.design.is_replicated(policy)
        && calls.takes_time(policy)
        && exposure.exposures.design.pooled(&calls.by_row)[0] >= CALLS_MIN;
    is_enough.then(|| Case {
        calls,
        metric: exposure.metric,
        counts: calls.by_row.clone(),
        exposures: &exposure.exposures,
        threshold_ns: None,
    })
}

pub(super) fn verdict(case: &Case<'_>, noise: Noise, policy: &Policy) -> Verdict {
    let outcome = case.sample().compare(noise, |base| policy.calls_rel_min * base);
    case.verdict(Values::of(&outcome), Tails::of(&outcome))
}
