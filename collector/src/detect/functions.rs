//! Judges the self and total time of every function.

use crate::diff::{FunctionDiff, ProfileDiff};

use super::count_test::{Item, Noise, Outcome, compare};
use super::dispersion::moderate;
use super::normalize::Basis;
use super::{Direction, FunctionKind, Policy, Subject, Verdict};

/// Part of a side's replicates on which a function that the other side has none of must be seen.
const NEW_ON_ONE_OF: usize = 3;

/// A verdict on each function with enough samples.
pub(super) fn judge(diff: &ProfileDiff, policy: &Policy) -> Vec<Verdict> {
    let basis = Basis::of(diff, policy);
    let (subjects, items): (Vec<(&FunctionDiff, FunctionKind)>, Vec<Item>) = diff
        .functions
        .iter()
        .flat_map(|function| {
            [FunctionKind::SelfTime, FunctionKind::Total].map(|kind| (function, kind))
        })
        .filter_map(|(function, kind)| {
            let item = item_of(diff, &basis, function, kind)?;
            is_eligible(&item, policy).then_some(((function, kind), item))
        })
        .unzip();
    let is_replicated = basis.is_replicated(policy);
    let noises = if is_replicated {
        moderate(&items, basis.factor_log_variance)
    } else {
        let sampling = Noise {
            dispersion: 1.0,
            degrees: f64::INFINITY,
            factor_log_variance: basis.factor_log_variance,
        };
        vec![sampling; items.len()]
    };
    subjects
        .into_iter()
        .zip(items.iter().zip(noises))
        .map(|((function, kind), (item, noise))| {
            let minimum = (policy.rel_min * item.baseline.rate()).max(policy.abs_min);
            let outcome = compare(item, noise, minimum);
            verdict(function, kind, item, &outcome, is_replicated)
        })
        .collect()
}

/// Counts of one kind, or `None` when the total time is nothing but the self time.
fn item_of(
    diff: &ProfileDiff,
    basis: &Basis,
    function: &FunctionDiff,
    kind: FunctionKind,
) -> Option<Item> {
    let FunctionDiff { key: _, baseline, candidate } = function;
    let (before, after) = match kind {
        FunctionKind::SelfTime => (&baseline.self_samples, &candidate.self_samples),
        FunctionKind::Total => {
            if baseline.self_samples == baseline.total_samples
                && candidate.self_samples == candidate.total_samples
            {
                return None;
            }
            (&baseline.total_samples, &candidate.total_samples)
        }
    };
    Some(Item {
        baseline: basis.baseline_arm(diff, before),
        candidate: basis.candidate_arm(diff, after),
    })
}

/// Whether there are enough samples, and not all of them on one replicate.
fn is_eligible(item: &Item, policy: &Policy) -> bool {
    let (x0, x1) = (item.baseline.count(), item.candidate.count());
    if x0 + x1 < policy.min_function_samples as f64 {
        return false;
    }
    [&item.baseline, &item.candidate].into_iter().all(|arm| {
        let seen = arm.counts.iter().filter(|count| **count > 0.0).count();
        let is_alone = x0 == 0.0 || x1 == 0.0;
        let least = if is_alone { (arm.counts.len() / NEW_ON_ONE_OF).max(2) } else { 2 };
        arm.count() == 0.0 || seen >= least.min(arm.counts.len())
    })
}

fn verdict(
    function: &FunctionDiff,
    kind: FunctionKind,
    item: &Item,
    outcome: &Outcome,
    is_replicated: bool,
) -> Verdict {
    let Outcome { baseline_rate, candidate_rate, delta, ci_low, ci_high, .. } = *outcome;
    Verdict {
        subject: Subject::Function {
            module: function.key.module.clone(),
            function: function.key.function.clone(),
            kind,
        },
        direction: if delta >= 0.0 { Direction::Worse } else { Direction::Better },
        baseline_value: (item.baseline.count() > 0.0).then_some(baseline_rate),
        candidate_value: candidate_rate,
        delta_abs: delta,
        delta_rel: (baseline_rate > 0.0).then(|| delta / baseline_rate),
        ci_low,
        ci_high,
        // Both directions are looked at, so the smaller tail counts twice.
        p: if is_replicated {
            (2.0 * outcome.p_growth.min(outcome.p_shrink)).min(1.0)
        } else {
            1.0
        },
        q: 1.0,
        samples_baseline: item.baseline.count() as u64,
        samples_candidate: item.candidate.count() as u64,
        replicates_baseline: item.baseline.counts.len(),
        replicates_candidate: item.candidate.counts.len(),
        significant: false,
        explained_by: None,
        also_visible_in: Vec::new(),
    }
}
