//! Says what was found in sentences. Pure.

use crate::detect::{CostBasis, CostMetric, Group, ServiceCost};
use crate::diff::{show, show_baseline, show_change, show_ns, show_relative};

use super::decide::Evidence;
use super::detectable::{Detectable, UNITS_MAX};
use super::policy::GatePolicy;
use super::restarts::Restarts;

/// One sentence on a group that fails a candidate.
pub(super) fn group(group: &Group) -> String {
    let root = &group.root;
    let caller =
        group.caller.as_ref().map_or_else(String::new, |caller| format!(", below `{caller}`"));
    format!(
        "{} went from {} to {} ({}){caller}",
        root.subject,
        show_baseline(root),
        show(root, root.candidate_value),
        show_change(root)
    )
}

/// One sentence on a group that is significant, but not at the level of a look or not beyond the margin.
pub(super) fn open_group(found: &Group) -> String {
    format!("a regression is not excluded: {} at q = {:.1e}", group(found), found.root.q)
}

/// One sentence on a cost that grew.
pub(super) fn cost(cost: &ServiceCost) -> String {
    let [low, high] = cost.interval;
    format!(
        "{} went from {} to {} ({}, 95 % interval {} to {})",
        name(cost),
        value(cost.baseline_value),
        value(cost.candidate_value),
        show_relative(cost.ratio - 1.0),
        show_relative(low - 1.0),
        show_relative(high - 1.0)
    )
}

/// What a cost is called.
pub(super) fn name(cost: &ServiceCost) -> &'static str {
    match (cost.metric, cost.basis) {
        (CostMetric::Cpu, CostBasis::Request) => "CPU time per request",
        (CostMetric::Cpu, CostBasis::ProxyRequest) => "CPU time per estimated request",
        (CostMetric::Cpu, CostBasis::UnitSecond) => "CPU time per unit and second",
        (CostMetric::SyscallTime, CostBasis::Request) => "time in system calls per request",
        (CostMetric::SyscallTime, CostBasis::ProxyRequest) => {
            "time in system calls per estimated request"
        }
        (CostMetric::SyscallTime, CostBasis::UnitSecond) => {
            "time in system calls per unit and second"
        }
    }
}

/// A cost in its unit.
pub(super) fn value(value: f64) -> String {
    show_ns(value)
}

/// A ratio as a change in percent.
fn percent(ratio: f64) -> f64 {
    (ratio - 1.0) * 100.0
}

/// One sentence on restarts.
pub(super) fn restarts([baseline, candidate]: [Restarts; 2]) -> String {
    let each = |side: Restarts| {
        format!("{} in {:.1} unit hours", side.restarts, side.unit_seconds / 3_600.0)
    };
    format!(
        "units restart more often: {} on the candidate, {} on the baseline",
        each(candidate),
        each(baseline)
    )
}

/// Why a candidate passes.
pub(super) fn pass(evidence: &Evidence<'_>, policy: &GatePolicy) -> String {
    let costs = &evidence.judgement.costs;
    let Some(cost) = costs.iter().find(|cost| cost.metric == CostMetric::Cpu) else {
        return "no regression, and growth of every function that matters is excluded".to_owned();
    };
    let [_, high] = cost.ratio_interval(evidence.look.spends(policy.alpha_pass));
    format!(
        "no regression; {} changed by {:+.1} % and by at most {:+.1} %, and {:+.1} % is allowed",
        name(cost),
        percent(cost.ratio),
        percent(high),
        policy.pass.service_cpu * 100.0
    )
}

/// Why growth of the service's cost is not excluded, and what would do.
pub(super) fn not_excluded(
    cost: &ServiceCost,
    policy: &GatePolicy,
    tail: f64,
    detectable: &Detectable,
) -> String {
    let margin = policy.pass.service_cpu * 100.0;
    if !cost.is_replicated {
        return format!(
            "growth of {} by {margin:.0} % cannot be excluded without replicates",
            name(cost)
        );
    }
    let [_, high] = cost.ratio_interval(tail);
    let have = cost.replicates_baseline.min(cost.replicates_candidate);
    let needed = match detectable.units_needed {
        Some(needed) if needed > have => {
            format!("about {needed} units a side would do, {} more", needed - have)
        }
        Some(_) => "more time may do".to_owned(),
        None => format!("more than {UNITS_MAX} units a side would be needed"),
    };
    format!(
        "growth of {} by up to {:+.1} % cannot be excluded (found {:+.1} %, {margin:.0} % is allowed): {needed}",
        name(cost),
        percent(high),
        percent(cost.ratio)
    )
}
