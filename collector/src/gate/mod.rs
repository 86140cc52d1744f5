//! Answers whether a candidate may go on.
//!
//! Pass is a finding of its own: no regression was shown, *and* the data would have shown one of the policy's margin.
//! Where they would not, the answer is inconclusive and says what is missing.

pub mod args;
mod client;
mod policy;

pub use args::{GateArgs, Labels};
pub use client::command;
pub use policy::GatePolicy;

use std::collections::{BTreeMap, HashSet};

use profiler_common::profile::Quality;
use serde::{Deserialize, Serialize};

use crate::detect::{self, FunctionKind, Subject, Verdict, judge};
use crate::diff::{Grouping, ProfileDiff, Replication, show};
use crate::store::{Selection, Store, StoreError, TimeRange, UnitWindow};

/// How far back a gate looks when it is not told.
const LOOKBACK_SECONDS: f64 = 3600.0;

/// Longest range of a gate: seven days.
const RANGE_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// The detector's unit window when it is not told.
const WINDOW_SECONDS: u64 = 60;

/// Most functions named as reasons.
const REASONS_MAX: usize = 5;

/// What a gate is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRequest {
    /// The service.
    pub service: String,
    /// Labels of the version known to be good, such as `version`.
    pub baseline: BTreeMap<String, String>,
    /// Labels of the version in question.
    pub candidate: BTreeMap<String, String>,
    /// Start of the range, Unix seconds; instead of `lookback_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// End of the range, Unix seconds; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// Length of the range before its end; an hour when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback_seconds: Option<f64>,
    /// Length of one unit window in seconds; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// What counts as a regression, and how much must be excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<GatePolicy>,
}

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// No regression, and one of the margin's size would have been seen.
    Pass,
    /// Something got slower.
    Regression,
    /// Not enough data to say either.
    Inconclusive,
    /// The question has no answer: nothing matches it.
    Error,
}

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
    /// 0 pass, 3 regression, 4 inconclusive, 1 error.
    pub exit_code: u8,
    /// Why, as sentences.
    pub reasons: Vec<String>,
    /// Regressions and improvements, strongest evidence first.
    pub findings: Vec<Verdict>,
    /// Before.
    pub baseline: GateSide,
    /// After.
    pub candidate: GateSide,
    /// Growth, as a share of the service's CPU, that could have gone unseen in a function that matters; `None` when
    /// nothing could be tested.
    pub mde_share: Option<f64>,
}

impl GateVerdict {
    /// Exit code of the command.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Error => 1,
            Self::Regression => 3,
            Self::Inconclusive => 4,
        }
    }

    /// As it stands in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Error => "error",
            Self::Regression => "regression",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Answers a gate's question from the store. `now_unix_ns` ends the range when the request does not.
///
/// # Errors
///
/// When the store cannot be read. A question that nothing matches is an answer with [`GateVerdict::Error`].
pub fn evaluate(
    store: &Store,
    request: &GateRequest,
    now_unix_ns: u64,
) -> Result<GateAnswer, StoreError> {
    let policy = request.policy.clone().unwrap_or_default();
    let range = match range_of(request, now_unix_ns) {
        Ok(range) => range,
        Err(reason) => return Ok(GateAnswer::error(reason)),
    };
    let window_ns =
        request.window_seconds.unwrap_or(WINDOW_SECONDS).clamp(1, 86_400) * 1_000_000_000;
    let read = |labels: &BTreeMap<String, String>| -> Result<Vec<UnitWindow>, StoreError> {
        let labels = labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let selection = Selection { service: request.service.clone(), labels };
        store.unit_windows(&selection, range, window_ns)
    };
    let (baseline, candidate) = (read(&request.baseline)?, read(&request.candidate)?);
    for (side, labels, windows) in
        [("baseline", &request.baseline, &baseline), ("candidate", &request.candidate, &candidate)]
    {
        if windows.is_empty() {
            let labels = Labels(labels.clone());
            return Ok(GateAnswer::error(format!(
                "no profiles of service `{}` match the {side} `{labels}` in this range",
                request.service
            )));
        }
    }
    let grouping = Grouping { window_ns, ..Grouping::default() };
    let diff = ProfileDiff::new(&baseline, &candidate, &grouping);
    Ok(decide(&diff, &judge(&diff, &policy.detect).verdicts, &policy))
}

fn range_of(request: &GateRequest, now_unix_ns: u64) -> Result<TimeRange, String> {
    let now = now_unix_ns as f64 / 1e9;
    let end = request.to.unwrap_or(now);
    let start = request.from.unwrap_or(end - request.lookback_seconds.unwrap_or(LOOKBACK_SECONDS));
    let is_sane = start.is_finite() && end.is_finite() && start < end && end > 0.0;
    if !is_sane || end - start > RANGE_SECONDS_MAX {
        return Err(format!(
            "the range from {start} to {end} is empty or longer than {RANGE_SECONDS_MAX} s"
        ));
    }
    // A range that ends now has an inclusive last nanosecond.
    let end_unix_ns = if request.to.is_some() { (end * 1e9) as u64 } else { now_unix_ns };
    Ok(TimeRange { start_unix_ns: (start.max(0.0) * 1e9) as u64, end_unix_ns })
}

