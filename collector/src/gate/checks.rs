//! Whether the two sides can be compared at all: each doubt is a sentence with a consequence. Pure.

use serde::{Deserialize, Serialize};

use crate::diff::{ProfileDiff, Replicate};

/// Largest difference between the sides' samples for each second of CPU time, relative.
const SAMPLING_DIFFERENCE_MAX: f64 = 0.05;

/// Largest share of samples that agents may have lost.
const LOST_SHARE_MAX: f64 = 0.05;

/// Largest difference between the sides' shares of samples in code with names.
const NAMED_DIFFERENCE_MAX: f64 = 0.02;

/// Something that is wrong, or to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What follows from it.
    pub consequence: Consequence,
    /// What it is.
    pub sentence: String,
}

/// What follows from a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// People are told; the verdict stands.
    Told,
    /// The candidate may fail, but not pass.
    NoPass,
    /// The candidate may neither fail nor pass.
    NoVerdict,
    /// The sides cannot be compared: an error.
    NoAnswer,
}

impl Check {
    pub(crate) fn new(consequence: Consequence, sentence: impl Into<String>) -> Self {
        Self { consequence, sentence: sentence.into() }
    }
}

/// Every doubt that the counts themselves raise.
#[must_use]
pub fn of_counts(diff: &ProfileDiff) -> Vec<Check> {
    let told = diff.caveats().into_iter().map(|caveat| Check::new(Consequence::Told, caveat));
    told.chain(lost(diff)).chain(sampling(diff)).chain(names(diff)).chain(machines(diff)).collect()
}

/// Samples that agents lost are not lost evenly: busy moments lose more.
fn lost(diff: &ProfileDiff) -> Vec<Check> {
    let sides = ["baseline", "candidate"].into_iter().zip(&diff.facts);
    sides
        .filter_map(|(side, facts)| {
            let share = facts.lost_share.filter(|share| *share > LOST_SHARE_MAX)?;
            let sentence = format!(
                "the {side}'s agents lost {:.1} % of their samples; at most {:.0} % may be lost",
                share * 100.0,
                LOST_SHARE_MAX * 100.0
            );
            Some(Check::new(Consequence::NoVerdict, sentence))
        })
        .collect()
}

/// Both sides must be sampled alike: samples for each second of CPU time, which is the frequency of the agents.
fn sampling(diff: &ProfileDiff) -> Option<Check> {
    let [before, after] = [0, 1].map(|side: usize| diff.facts[side].samples_per_cpu_second);
    let (before, after) = (before?, after?);
    ((after / before).ln().abs() > SAMPLING_DIFFERENCE_MAX).then(|| {
        let sentence = format!(
            "the sides are not sampled alike: {before:.0} samples for each second of CPU time on the baseline, \
             {after:.0} on the candidate; give their agents the same frequency"
        );
        Check::new(Consequence::NoPass, sentence)
    })
}

/// The same part of the samples must be in code with names: else what is unnamed on one side is new on the other.
fn names(diff: &ProfileDiff) -> Option<Check> {
    let [before, after] = [0, 1].map(|side: usize| diff.facts[side].named_share);
    let (before, after) = (before?, after?);
    ((after - before).abs() > NAMED_DIFFERENCE_MAX).then(|| {
        let sentence = format!(
            "{:.1} % of the baseline's samples and {:.1} % of the candidate's are in code with names: give both sides \
             symbols, or neither",
            before * 100.0,
            after * 100.0
        );
        Check::new(Consequence::NoAnswer, sentence)
    })
}

/// The sides must have kinds of machines in common.
fn machines(diff: &ProfileDiff) -> Option<Check> {
    let kinds = |side: &[Replicate]| -> Vec<u32> {
        let mut kinds: Vec<u32> = side.iter().map(|replicate| replicate.stratum).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    let (before, after) = (kinds(&diff.baseline), kinds(&diff.candidate));
    if before.is_empty() || after.is_empty() || before == after {
        return None;
    }
    if before.iter().any(|kind| after.contains(kind)) {
        let sentence = "the sides run on partly different kinds of machines; only those that both have are compared";
        return Some(Check::new(Consequence::Told, sentence));
    }
    let sentence =
        "the sides run on different kinds of machines, so a difference may be that of the machines";
    Some(Check::new(Consequence::NoVerdict, sentence))
}
