//! The life of an alert, and who is told.
//!
//! Every `interval_seconds` the [`Evaluator`] compares the newest version of each service with the one before it, opens
//! alerts where both have enough [`support`], moves alerts along [`lifecycle`], saves the [`AlertBook`], and tells the
//! notifiers. Without a version change there is no alert: comparing a version with its own past needs seasons, which
//! this version does not know.

mod book;
mod compare;
mod evaluate;
mod lifecycle;
mod notify;
mod options;
mod support;

pub use book::AlertBook;
pub use evaluate::{Evaluator, EvaluatorCounters};
pub use options::{AlertOptions, WebhookOptions};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::detect::{Subject, SyscallMetric, Verdict};

/// What kind of regression an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertName {
    /// A function takes more CPU.
    ProfileRegression,
    /// A syscall is slower or fails more often.
    SyscallLatencyRegression,
}

/// Where an alert stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Seen, but not for long enough.
    Pending,
    /// Seen for long enough: people are told.
    Firing,
    /// Gone again.
    Resolved,
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
}

/// What an alert rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The detector's verdict.
    pub verdict: Verdict,
    /// Stacks through the function whose share grew most.
    pub changed_paths: Vec<ChangedPath>,
    /// CPU cores that the service used for this function before, on average, each unit.
    pub baseline_cores: Option<f64>,
    /// The same, after.
    pub candidate_cores: Option<f64>,
    /// `candidate_cores` minus `baseline_cores`.
    pub delta_cores: Option<f64>,
    /// Samples of the service before.
    pub samples_baseline: u64,
    /// Samples of the service after.
    pub samples_candidate: u64,
    /// What to know before it is believed, as sentences: stacks that are not whole.
    #[serde(default)]
    pub caveats: Vec<String>,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Names the alert over its whole life: service, subject and direction, but no version, host or time.
    pub fingerprint: String,
    /// What kind of regression this is.
    pub name: AlertName,
    /// The service.
    pub service: String,
    /// The function or syscall.
    #[serde(flatten)]
    pub subject: Subject,
    /// `page` or `ticket`, as it was when the alert began: it is part of the alert's identity outside.
    pub severity: String,
    /// Where it stands.
    pub state: AlertState,
    /// Version that it is compared with.
    pub baseline_version: String,
    /// Version that got slower.
    pub candidate_version: String,
    /// Start of the baseline's windows, frozen when the alert began; Unix nanoseconds.
    pub baseline_start_unix_ns: u64,
    /// End of the baseline's windows, exclusive; Unix nanoseconds.
    pub baseline_end_unix_ns: u64,
    /// First seen, Unix seconds.
    pub started_at: f64,
    /// People were told, Unix seconds.
    pub fired_at: Option<f64>,
    /// Gone again, Unix seconds.
    pub resolved_at: Option<f64>,
    /// What it rests on, as last seen while it held.
    pub evidence: Evidence,
    /// When data last said anything about it, Unix seconds.
    #[serde(default)]
    pub seen_at: f64,
    /// Evaluations in a row that confirm the next state.
    pub streak: u32,
    /// Where to look closer; empty without `external_url`.
    pub links: Vec<String>,
    /// What each webhook was last told, by a hash of its address.
    #[serde(default)]
    pub delivered: BTreeMap<String, AlertState>,
}

/// SHA-256 over what makes an alert the same one, first 16 hex digits.
#[must_use]
pub fn fingerprint(service: &str, subject: &Subject) -> String {
    // Only regressions become alerts, so the direction is part of the name.
    let parts = match subject {
        // Self and total of one function are one problem.
        Subject::Function { module, function, .. } => ["function", module, function],
        // All quantiles of a syscall are one problem; its errors are another, and how often it is called a third.
        Subject::Syscall { name, metric } => ["syscall", name, metric.family()],
    };
    let mut hash = Sha256::new();
    for part in [service, "worse"].into_iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl AlertName {
    /// The name of an alert on this subject.
    #[must_use]
    pub const fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Function { .. } => Self::ProfileRegression,
            Subject::Syscall { .. } => Self::SyscallLatencyRegression,
        }
    }

    /// As it stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProfileRegression => "ProfileRegression",
            Self::SyscallLatencyRegression => "SyscallLatencyRegression",
        }
    }
}

/// How soon someone should look: `page` or `ticket`.
fn severity(verdict: &Verdict) -> &'static str {
    /// Share of a service's CPU at which someone is woken.
    const PAGE_SHARE: f64 = 0.05;
    match &verdict.subject {
        Subject::Function { .. } if verdict.delta_abs >= PAGE_SHARE => "page",
        Subject::Syscall { metric: SyscallMetric::P99, .. } => "page",
        Subject::Function { .. } | Subject::Syscall { .. } => "ticket",
    }
}

#[cfg(test)]
pub(crate) mod tests;
