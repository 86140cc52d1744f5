//! What an alert rests on, as it is kept and shown.

use serde::{Deserialize, Serialize};

use crate::detect::temporal::{FrozenBaseline, Pace, Rung, Span};
use crate::detect::{CostShift, Direction, SeenAs, Verdict};

/// What was measured: shares of the service's CPU (0 to 1) for functions, nanoseconds for p50, p95 and p99, shares of
/// calls for error rates, CPU seconds for each second of a unit, and CPU nanoseconds for each request, for the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Which way it went.
    pub direction: Direction,
    /// Before; `None` when the baseline has none of it.
    pub baseline_value: Option<f64>,
    /// After.
    pub candidate_value: f64,
    /// `candidate_value` minus `baseline_value`.
    pub delta_abs: f64,
    /// `delta_abs` over `baseline_value`.
    pub delta_rel: Option<f64>,
    /// Lower end of the 95 % interval of `delta_abs`.
    pub ci_low: f64,
    /// Upper end of the 95 % interval of `delta_abs`.
    pub ci_high: f64,
    /// Probability of such a difference or a larger one if the true one is at most the minimum effect.
    pub p: f64,
    /// False discovery rate at which this is just significant.
    pub q: f64,
    /// Samples or calls behind `baseline_value`.
    pub samples_baseline: u64,
    /// Samples or calls behind `candidate_value`.
    pub samples_candidate: u64,
    /// Replicates of the baseline that were used; windows in the temporal mode.
    pub replicates_baseline: usize,
    /// Replicates of the candidate that were used; windows in the temporal mode.
    pub replicates_candidate: usize,
}

/// A stack whose share changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangedPath {
    /// Functions, root first.
    pub functions: Vec<String>,
    /// Share of the service's samples before.
    pub baseline_share: f64,
    /// Share of the service's samples after.
    pub candidate_share: f64,
    /// Its growth as a part of the whole change; above 1 where other paths shrank.
    #[serde(default)]
    pub part: f64,
}

/// CPU time of one request that goes into the function.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PerRequest {
    /// Before, nanoseconds.
    pub baseline_ns: f64,
    /// After, nanoseconds.
    pub candidate_ns: f64,
    /// Whether something stands for requests that need not be one.
    pub is_proxy: bool,
}

/// What an alert rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The numbers.
    #[serde(rename = "verdict")]
    pub measured: Measured,
    /// How the root was found.
    #[serde(default)]
    pub seen_as: Option<SeenAs>,
    /// Functions that no sample tells apart from the root, outermost first.
    #[serde(default)]
    pub chain: Vec<String>,
    /// The one function from which the change comes, where it comes from one.
    #[serde(default)]
    pub caller: Option<String>,
    /// Other functions that changed because of it.
    #[serde(default)]
    pub also_visible_in: Vec<String>,
    /// Where the work came from, when it only moved.
    #[serde(default)]
    pub cost_shift: Option<CostShift>,
    /// Stacks through the function whose share grew most.
    pub changed_paths: Vec<ChangedPath>,
    /// CPU cores that the service used for this function before, on average, each unit.
    pub baseline_cores: Option<f64>,
    /// The same, after.
    pub candidate_cores: Option<f64>,
    /// `candidate_cores` minus `baseline_cores`.
    pub delta_cores: Option<f64>,
    /// The same for each request, where requests are counted.
    #[serde(default)]
    pub per_request: Option<PerRequest>,
    /// Samples of the service before.
    pub samples_baseline: u64,
    /// Samples of the service after.
    pub samples_candidate: u64,
    /// Hosts before and after.
    #[serde(default)]
    pub hosts: [usize; 2],
    /// What to know before it is believed, as sentences: stacks that are not whole.
    #[serde(default)]
    pub caveats: Vec<String>,
}

/// What the temporal mode adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// What it is measured against for as long as it is open.
    pub baseline: FrozenBaseline,
    /// Start of the first window after the change, Unix nanoseconds.
    pub change_unix_ns: u64,
    /// Where the change lies with about 95 %.
    pub change_within: Span,
    /// Length of the windows that showed it.
    pub rung: Rung,
    /// Why it was told.
    pub pace: Pace,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            direction: Direction::Worse,
            baseline_value: None,
            candidate_value: 0.0,
            delta_abs: 0.0,
            delta_rel: None,
            ci_low: 0.0,
            ci_high: 0.0,
            p: 1.0,
            q: 1.0,
            samples_baseline: 0,
            samples_candidate: 0,
            replicates_baseline: 0,
            replicates_candidate: 0,
        }
    }
}

impl From<&Verdict> for Measured {
    fn from(verdict: &Verdict) -> Self {
        Self {
            direction: verdict.direction,
            baseline_value: verdict.baseline_value,
            candidate_value: verdict.candidate_value,
            delta_abs: verdict.delta_abs,
            delta_rel: verdict.delta_rel,
            ci_low: verdict.ci_low,
            ci_high: verdict.ci_high,
            p: verdict.p,
            q: verdict.q,
            samples_baseline: verdict.samples_baseline,
            samples_candidate: verdict.samples_candidate,
            replicates_baseline: verdict.replicates_baseline,
            replicates_candidate: verdict.replicates_candidate,
        }
    }
}
