//! Makes alerts of what the whole service costs: every function may cost more without any share of them changing. Pure.

use crate::detect::{CostBasis, CostMetric, Direction, Judgement, ServiceCost};
use crate::diff::ProfileDiff;

use super::evidence::hosts;
use super::lifecycle::Sight;
use super::transition::is_gone;
use super::{Alert, AlertOptions, Evidence, Measured};

/// The cost that may become an alert: CPU time for each counted request. What is divided by time, or by what may be no
/// request, follows the load, and so would the alert.
pub(super) fn told(judgement: &Judgement) -> Option<&ServiceCost> {
    let is_told = |cost: &&ServiceCost| {
        cost.metric == CostMetric::Cpu && cost.basis == CostBasis::Request && cost.is_replicated
    };
    judgement.costs.iter().find(is_told)
}

/// What a comparison says of an alert on the cost of the service. The cost is one test of its own, so its p is its q.
pub(super) fn sight(
    alert: &Alert,
    cost: Option<&ServiceCost>,
    (pending_q, options): (f64, &AlertOptions),
) -> Sight {
    match cost {
        None => Sight::NoData,
        Some(cost) if cost.p <= pending_q => {
            Sight::Regressed { is_firm: cost.p <= options.firing_q }
        }
        Some(cost) if is_gone(alert, (cost.interval[1] - 1.0) * cost.baseline_value) => Sight::Gone,
        Some(_) => Sight::Unclear,
    }
}

/// What an alert on the cost of the service rests on.
pub(super) fn evidence(diff: &ProfileDiff, cost: &ServiceCost) -> Evidence {
    let base = cost.baseline_value;
    Evidence {
        measured: Measured {
            direction: if cost.ratio >= 1.0 { Direction::Worse } else { Direction::Better },
            baseline_value: Some(base),
            candidate_value: cost.candidate_value,
            delta_abs: (cost.ratio - 1.0) * base,
            delta_rel: Some(cost.ratio - 1.0),
            ci_low: (cost.interval[0] - 1.0) * base,
            ci_high: (cost.interval[1] - 1.0) * base,
            p: cost.p,
            q: cost.p,
            samples_baseline: diff.baseline_samples(),
            samples_candidate: diff.candidate_samples(),
            replicates_baseline: cost.replicates_baseline,
            replicates_candidate: cost.replicates_candidate,
        },
        samples_baseline: diff.baseline_samples(),
        samples_candidate: diff.candidate_samples(),
        hosts: [hosts(&diff.baseline), hosts(&diff.candidate)],
        ..Evidence::default()
    }
}
