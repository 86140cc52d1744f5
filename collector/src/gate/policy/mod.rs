//! What a gate asks of a candidate. Pure: another file reads it from YAML.

mod duration;
mod expression;
mod metric;

pub(crate) use duration::parse_seconds;
pub use expression::{Comparison, Condition, Trigger};
pub use metric::{FunctionPart, Metric, SyscallPart};

use serde::{Deserialize, Serialize};

use crate::detect::Policy;

/// What counts as a regression, and how much must be excluded before a candidate passes. Every field has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatePolicy {
    /// Length of a look window; looks come after 1, 2, 4, 8, 12, … of them.
    #[serde(with = "duration")]
    pub look: u64,
    /// Time after the start of each unit that is left out.
    #[serde(with = "duration")]
    pub warm_up: u64,
    /// Time after the warm-up from which on there is no further look.
    #[serde(with = "duration")]
    pub max_wait: u64,
    /// Probability, over all looks, that a candidate fails that is no worse than the margins.
    pub alpha: f64,
    /// Probability, over all looks, that a candidate passes that costs as much more as [`PassMargins`] allow.
    pub alpha_pass: f64,
    /// Looks before a candidate may pass.
    pub min_looks: u32,
    /// Units (pods or hosts) a side before a candidate may pass.
    #[serde(alias = "min_pods")]
    pub min_units: usize,
    /// Samples a side before anything is said.
    pub min_samples: u64,
    /// Syscall of which each call that succeeds is one request; without it, something that may stand for requests.
    pub request_syscall: Option<String>,
    /// What is done when there is no answer at the end.
    pub on_inconclusive: OnInconclusive,
    /// From where on a difference fails the candidate.
    pub fail: FailMargins,
    /// What must be excluded before it passes.
    pub pass: PassMargins,
    /// What must hold beyond doubt for a pass, and fails the candidate when it is broken beyond doubt.
    pub success_criteria: Vec<Condition>,
    /// What sends the candidate back at any time.
    pub rollback_triggers: Vec<Trigger>,
    /// What the detector calls a regression.
    pub detect: Policy,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            look: 300,
            warm_up: 300,
            max_wait: 3_600,
            alpha: 0.01,
            alpha_pass: 0.05,
            min_looks: 2,
            min_units: 3,
            min_samples: 1_000,
            request_syscall: None,
            on_inconclusive: OnInconclusive::Hold,
            fail: FailMargins::default(),
            pass: PassMargins::default(),
            success_criteria: Vec::new(),
            rollback_triggers: Vec::new(),
            detect: Policy::default(),
        }
    }
}

/// Most conditions of a policy, and most triggers: each is one more question, and makes the others stricter.
const CONDITIONS_MAX: usize = 32;

/// Longest wait: seven days, as long as a gate may look back.
const MAX_WAIT_SECONDS_MAX: u64 = 7 * 86_400;

impl GatePolicy {
    /// Checks what the format alone cannot.
    ///
    /// # Errors
    ///
    /// A sentence that names the key, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let is_level = |level: f64| level > 0.0 && level < 0.5;
        for (key, level) in [("alpha", self.alpha), ("alpha_pass", self.alpha_pass)] {
            if !is_level(level) {
                return Err(format!("`{key}` is {level}; it must be above 0 and below 0.5"));
            }
        }
        for (key, seconds) in
            [("look", self.look), ("max_wait", self.max_wait), ("warm_up", self.warm_up)]
        {
            if seconds > MAX_WAIT_SECONDS_MAX || (seconds == 0 && key != "warm_up") {
                return Err(format!("`{key}` is {seconds} s; it must be from 1 s to 7 days"));
            }
        }
        for (key, margin) in [
            ("fail.service_cpu", self.fail.service_cpu),
            ("fail.syscall_time", self.fail.syscall_time),
            ("fail.function_share", self.fail.function_share),
            ("pass.service_cpu", self.pass.service_cpu),
        ] {
            if !(margin.is_finite() && margin >= 0.0) {
                return Err(format!(
                    "`{key}` is {margin}; it must be 0 or more, such as 0.05 for 5 %"
                ));
            }
        }
        let conditions = [self.success_criteria.len(), self.rollback_triggers.len()];
        if conditions.into_iter().any(|count| count > CONDITIONS_MAX) {
            return Err(format!(
                "there are more than {CONDITIONS_MAX} `success_criteria` or `rollback_triggers`"
            ));
        }
        Ok(())
    }
}

/// What an answer that stays inconclusive means for a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// It goes on.
    Pass,
    /// It goes back.
    Fail,
    /// It waits for a person.
    #[default]
    Hold,
}

impl std::str::FromStr for OnInconclusive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pass" => Ok(Self::Pass),
            "fail" => Ok(Self::Fail),
            "hold" => Ok(Self::Hold),
            _ => Err(format!("`{text}` is none of `pass`, `fail`, `hold`")),
        }
    }
}

/// Sizes of differences that fail a candidate once they are beyond doubt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailMargins {
    /// Growth of the service's CPU cost, relative.
    pub service_cpu: f64,
    /// Growth of the time in system calls that do work, relative.
    pub syscall_time: f64,
    /// Growth of a function, as a share of the service's CPU.
    pub function_share: f64,
}

impl Default for FailMargins {
    fn default() -> Self {
        Self { service_cpu: 0.03, syscall_time: 0.20, function_share: 0.005 }
    }
}

/// Sizes of differences that must be excluded before a candidate passes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassMargins {
    /// Growth of the service's CPU cost, relative.
    pub service_cpu: f64,
    /// Where no cost is known, as in files: share of the CPU from which a function must be shown not to have grown.
    pub function_share: f64,
    /// Growth of such a function, relative, that must be excluded.
    pub function_growth: f64,
    /// Growth of such a function, as a share of the service's CPU, that need not be excluded.
    pub function_growth_share: f64,
}

impl Default for PassMargins {
    fn default() -> Self {
        Self {
            service_cpu: 0.05,
            function_share: 0.05,
            function_growth: 0.15,
            function_growth_share: 0.03,
        }
    }
}
