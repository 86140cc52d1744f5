//! What a gate answers.

use serde::{Deserialize, Serialize};

use crate::detect::{self, Group, ServiceCost, Verdict};
use crate::diff::{ProfileDiff, Replicate};

use super::checks::Check;
use super::criteria::Criterion;
use super::decide::Decision;
use super::detectable::Detectable;
use super::policy::GatePolicy;
use super::verdict::{GateResult, GateVerdict};

/// What one side of the comparison held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GateSide {
    /// On-CPU samples.
    pub samples: u64,
    /// Replicates with enough samples.
    pub replicates: usize,
    /// Share of the user stacks that are whole; `None` where no agent said.
    #[serde(default)]
    pub whole_share: Option<f64>,
}

/// What a gate answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// The answer in one word.
    pub verdict: GateVerdict,
    /// What a rollout does with it.
    pub result: GateResult,
    /// 100 pass, 50 hold, 0 fail or error.
    pub score: u8,
    /// 0 pass, 3 fail, 4 hold, 1 error.
    pub exit_code: u8,
    /// Why, as sentences.
    pub reasons: Vec<String>,
    /// What is wrong with the comparison, or to be known, and what followed from it.
    pub checks: Vec<Check>,
    /// Regressions and improvements by their cause, strongest evidence first.
    pub groups: Vec<Group>,
    /// The roots of `groups`.
    pub findings: Vec<Verdict>,
    /// What the service costs.
    pub costs: Vec<ServiceCost>,
    /// The policy's own conditions.
    #[serde(default)]
    pub criteria: Vec<Criterion>,
    /// Before.
    pub baseline: GateSide,
    /// After.
    pub candidate: GateSide,
    /// Looks at the data so far; the verdict is that of look `look`.
    pub looks: u32,
    /// The look that decided; 0 for the only look at complete data, `None` before the first.
    pub look: Option<u32>,
    /// Whether no look follows.
    pub is_final: bool,
    /// When the next look is due, Unix seconds; `None` when there is none.
    pub next_look: Option<f64>,
    /// What could have been found.
    pub detectable: Detectable,
}

impl GateAnswer {
    /// An answer without data.
    pub(super) fn without_data(verdict: GateVerdict, reason: String, policy: &GatePolicy) -> Self {
        let is_final = verdict == GateVerdict::Error;
        let result = verdict.result(is_final, policy.on_inconclusive);
        Self {
            verdict,
            result,
            score: result.score(),
            exit_code: result.exit_code(),
            reasons: vec![reason],
            checks: Vec::new(),
            groups: Vec::new(),
            findings: Vec::new(),
            costs: Vec::new(),
            criteria: Vec::new(),
            baseline: GateSide::default(),
            candidate: GateSide::default(),
            looks: 0,
            look: None,
            is_final,
            next_look: None,
            detectable: Detectable::default(),
        }
    }

    /// The answer that a decision on these data is.
    pub(crate) fn of(seen: Seen, decision: Decision, policy: &GatePolicy) -> Self {
        let Seen { diff, judgement, checks } = seen;
        let is_final = decision.look.is_last || decision.verdict == GateVerdict::Fail;
        let result = decision.verdict.result(is_final, policy.on_inconclusive);
        Self {
            verdict: decision.verdict,
            result,
            score: result.score(),
            exit_code: result.exit_code(),
            reasons: decision.reasons,
            checks,
            findings: judgement.groups.iter().map(|group| group.root.clone()).collect(),
            groups: judgement.groups,
            costs: judgement.costs,
            criteria: decision.criteria,
            baseline: GateSide::of(&diff.baseline, diff.baseline_quality.whole_share(), policy),
            candidate: GateSide::of(&diff.candidate, diff.candidate_quality.whole_share(), policy),
            looks: decision.look.number,
            look: Some(decision.look.number),
            is_final,
            next_look: None,
            detectable: decision.detectable,
        }
    }

    /// Makes it a fail by what a policy's triggers saw, as sentences; nothing where none fired.
    pub(super) fn fail_by(&mut self, mut fired: Vec<String>) {
        if fired.is_empty() {
            return;
        }
        self.verdict = GateVerdict::Fail;
        fired.append(&mut self.reasons);
        self.reasons = fired;
        self.is_final = true;
        self.next_look = None;
        self.close(super::policy::OnInconclusive::Hold);
    }

    /// Applies what the policy says to an answer that stays open: who asked will not ask again.
    pub(super) fn close(&mut self, policy: super::policy::OnInconclusive) {
        self.result = self.verdict.result(true, policy);
        self.score = self.result.score();
        self.exit_code = self.result.exit_code();
    }
}

/// What was seen at the look that decided.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) diff: ProfileDiff,
    pub(crate) judgement: detect::Judgement,
    pub(crate) checks: Vec<Check>,
}

impl GateSide {
    fn of(side: &[Replicate], whole_share: Option<f64>, policy: &GatePolicy) -> Self {
        Self {
            samples: side.iter().map(|replicate| replicate.samples).sum(),
            replicates: detect::usable(side, &policy.detect).len(),
            whole_share,
        }
    }
}
