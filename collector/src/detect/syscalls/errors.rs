//! Share of the calls that fail, whatever the errno and by errno.

use std::collections::BTreeSet;

use crate::diff::SyscallCounts;

use super::super::count_test::Noise;
use super::super::{Policy, SyscallMetric, Verdict};
use super::calls::Calls;
use super::case::{Case, Tails, Values};

/// Fewest failed calls, both sides together, of an error rate that is judged.
const ERRORS_MIN: f64 = 30.0;

/// Fewest calls a side of an error rate that is judged.
const CALLS_MIN: u64 = 200;

/// Fewest failures with an errno that the baseline has none of, and on how many replicates: one host with a bad disk is
/// no release.
const NEW_ERRORS_MIN: f64 = 10.0;
const NEW_REPLICATES_MIN: usize = 2;

/// What can be judged of the errors of a syscall: the rate of all, and of each errno where there are several or one is
/// new.
pub(super) fn cases<'c>(calls: &'c Calls<'c>, policy: &Policy) -> Vec<Case<'c>> {
    if !calls.is_replicated(policy) || calls.fewest() < CALLS_MIN {
        return Vec::new();
    }
    let case = |metric, counts| Case {
        calls,
        metric,
        counts,
        exposures: &calls.exposures,
        threshold_ns: None,
    };
    let mut cases = Vec::new();
    let all = case(SyscallMetric::ErrorRate, calls.count(SyscallCounts::failed));
    if pooled(&all).iter().sum::<f64>() >= ERRORS_MIN {
        cases.push(all);
    }
    let errnos = errnos(calls);
    for errno in &errnos {
        let own = case(SyscallMetric::Errno(*errno), calls.count(|counts| failed(counts, *errno)));
        let is_enough = pooled(&own).iter().sum::<f64>() >= ERRORS_MIN;
        if is_new(&own) || (errnos.len() > 1 && is_enough) {
            cases.push(own);
        }
    }
    cases
}

/// Compares the rates beyond the policy's minimum effect; an errno that was never seen needs none.
pub(super) fn verdict(case: &Case<'_>, noise: Noise, policy: &Policy) -> Verdict {
    let is_new = matches!(case.metric, SyscallMetric::Errno(_)) && is_new(case);
    let Policy { error_rel_min, error_abs_min, .. } = *policy;
    let outcome = case.sample().compare(noise, |base| {
        if is_new { 0.0 } else { (error_rel_min * base).max(error_abs_min) }
    });
    let verdict = case.verdict(Values::of(&outcome), Tails::of(&outcome));
    if is_new { Verdict { baseline_value: None, ..verdict } } else { verdict }
}

/// Failed calls on each side.
fn pooled(case: &Case<'_>) -> [f64; 2] {
    case.sample().pooled()
}

fn is_new(case: &Case<'_>) -> bool {
    let [before, after] = pooled(case);
    let [_, candidate] = case.exposures.design.rows();
    let seen = candidate.iter().filter(|row| case.counts[**row] > 0.0).count();
    before == 0.0 && after >= NEW_ERRORS_MIN && seen >= NEW_REPLICATES_MIN
}

fn errnos(calls: &Calls<'_>) -> BTreeSet<u32> {
    let sides = calls.syscall.baseline.iter().chain(&calls.syscall.candidate);
    sides.flat_map(|counts| counts.errors.iter().map(|(errno, _)| *errno)).collect()
}

fn failed(counts: &SyscallCounts, errno: u32) -> u64 {
    counts
        .errors
        .binary_search_by_key(&errno, |(known, _)| *known)
        .map_or(0, |at| counts.errors[at].1)
}
