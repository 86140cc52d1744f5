//! Decides which differences are regressions.
//!
//! Sampling noise is not the noise: pods and windows differ more than their samples do. So each replicate is one
//! observation, its counts are tested with a dispersion learned from the replicates themselves, against a minimum
//! effect, with the false discovery rate controlled over everything that was tested. Pure: no clock, no I/O.

mod design;
mod tree;
mod items;
mod normalize;
mod dispersion;
mod count_test;
mod special;
mod functions;
mod syscalls;
mod service;
mod discovery;
pub mod temporal;
mod groups;
mod shift;
mod group;
mod policy;
mod verdict;
#[cfg(test)]
mod simulation;

pub(crate) use design::usable;
pub use group::{Cause, CostShift, Group, SeenAs, ShiftKind};
pub use policy::Policy;
pub use service::{CostBasis, CostMetric, Estimate, ServiceCost, costs};
pub use verdict::{Direction, FunctionKind, Subject, SyscallMetric, Verdict};

use serde::{Deserialize, Serialize};

use crate::diff::ProfileDiff;

use functions::Tested;

/// What the detector says about a difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Every function and syscall with enough data, strongest evidence first.
    pub verdicts: Vec<Verdict>,
    /// The significant ones by their cause, strongest evidence first.
    pub groups: Vec<Group>,
    /// What the whole service costs, not corrected for anything.
    #[serde(default)]
    pub costs: Vec<ServiceCost>,
    /// What the comparison rests on.
    pub basis: Basis,
}

/// What a comparison rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// Factor by which the shares of unchanged functions grew, for which all shares were corrected.
    pub factor: f64,
    /// Median dispersion of what was tested; 1 is sampling noise alone.
    pub dispersion: f64,
    /// Replicates of the baseline that were used.
    pub replicates_baseline: usize,
    /// Replicates of the candidate that were used.
    pub replicates_candidate: usize,
    /// Number of tests among which the false discovery rate is controlled.
    pub tests: usize,
}

/// Share of each function's total time of all samples, on the baseline and on the candidate; parallel to
/// [`ProfileDiff::functions`]. Not corrected for anything.
#[must_use]
pub fn total_shares(diff: &ProfileDiff) -> Vec<[f64; 2]> {
    let samples = [diff.baseline_samples(), diff.candidate_samples()].map(|all| all.max(1) as f64);
    let mut shares = vec![[0.0; 2]; diff.functions.len()];
    for (function, ranges) in items::totals(&tree::CallTree::of(&diff.stacks)).iter().enumerate() {
        for stack in ranges.iter().cloned().flatten() {
            let pooled = diff.pooled(stack as usize);
            for side in 0..2 {
                shares[function][side] += pooled[side] as f64 / samples[side];
            }
        }
    }
    shares
}

/// Judges every function and syscall of a difference.
///
/// With fewer than [`Policy::min_replicates`] usable replicates on a side nothing is significant and the intervals hold
/// sampling noise alone.
#[must_use]
pub fn judge(diff: &ProfileDiff, policy: &Policy) -> Judgement {
    let tested = Tested::of(diff, policy);
    let mut syscalls = syscalls::judge(diff, policy, &tested.scale);
    let stack_p = tested.p_values();
    let is_first = |index: &usize| tested.items.list[*index].same_as.is_none();
    let distinct: Vec<usize> = (0..stack_p.len()).filter(is_first).collect();
    let p_values: Vec<f64> = distinct
        .iter()
        .map(|index| stack_p[*index])
        .chain(syscalls.iter().map(|verdict| verdict.p))
        .collect();
    let adjusted = discovery::adjust(&p_values);
    let mut stack_q = vec![1.0; stack_p.len()];
    for (index, q) in distinct.iter().zip(&adjusted) {
        stack_q[*index] = *q;
    }
    for (index, item) in tested.items.list.iter().enumerate() {
        if let Some(first) = item.same_as {
            stack_q[index] = stack_q[first as usize];
        }
    }
    for (verdict, q) in syscalls.iter_mut().zip(&adjusted[distinct.len()..]) {
        verdict.q = *q;
        verdict.significant = *q <= policy.q;
    }
    let mut verdicts = syscalls;
    for index in (0..stack_p.len()).filter(|index| tested.is_told(*index)) {
        let (p, q) = (stack_p[index], stack_q[index]);
        verdicts.push(Verdict { p, q, significant: q <= policy.q, ..tested.verdict(index) });
    }
    let groups = groups::reduce(&tested, &stack_q, &mut verdicts);
    // Stable: what has the same p stays in the order of its items, which is that of the names.
    verdicts.sort_by(|left, right| left.p.total_cmp(&right.p));
    let [replicates_baseline, replicates_candidate] = tested.design().replicates();
    let basis = Basis {
        factor: tested.scale.factor,
        dispersion: tested.prior.typical(),
        replicates_baseline,
        replicates_candidate,
        tests: p_values.len(),
    };
    Judgement { verdicts, groups, costs: costs(diff, policy), basis }
}
