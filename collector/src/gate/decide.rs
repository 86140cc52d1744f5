//! Decides at one look, and over looks. Pure: it reads what was counted and tested, no store and no clock.
//!
//! Pass is a finding of its own: no regression was shown, *and* one of the policy's size is excluded. Where it is not, the
//! answer is inconclusive and says what is missing.

use crate::detect::{CostMetric, Group, Judgement, ServiceCost, Subject, SyscallMetric};
use crate::diff::{ProfileDiff, Replicate};

use super::checks::{Check, Consequence};
use super::criteria::{Criterion, Outcome, judge_all};
use super::detectable::Detectable;
use super::looks::Look;
use super::policy::GatePolicy;
use super::restarts::{Restarts, p_of_more};
use super::verdict::GateVerdict;
use super::{describe, holm};

/// Share of a look's error that the gatekeepers may spend; the other half goes to functions and syscalls.
const GATEKEEPERS_PART: f64 = 0.5;

/// Logarithm of the correction of shares beyond which functions are not judged: most of the service has changed, so what
/// is unchanged cannot be told.
const FACTOR_LOG_MAX: f64 = 0.2;

/// What one look saw.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// When it was, and how many came before it.
    pub look: Look,
    /// Both sides.
    pub diff: &'e ProfileDiff,
    /// What the detector says of them.
    pub judgement: &'e Judgement,
    /// Restarts of the baseline and of the candidate.
    pub restarts: [Restarts; 2],
    /// What is wrong with the comparison.
    pub checks: &'e [Check],
}

/// What is decided at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The look.
    pub look: Look,
    /// The answer in one word.
    pub verdict: GateVerdict,
    /// Why, as sentences.
    pub reasons: Vec<String>,
    /// Groups that would fail a candidate at some level, but not at that of this look.
    pub open_groups: usize,
    /// What could have been found.
    pub detectable: Detectable,
    /// The policy's own conditions.
    pub criteria: Vec<Criterion>,
}

/// Decides on what one look saw.
///
/// Fail: a gatekeeper (the service's costs, restarts) at Holm-adjusted p ≤ `α_j`/2, or a group of functions or a syscall at
/// q ≤ `α_j`/2, beyond the policy's margin, that is not work that moved. Pass: none of these, no open group, enough looks
/// and units, and the upper limit of the CPU cost's ratio at `α_pass,j` below the margin.
#[must_use]
pub fn decide(evidence: &Evidence<'_>, policy: &GatePolicy) -> Decision {
    let detectable = Detectable::of(evidence, policy);
    let pass_level = evidence.look.spends(policy.alpha_pass);
    let Evidence { diff, judgement, .. } = evidence;
    let mut criteria = judge_all(&policy.success_criteria, diff, &judgement.costs, pass_level);
    let gatekept = failed_gatekeepers(evidence, policy, &mut criteria);
    let decision = |verdict, reasons, open_groups| Decision {
        look: evidence.look,
        verdict,
        reasons,
        open_groups,
        detectable,
        criteria: criteria.clone(),
    };
    let stopped = |consequence: Consequence| -> Vec<String> {
        let checks = evidence.checks.iter().filter(|check| check.consequence == consequence);
        checks.map(|check| check.sentence.clone()).collect()
    };
    let errors = stopped(Consequence::NoAnswer);
    if !errors.is_empty() {
        return decision(GateVerdict::Error, errors, 0);
    }
    let mut missing = missing_data(evidence.diff, policy);
    missing.extend(stopped(Consequence::NoVerdict));
    if !missing.is_empty() {
        return decision(GateVerdict::Inconclusive, missing, 0);
    }
    let spends = evidence.look.spends(policy.alpha);
    let has_gatekeepers = !judgement.costs.is_empty() || !criteria.is_empty();
    // Files have no costs, and then nothing else spends.
    let level = if has_gatekeepers { (1.0 - GATEKEEPERS_PART) * spends } else { spends };
    let regressions = regressions(evidence);
    let (failing, open): (Vec<&Group>, Vec<&Group>) = regressions
        .into_iter()
        .partition(|group| group.root.q <= level && is_beyond_margin(group, policy));
    let mut failures = gatekept;
    failures.extend(failing.iter().map(|group| describe::group(group)));
    if !failures.is_empty() {
        return decision(GateVerdict::Fail, failures, open.len());
    }
    let mut blocking = stopped(Consequence::NoPass);
    blocking.extend(open.iter().map(|group| describe::open_group(group)));
    blocking.extend(too_early(evidence, policy));
    blocking.extend(not_excluded(evidence, policy, &detectable));
    let unmet = criteria.iter().filter(|criterion| criterion.outcome != Outcome::Met);
    blocking.extend(unmet.filter_map(|criterion| criterion.reason.clone()));
    if blocking.is_empty() {
        return decision(GateVerdict::Pass, vec![describe::pass(evidence, policy)], 0);
    }
    decision(GateVerdict::Inconclusive, blocking, open.len())
}

