//! What the detector says about one function or syscall.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::syscalls::errno_name;
use super::{Estimate, Policy};

/// Which time of a function is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// Time in the function's own code.
    #[serde(rename = "self")]
    SelfTime,
    /// Time in the function and in all that it calls.
    Total,
}

/// Which number of a syscall is meant; in JSON its [`key`](Self::key). In each family what tells more comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SyscallMetric {
    /// Share of the calls slower than the latency at which the two sides differ most.
    LatencyShape,
    /// Half of the calls are faster.
    P50,
    /// 95 % of the calls are faster.
    P95,
    /// 99 % of the calls are faster.
    P99,
    /// Share of the calls that failed.
    ErrorRate,
    /// Share of the calls that failed with this errno.
    Errno(u32),
    /// Calls for each second of CPU time.
    CallRate,
    /// Calls for each request.
    CallsPerRequest,
}

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "subject", rename_all = "snake_case")]
pub enum Subject {
    /// A function.
    Function {
        /// File name of the executable or library, `[kernel]`, or empty.
        module: String,
        /// Name without what changes from build to build.
        function: String,
        /// Self or total time.
        kind: FunctionKind,
    },
    /// A syscall.
    Syscall {
        /// Name of the syscall; `syscall` in JSON, beside the names of what it stands in.
        #[serde(rename = "syscall")]
        name: String,
        /// Which of its numbers.
        metric: SyscallMetric,
    },
}

/// Which way it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The candidate costs more, is slower or fails more often.
    Worse,
    /// The candidate costs less, is faster or fails less often.
    Better,
}

/// What the detector says about one subject.
///
/// Values are shares of the service's CPU samples (0 to 1) for functions, nanoseconds for p50, p95 and p99, calls
/// for each CPU-second or request for call rates, and shares of calls (0 to 1) for the other numbers of syscalls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What this is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Which way it went.
    pub direction: Direction,
    /// Before; `None` when the baseline has none of it.
    pub baseline_value: Option<f64>,
    /// After; for functions corrected for the growth or shrinking of the other functions.
    pub candidate_value: f64,
    /// `candidate_value` minus `baseline_value`.
    pub delta_abs: f64,
    /// `delta_abs` over `baseline_value`; `None` when the baseline has none of it.
    pub delta_rel: Option<f64>,
    /// Lower end of the 95 % interval of `delta_abs`.
    pub ci_low: f64,
    /// Upper end of the 95 % interval of `delta_abs`.
    pub ci_high: f64,
    /// Ends of the 95 % interval of the candidate's value over the baseline's; `None` where either is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_interval: Option<[f64; 2]>,
    /// Standard error of `delta_abs`.
    #[serde(default)]
    pub standard_error: f64,
    /// Degrees of freedom of the standard error; infinite (`null` in JSON) for sampling noise alone.
    #[serde(default = "infinite", deserialize_with = "or_infinite")]
    pub degrees: f64,
    /// Probability of such a difference or a larger one if the true one is at most the minimum effect.
    pub p: f64,
    /// False discovery rate at which this is just significant.
    pub q: f64,
    /// Samples (functions) or calls (syscalls) behind `baseline_value`.
    pub samples_baseline: u64,
    /// Samples (functions) or calls (syscalls) behind `candidate_value`.
    pub samples_candidate: u64,
    /// Replicates of the baseline that were used.
    pub replicates_baseline: usize,
    /// Replicates of the candidate that were used.
    pub replicates_candidate: usize,
    /// Whether `q` is within the policy.
    pub significant: bool,
    /// The finding that accounts for this one, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<Subject>,
    /// Functions above this one whose total time changed because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_visible_in: Vec<String>,
}

const fn infinite() -> f64 {
    f64::INFINITY
}

/// JSON has no infinity; it is written as `null`.
fn or_infinite<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
}