/// Decides on judged differences.
#[must_use]
pub fn decide(diff: &ProfileDiff, verdicts: &[Verdict], policy: &GatePolicy) -> GateAnswer {
    let side = |replicates: &[crate::diff::Replicate], quality: &Quality| GateSide {
        samples: replicates.iter().map(|replicate| replicate.samples).sum(),
        replicates: detect::usable(replicates, &policy.detect).len(),
        whole_share: quality.whole_share(),
    };
    let baseline = side(&diff.baseline, &diff.baseline_quality);
    let candidate = side(&diff.candidate, &diff.candidate_quality);
    let regressions: Vec<String> =
        verdicts.iter().filter(|verdict| verdict.is_regression()).map(describe).collect();
    let missing = missing_data(diff.replication, [baseline, candidate], policy);
    let (mde_share, mut unbounded) = unbounded_growth(verdicts, policy);
    unbounded.extend(unjudged(diff, verdicts, policy));
    let (verdict, mut reasons) = if !missing.is_empty() {
        // Too little to stop a rollout on. What was found so far stands among the findings.
        (GateVerdict::Inconclusive, missing)
    } else if !regressions.is_empty() {
        (GateVerdict::Regression, regressions)
    } else if !unbounded.is_empty() {
        unbounded.truncate(REASONS_MAX);
        (GateVerdict::Inconclusive, unbounded)
    } else {
        let reason = format!(
            "no regression, and growth above {:.2} % of the service's CPU in a function that matters is excluded",
            mde_share.unwrap_or(0.0) * 100.0
        );
        (GateVerdict::Pass, vec![reason])
    };
    reasons.extend(diff.caveats());
    GateAnswer {
        verdict,
        exit_code: verdict.exit_code(),
        reasons,
        findings: verdicts.iter().filter(|verdict| verdict.is_finding()).cloned().collect(),
        baseline,
        candidate,
        mde_share,
    }
}

/// One sentence on a regression.
fn describe(verdict: &Verdict) -> String {
    let before =
        verdict.baseline_value.map_or_else(|| "absent".to_owned(), |value| show(verdict, value));
    let after = show(verdict, verdict.candidate_value);
    let change = verdict
        .delta_rel
        .map_or_else(|| "new".to_owned(), |change| format!("{:+.1} %", change * 100.0));
    format!("{} went from {before} to {after} ({change})", verdict.subject)
}

/// What there is too little of.
fn missing_data(
    replication: Replication,
    sides: [GateSide; 2],
    policy: &GatePolicy,
) -> Vec<String> {
    let (least, what) = match replication {
        Replication::Units | Replication::Pairs => (policy.min_units, "units (pods or hosts)"),
        Replication::Windows => (policy.min_windows, "windows"),
    };
    let mut missing = Vec::new();
    for (name, side) in ["baseline", "candidate"].into_iter().zip(sides) {
        if side.samples < policy.min_samples {
            missing.push(format!(
                "the {name} has {} samples; at least {} are needed",
                side.samples, policy.min_samples
            ));
        }
        if side.replicates < least.max(2) {
            missing.push(format!(
                "the {name} has {} {what} with at least {} samples; at least {} are needed",
                side.replicates,
                policy.detect.min_replicate_samples,
                least.max(2)
            ));
        }
    }
    missing
}

/// The largest upper end of an interval among functions that matter, and those whose end lies above the margin.
fn unbounded_growth(verdicts: &[Verdict], policy: &GatePolicy) -> (Option<f64>, Vec<String>) {
    let mut largest: Option<f64> = None;
    let mut unbounded = Vec::new();
    for verdict in verdicts {
        let Subject::Function { kind, .. } = &verdict.subject else {
            continue;
        };
        let before = verdict.baseline_value.unwrap_or(0.0);
        // A root function holds the whole service: its share says nothing.
        let is_root = *kind == FunctionKind::Total && before > policy.root_share;
        if is_root || before.max(verdict.candidate_value) < policy.function_share {
            continue;
        }
        largest = Some(largest.unwrap_or(0.0).max(verdict.ci_high));
        let margin = (policy.margin_relative * before).max(policy.margin_absolute);
        if verdict.ci_high > margin {
            unbounded.push(format!(
                "growth of {} by up to {} cannot be excluded (margin {}): more samples or replicates are needed",
                verdict.subject,
                show(verdict, verdict.ci_high),
                show(verdict, margin)
            ));
        }
    }
    if largest.is_none() {
        unbounded.push(format!(
            "no function has {:.0} % of the CPU and enough samples to be judged",
            policy.function_share * 100.0
        ));
    }
    (largest, unbounded)
}

/// Functions that matter and were not judged, such as one that a single replicate spends half of its time in.
fn unjudged(diff: &ProfileDiff, verdicts: &[Verdict], policy: &GatePolicy) -> Vec<String> {
    let judged: HashSet<(&str, &str)> = verdicts
        .iter()
        .filter_map(|verdict| match &verdict.subject {
            Subject::Function { module, function, .. } => Some((&**module, &**function)),
            Subject::Syscall { .. } => None,
        })
        .collect();
    let totals = detect::total_shares(diff);
    diff.functions
        .iter()
        .zip(totals)
        .filter(|(key, [before, after])| {
            before.max(*after) >= policy.function_share
                && !judged.contains(&(&*key.module, &*key.function))
        })
        .map(|(key, _)| format!("`{}` was seen in too few replicates to be judged", key.function))
        .collect()
}

impl GateAnswer {
    fn error(reason: String) -> Self {
        Self {
            verdict: GateVerdict::Error,
            exit_code: GateVerdict::Error.exit_code(),
            reasons: vec![reason],
            findings: Vec::new(),
            baseline: GateSide::default(),
            candidate: GateSide::default(),
            mde_share: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