/// What holds after all looks so far: the first that failed; else the last one, but a pass is not taken back by a later
/// look that is only less certain.
#[must_use]
pub fn settle(decisions: Vec<Decision>) -> Option<Decision> {
    if let Some(failed) = decisions.iter().find(|decision| decision.verdict == GateVerdict::Fail) {
        return Some(failed.clone());
    }
    let passed = decisions.iter().rfind(|decision| decision.verdict == GateVerdict::Pass).cloned();
    let last = decisions.into_iter().last()?;
    match passed {
        Some(passed) if last.verdict == GateVerdict::Inconclusive && last.open_groups == 0 => {
            Some(passed)
        }
        _ => Some(last),
    }
}

/// Groups that got worse and are no work that moved. None where shares cannot be compared.
fn regressions<'e>(evidence: &Evidence<'e>) -> Vec<&'e Group> {
    let are_comparable = evidence.judgement.basis.factor.ln().abs() <= FACTOR_LOG_MAX;
    let counts = |group: &&Group| match &group.root.subject {
        Subject::Function { .. } => are_comparable,
        // More calls that cost nothing are no regression; what they cost stands in the costs.
        Subject::Syscall { metric, .. } => {
            !matches!(metric, SyscallMetric::CallRate | SyscallMetric::CallsPerRequest)
        }
    };
    let groups = evidence.judgement.groups.iter().filter(|group| group.is_regression());
    groups.filter(counts).collect()
}

/// Whether the size that was found is beyond what is tolerated; the test itself is against the detector's smaller margin.
fn is_beyond_margin(group: &Group, policy: &GatePolicy) -> bool {
    let (delta, relative) = (group.root.delta_abs, group.root.delta_rel);
    let Subject::Syscall { metric, .. } = &group.root.subject else {
        return delta >= policy.fail.function_share;
    };
    let (least, least_relative) = match metric {
        SyscallMetric::P50 => (policy.detect.p50_abs_min_ns as f64, policy.detect.p50_rel_min),
        SyscallMetric::P95 => (policy.detect.p95_abs_min_ns as f64, policy.detect.p95_rel_min),
        SyscallMetric::P99 => (policy.detect.p99_abs_min_ns as f64, policy.detect.p99_rel_min),
        SyscallMetric::ErrorRate | SyscallMetric::Errno(_) => {
            (policy.detect.error_abs_min, policy.detect.error_rel_min)
        }
        // Its size is the share of calls that moved, which the detector's own margin bounds.
        SyscallMetric::LatencyShape => return true,
        SyscallMetric::CallRate | SyscallMetric::CallsPerRequest => return false,
    };
    delta >= least && relative.is_none_or(|relative| relative >= least_relative)
}