impl Verdict {
    /// Whether someone should hear of it: significant, and not explained by another finding.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        self.significant && self.explained_by.is_none()
    }

    /// Whether this is a finding for the worse.
    #[must_use]
    pub fn is_regression(&self) -> bool {
        self.is_finding() && self.direction == Direction::Worse
    }

    /// Growth of a function's share of the CPU that a one-sided test at `level` finds in four of five cases:
    /// `max(rel_min p, abs_min) + (t_{1-level} + t_{0.8}) se`; `None` for syscalls, and where replicates do not tell the
    /// error.
    #[must_use]
    pub fn detectable(&self, policy: &Policy, level: f64) -> Option<f64> {
        let Self { standard_error: error, degrees, .. } = *self;
        if !matches!(self.subject, Subject::Function { .. })
            || error <= 0.0
            || degrees.is_infinite()
        {
            return None;
        }
        let share = self.baseline_value.unwrap_or(0.0);
        let least = (policy.rel_min * share).max(policy.abs_min);
        Some(least + Estimate { value: 0.0, error, degrees }.detectable(level))
    }
}

impl SyscallMetric {
    /// All but the errnos.
    const ALL: [Self; 7] = [
        Self::LatencyShape,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::ErrorRate,
        Self::CallRate,
        Self::CallsPerRequest,
    ];

    /// The quantile, or `None` for what is no latency at a quantile.
    pub(crate) const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::LatencyShape
            | Self::ErrorRate
            | Self::Errno(_)
            | Self::CallRate
            | Self::CallsPerRequest => None,
        }
    }

    /// As it stands in JSON: `p99`, `error_rate`, `errno_2`.
    #[must_use]
    pub fn key(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::LatencyShape => "latency_shape",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::ErrorRate => "error_rate",
            Self::CallRate => "call_rate",
            Self::CallsPerRequest => "calls_per_request",
            Self::Errno(errno) => return Cow::Owned(format!("errno_{errno}")),
        })
    }

    /// What its numbers have in common: `latency`, `errors` or `calls`. Those of one family are one problem.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self {
            Self::LatencyShape | Self::P50 | Self::P95 | Self::P99 => "latency",
            Self::ErrorRate | Self::Errno(_) => "errors",
            Self::CallRate | Self::CallsPerRequest => "calls",
        }
    }

    /// As it stands in tables: like the key, but errnos by name.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Errno(errno) => errno_name(errno).map_or_else(|| self.key(), Cow::Borrowed),
            _ => self.key(),
        }
    }
}

impl From<SyscallMetric> for String {
    fn from(metric: SyscallMetric) -> Self {
        metric.key().into_owned()
    }
}

impl TryFrom<String> for SyscallMetric {
    type Error = String;

    fn try_from(key: String) -> Result<Self, Self::Error> {
        let errno = key.strip_prefix("errno_").and_then(|errno| errno.parse().ok());
        errno
            .map(Self::Errno)
            .or_else(|| Self::ALL.into_iter().find(|metric| metric.key() == key))
            .ok_or_else(|| format!("`{key}` is no number of a syscall"))
    }
}

impl FunctionKind {
    /// As it stands in labels and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SelfTime => "self",
            Self::Total => "total",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function { function, kind, .. } => write!(out, "{function} ({})", kind.name()),
            Self::Syscall { name, metric } => write!(out, "{name} ({})", metric.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_syscall_survives_json() {
        for metric in SyscallMetric::ALL.into_iter().chain([SyscallMetric::Errno(2)]) {
            let subject = Subject::Syscall { name: "openat".to_owned(), metric };
            let text = serde_json::to_string(&subject).unwrap();
            assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), subject, "{text}");
        }
        assert!(serde_json::from_str::<SyscallMetric>("\"p98\"").is_err());
    }

    #[test]
    fn an_errno_is_told_by_its_name() {
        let subject = |errno| Subject::Syscall {
            name: "openat".to_owned(),
            metric: SyscallMetric::Errno(errno),
        };
        assert_eq!(subject(2).to_string(), "openat (ENOENT)");
        assert_eq!(subject(4095).to_string(), "openat (errno_4095)");
    }
}
