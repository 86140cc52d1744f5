//! What a look could have found, and how many units would do. Pure.

use serde::{Deserialize, Serialize};

use crate::detect::{CostMetric, Estimate, FunctionKind, ServiceCost, Subject};

use super::decide::Evidence;
use super::policy::GatePolicy;

/// Most units a side that are asked for: beyond, the margin is out of reach.
pub const UNITS_MAX: usize = 1_000;

/// Share of the CPU from which a function's detectable growth is told.
const FUNCTION_SHARE: f64 = 0.01;

/// Share from which a function's total time is the whole service.
const ROOT_SHARE: f64 = 0.9;

/// Minimum detectable effects at 80 % power.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectable {
    /// Growth of the service's CPU cost, relative, that would have failed the candidate:
    /// `(1 + margin) exp((t_{1-α} + t_{0.8}) se) - 1`.
    pub service_cpu: Option<f64>,
    /// Growth of a function, as a share of the service's CPU, that would have been found: the median over functions with at
    /// least 1 % of it of `max(rel_min p, abs_min) + (t_{1-α} + t_{0.8}) se`.
    pub function_share: Option<f64>,
    /// Units a side with which growth by [`PassMargins::service_cpu`](super::policy::PassMargins) would be excluded with
    /// 80 % power, if the candidate costs as much as the baseline; `None` where nothing is known, or where they are more than
    /// [`UNITS_MAX`].
    pub units_needed: Option<usize>,
}

impl Detectable {
    pub(super) fn of(evidence: &Evidence<'_>, policy: &GatePolicy) -> Self {
        let costs = &evidence.judgement.costs;
        let cpu = costs.iter().find(|cost| cost.metric == CostMetric::Cpu && cost.is_replicated);
        let level = evidence.look.spends(policy.alpha) / 2.0;
        // One of the gatekeepers alone is below Holm's strictest level.
        let strictest = level / (costs.len() + 1) as f64;
        Self {
            service_cpu: cpu.map(|cost| {
                (1.0 + policy.fail.service_cpu) * cost.log_ratio.detectable(strictest).exp() - 1.0
            }),
            function_share: function_share(evidence, policy, level),
            units_needed: cpu.and_then(|cost| {
                units_needed(cost, policy.pass.service_cpu, evidence.look.spends(policy.alpha_pass))
            }),
        }
    }
}

/// Median over the functions that matter; the level is that of one test, since many found at once share the rate.
fn function_share(evidence: &Evidence<'_>, policy: &GatePolicy, level: f64) -> Option<f64> {
    let mut effects: Vec<f64> = Vec::new();
    for verdict in &evidence.judgement.verdicts {
        let Subject::Function { kind, .. } = &verdict.subject else {
            continue;
        };
        let share = verdict.baseline_value.unwrap_or(0.0);
        let is_root = *kind == FunctionKind::Total && share > ROOT_SHARE;
        if share >= FUNCTION_SHARE && !is_root {
            effects.extend(verdict.detectable(&policy.detect, level));
        }
    }
    effects.sort_by(f64::total_cmp);
    effects.get(effects.len() / 2).copied()
}

/// Fewest units a side with `(t_{1-α,2n-2} + t_{0.8,2n-2}) s sqrt(2/n) ≤ ln(1 + margin)`, where s is the scatter of one unit
/// that the standard error at hand implies.
fn units_needed(cost: &ServiceCost, margin: f64, tail: f64) -> Option<usize> {
    let (n0, n1) = (cost.replicates_baseline as f64, cost.replicates_candidate as f64);
    let scatter = cost.log_ratio.error / (1.0 / n0 + 1.0 / n1).sqrt();
    let is_enough = |units: usize| {
        let n = units as f64;
        let error = scatter * (2.0 / n).sqrt();
        let estimate = Estimate { value: 0.0, error, degrees: 2.0 * n - 2.0 };
        estimate.detectable(tail) <= margin.ln_1p()
    };
    // More units are never worse, so the range can be halved.
    let (mut few, mut many) = (1, UNITS_MAX);
    if !is_enough(many) {
        return None;
    }
    while many - few > 1 {
        let middle = usize::midpoint(few, many);
        if is_enough(middle) { many = middle } else { few = middle }
    }
    Some(many)
}