/// The costs of the service, the restarts and the policy's conditions that fail, as sentences. The conditions learn it.
fn failed_gatekeepers(
    evidence: &Evidence<'_>,
    policy: &GatePolicy,
    criteria: &mut [Criterion],
) -> Vec<String> {
    let level = GATEKEEPERS_PART * evidence.look.spends(policy.alpha);
    let costs = &evidence.judgement.costs;
    let mut gatekeepers: Vec<(f64, String)> = costs
        .iter()
        .filter_map(|cost| {
            let margin = match cost.metric {
                CostMetric::Cpu => policy.fail.service_cpu,
                CostMetric::SyscallTime if is_worth_telling(cost, costs, policy) => {
                    policy.fail.syscall_time
                }
                CostMetric::SyscallTime => return None,
            };
            Some((cost.p_above(1.0 + margin), describe::cost(cost)))
        })
        .collect();
    let sentence = describe::restarts(evidence.restarts);
    gatekeepers.push((p_of_more(evidence.restarts), sentence));
    gatekeepers.extend(criteria.iter().map(|criterion| (criterion.p_broken, criterion.broken())));
    let p_values: Vec<f64> = gatekeepers.iter().map(|(p, _)| *p).collect();
    let adjusted = holm::adjust(&p_values);
    let of_criteria = &adjusted[adjusted.len() - criteria.len()..];
    for (criterion, _) in criteria.iter_mut().zip(of_criteria).filter(|(_, p)| **p <= level) {
        criterion.outcome = Outcome::Broken;
    }
    let failed = gatekeepers.into_iter().zip(adjusted).filter(|(_, p)| *p <= level);
    failed.map(|((_, sentence), _)| sentence).collect()
}

/// Whether time in system calls grew by something that matters beside the service's CPU time.
fn is_worth_telling(cost: &ServiceCost, costs: &[ServiceCost], policy: &GatePolicy) -> bool {
    let cpu = costs.iter().find(|other| other.metric == CostMetric::Cpu);
    cpu.is_none_or(|cpu| {
        let growth = cost.candidate_value - cost.baseline_value;
        growth >= policy.detect.syscall_time_min * cpu.baseline_value
    })
}

/// What there is too little of to say anything.
fn missing_data(diff: &ProfileDiff, policy: &GatePolicy) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, side) in [("baseline", &diff.baseline), ("candidate", &diff.candidate)] {
        let samples: u64 = side.iter().map(|replicate| replicate.samples).sum();
        if samples < policy.min_samples {
            let least = policy.min_samples;
            missing.push(format!("the {name} has {samples} samples; {least} are needed"));
        }
        let (units, least) = (units(side, policy), policy.detect.min_replicates.max(2));
        if units < least {
            missing.push(format!(
                "the {name} has {units} units (pods or hosts) with at least {} samples; {least} are needed",
                policy.detect.min_replicate_samples
            ));
        }
    }
    missing
}

fn units(side: &[Replicate], policy: &GatePolicy) -> usize {
    crate::detect::usable(side, &policy.detect).len()
}

/// Why it is too early for a pass.
fn too_early(evidence: &Evidence<'_>, policy: &GatePolicy) -> Vec<String> {
    let mut reasons = Vec::new();
    if !evidence.look.is_at_least(policy.min_looks) {
        let (number, least) = (evidence.look.number, policy.min_looks);
        reasons.push(format!("a pass needs {least} looks; this was look {number}"));
    }
    let sides = [("baseline", &evidence.diff.baseline), ("candidate", &evidence.diff.candidate)];
    for (name, side) in sides {
        let units = units(side, policy);
        if units < policy.min_units {
            let least = policy.min_units;
            reasons.push(format!("a pass needs {least} units a side; the {name} has {units}"));
        }
    }
    reasons
}

/// Growth that a pass must exclude and that is not excluded.
fn not_excluded(
    evidence: &Evidence<'_>,
    policy: &GatePolicy,
    detectable: &Detectable,
) -> Vec<String> {
    let tail = evidence.look.spends(policy.alpha_pass);
    let cpu = evidence.judgement.costs.iter().find(|cost| cost.metric == CostMetric::Cpu);
    let Some(cost) = cpu else {
        return super::bound::unbounded(evidence, policy);
    };
    if cost.p_below(1.0 + policy.pass.service_cpu) <= tail {
        return Vec::new();
    }
    vec![describe::not_excluded(cost, policy, tail, detectable)]
}
