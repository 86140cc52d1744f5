//! Where no cost of the service is known, as in files: whether growth of the functions that matter is excluded. Pure.

use std::collections::HashSet;

use crate::detect::{self, FunctionKind, Subject};
use crate::diff::show;

use super::decide::Evidence;
use super::policy::GatePolicy;

/// Share from which total time is the whole service, and so is not bounded.
const ROOT_SHARE: f64 = 0.9;

/// Most functions named as reasons.
const REASONS_MAX: usize = 5;

/// Functions that matter and may have grown beyond the margin, as sentences.
pub(super) fn unbounded(evidence: &Evidence<'_>, policy: &GatePolicy) -> Vec<String> {
    let margins = policy.pass;
    let mut reasons = Vec::new();
    let mut judged: HashSet<(&str, &str)> = HashSet::new();
    let mut is_any = false;
    for verdict in &evidence.judgement.verdicts {
        let Subject::Function { module, function, kind } = &verdict.subject else {
            continue;
        };
        judged.insert((module, function));
        let before = verdict.baseline_value.unwrap_or(0.0);
        let is_root = *kind == FunctionKind::Total && before > ROOT_SHARE;
        if is_root || before.max(verdict.candidate_value) < margins.function_share {
            continue;
        }
        is_any = true;
        let margin = (margins.function_growth * before).max(margins.function_growth_share);
        if verdict.ci_high > margin {
            reasons.push(format!(
                "growth of {} by up to {} cannot be excluded (margin {}): more samples or replicates are needed",
                verdict.subject,
                show(verdict, verdict.ci_high),
                show(verdict, margin)
            ));
        }
    }
    if !is_any {
        let share = margins.function_share * 100.0;
        reasons.push(format!(
            "no function has {share:.0} % of the CPU and enough samples to be judged"
        ));
    }
    for (key, [before, after]) in
        evidence.diff.functions.iter().zip(detect::total_shares(evidence.diff))
    {
        let is_judged = judged.contains(&(&*key.module, &*key.function));
        if before.max(after) >= margins.function_share && !is_judged {
            reasons.push(format!("`{}` was seen in too few replicates to be judged", key.function));
        }
    }
    reasons.truncate(REASONS_MAX);
    reasons
}
