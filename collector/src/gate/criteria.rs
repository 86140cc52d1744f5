//! Judges the policy's own conditions with their uncertainty. Pure.

use serde::{Deserialize, Serialize};

use crate::detect::ServiceCost;
use crate::diff::ProfileDiff;

use super::measure::{Measured, measure};
use super::policy::Condition;

/// What became of one of the policy's conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// The condition, as it is written.
    pub condition: String,
    /// What was measured, in the metric's unit; `None` where it could not be.
    pub value: Option<f64>,
    /// P of what was found, or worse, if the condition holds; 1 where nothing was measured.
    pub p_broken: f64,
    /// What follows.
    pub outcome: Outcome,
    /// Why, where it is not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Beyond doubt: the whole interval meets it.
    Met,
    /// Beyond doubt it does not.
    Broken,
    /// It may or may not.
    Unclear,
    /// It could not be measured.
    Unknown,
}

/// Judges the conditions: met where p ≤ `level` against the reverse. Whether one is broken is decided later with the other
/// gatekeepers, by `p_broken`.
pub(super) fn judge_all(
    conditions: &[Condition],
    diff: &ProfileDiff,
    costs: &[ServiceCost],
    level: f64,
) -> Vec<Criterion> {
    let judge_one = |condition: &Condition| {
        let text = condition.to_string();
        match measure(condition, diff, costs) {
            Err(reason) => Criterion {
                reason: Some(format!("`{text}` could not be measured: {reason}")),
                condition: text,
                value: None,
                p_broken: 1.0,
                outcome: Outcome::Unknown,
            },
            Ok(Measured { value, p_broken, p_met }) => {
                let is_met = p_met <= level;
                let doubt =
                    || format!("whether `{text}` holds is not beyond doubt: found {value:.4}");
                Criterion {
                    reason: (!is_met).then(doubt),
                    value: Some(value),
                    p_broken,
                    outcome: if is_met { Outcome::Met } else { Outcome::Unclear },
                    condition: text,
                }
            }
        }
    };
    conditions.iter().map(judge_one).collect()
}

impl Criterion {
    /// One sentence on a condition that is broken.
    pub(super) fn broken(&self) -> String {
        format!("`{}` is broken: found {:.4}", self.condition, self.value.unwrap_or(f64::NAN))
    }
}
