//! What a comparison rests on: the replicates that are good enough, how they are grouped, and their exposures.

use std::collections::BTreeMap;

use crate::diff::{ProfileDiff, Replicate, Replication};

use super::Policy;

/// Replicates of one kind of machine. Numbers index rows of counts: the baseline's replicates first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stratum {
    pub(super) baseline: Vec<usize>,
    /// In a paired design parallel to `baseline`.
    pub(super) candidate: Vec<usize>,
}

/// The replicates that are used.
#[derive(Debug, Clone)]
pub(super) struct Design {
    pub(super) strata: Vec<Stratum>,
    /// Whether the n-th replicate of a stratum's baseline and of its candidate are the same host.
    pub(super) is_paired: bool,
}

/// Indices of the replicates with enough samples.
pub(crate) fn usable(replicates: &[Replicate], policy: &Policy) -> Vec<usize> {
    (0..replicates.len()).filter(|index| is_usable(&replicates[*index], policy)).collect()
}

fn is_usable(replicate: &Replicate, policy: &Policy) -> bool {
    replicate.samples >= policy.min_replicate_samples.max(1)
}

impl Design {
    /// Groups the usable replicates; a kind of machine that only one side has is left out, and so is a pair of which one
    /// is not usable. Where that leaves nothing, kinds of machines are compared with each other.
    pub(super) fn of(diff: &ProfileDiff, policy: &Policy) -> Self {
        let baselines = diff.baseline.len();
        Self::among(diff, |row| {
            let replicate = match row.checked_sub(baselines) {
                None => &diff.baseline[row],
                Some(index) => &diff.candidate[index],
            };
            is_usable(replicate, policy)
        })
    }

    /// The same over the rows that `is_used` says.
    pub(super) fn among(diff: &ProfileDiff, is_used: impl Fn(usize) -> bool) -> Self {
        let baselines = diff.baseline.len();
        if diff.replication == Replication::Pairs {
            let pairs = 0..baselines.min(diff.candidate.len());
            let baseline: Vec<usize> =
                pairs.filter(|at| is_used(*at) && is_used(at + baselines)).collect();
            let candidate = baseline.iter().map(|at| at + baselines).collect();
            return Self { strata: vec![Stratum { baseline, candidate }], is_paired: true };
        }
        let mut strata: BTreeMap<u32, Stratum> = BTreeMap::new();
        let empty = || Stratum { baseline: Vec::new(), candidate: Vec::new() };
        for index in (0..baselines).filter(|row| is_used(*row)) {
            let stratum = strata.entry(diff.baseline[index].stratum).or_insert_with(empty);
            stratum.baseline.push(index);
        }
        for index in (0..diff.candidate.len()).filter(|index| is_used(index + baselines)) {
            let stratum = strata.entry(diff.candidate[index].stratum).or_insert_with(empty);
            stratum.candidate.push(index + baselines);
        }
        let is_whole = |stratum: &Stratum| {
            !stratum.baseline.is_empty()
                && !stratum.candidate.is_empty()
                && stratum.baseline.len() + stratum.candidate.len() > 2
        };
        let whole: Vec<Stratum> =
            strata.values().filter(|stratum| is_whole(stratum)).cloned().collect();
        if !whole.is_empty() {
            return Self { strata: whole, is_paired: false };
        }
        let mut all = empty();
        for stratum in strata.into_values() {
            all.baseline.extend(stratum.baseline);
            all.candidate.extend(stratum.candidate);
        }
        Self { strata: vec![all], is_paired: false }
    }

    /// Replicates of the baseline and of the candidate.
    pub(super) fn replicates(&self) -> [usize; 2] {
        let count = |of: fn(&Stratum) -> &Vec<usize>| {
            self.strata.iter().map(|stratum| of(stratum).len()).sum()
        };
        [count(|stratum| &stratum.baseline), count(|stratum| &stratum.candidate)]
    }

    /// Whether both sides have enough replicates for a test.
    pub(super) fn is_replicated(&self, policy: &Policy) -> bool {
        self.replicates().into_iter().all(|count| count >= policy.min_replicates.max(2))
    }

    /// Rows that are used: of the baseline, and of the candidate.
    pub(super) fn rows(&self) -> [Vec<usize>; 2] {
        let rows =
            |of: fn(&Stratum) -> &Vec<usize>| self.strata.iter().flat_map(of).copied().collect();
        [rows(|stratum| &stratum.baseline), rows(|stratum| &stratum.candidate)]
    }

    /// Residual degrees of freedom: replicates minus two means for each stratum; pairs minus one.
    pub(super) fn degrees(&self) -> f64 {
        let [before, after] = self.replicates();
        if self.is_paired {
            return (before as f64 - 1.0).max(0.0);
        }
        ((before + after) as f64 - 2.0 * self.strata.len() as f64).max(0.0)
    }

    /// Sum of `counts` over the replicates that are used: of the baseline, and of the candidate.
    pub(super) fn pooled(&self, counts: &[f64]) -> [f64; 2] {
        let sum = |of: fn(&Stratum) -> &Vec<usize>| {
            self.strata.iter().flat_map(of).map(|row| counts[*row]).sum()
        };
        [sum(|stratum| &stratum.baseline), sum(|stratum| &stratum.candidate)]
    }
}

/// Samples of every replicate, the baseline's first.
pub(super) fn samples(diff: &ProfileDiff) -> Vec<f64> {
    let replicates = diff.baseline.iter().chain(&diff.candidate);
    replicates.map(|replicate| replicate.samples as f64).collect()
}
