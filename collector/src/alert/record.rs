//! One alert as it is kept and shown.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::lifecycle::Track;
use crate::detect::temporal::{FrozenBaseline, Pace, Rung, Span};
use crate::detect::{CostShift, Direction, SeenAs, Subject, SyscallMetric, Verdict};
use crate::diff::{show_ns, show_value};

/// What kind of regression an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlertName {
    /// A function takes more CPU.
    ProfileRegression,
    /// A syscall is slower, fails more often, or is called more often.
    SyscallLatencyRegression,
    /// The service as a whole takes more CPU.
    ServiceCostRegression,
    /// Further regressions of a service of which too many came within an hour.
    RegressionDigest,
}

/// How soon someone should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// When there is time: too small to act on, or work that only moved.
    Info,
    /// In working hours.
    Ticket,
    /// Now.
    Page,
}

/// Where an alert stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Seen, but not for long enough.
    Pending,
    /// Seen for long enough: people are told.
    Firing,
    /// It fired, and no data says anything about it any more: neither better nor worse.
    Stale,
    /// Gone again.
    Resolved,
    /// A user said that this is how it shall be.
    Accepted,
}

/// How both sides were compared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Both versions ran side by side: the same windows of both.
    Concurrent,
    /// The same hosts before and after the release.
    Paired,
    /// Before and after the release, on whatever ran then.
    #[default]
    BeforeAfter,
    /// The service against its own past, without a release.
    Temporal,
}

/// What an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Topic {
    /// A function or a syscall.
    Of(Subject),
    /// The service as a whole.
    Whole(Whole),
}

/// What of a service as a whole an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "subject", rename_all = "snake_case")]
pub enum Whole {
    /// Its CPU time for each second of a unit.
    Service,
    /// Its CPU time for each request.
    Request,
    /// Several alerts in one.
    Digest,
}

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

/// A user's word that a change shall stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Acceptance {
    /// When, Unix seconds.
    pub at: f64,
    /// Why.
    pub note: String,
    /// Size of the change that was accepted; only more than this opens the alert again.
    pub delta_abs: f64,
    /// Where the alert stood before, and to which it goes back when the word is withdrawn.
    pub state_before: AlertState,
}

/// A later release that made it worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Escalation {
    /// When, Unix seconds.
    pub at: f64,
    /// The release.
    pub version: String,
    /// Size of the change before.
    pub delta_before: f64,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Names the alert over its whole life: service, environment, metric, direction and root function, but no version,
    /// host, caller or time.
    pub fingerprint: String,
    /// What kind of regression this is.
    pub name: AlertName,
    /// The service.
    pub service: String,
    /// The environment, where the settings name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub environment: String,
    /// The function or syscall.
    #[serde(flatten)]
    pub topic: Topic,
    /// How soon someone should look. Part of the alert's identity outside, so it changes only when people are told again.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// How both sides were compared.
    #[serde(default)]
    pub mode: Mode,
    /// Version that it is compared with.
    pub baseline_version: String,
    /// First version that showed it.
    pub candidate_version: String,
    /// Start of the baseline's windows, frozen when the alert began; Unix nanoseconds.
    pub baseline_start_unix_ns: u64,
    /// End of the baseline's windows, exclusive; Unix nanoseconds.
    pub baseline_end_unix_ns: u64,
    /// First seen, Unix seconds.
    pub started_at: f64,
    /// People were told, Unix seconds.
    pub fired_at: Option<f64>,
    /// Gone again, or accepted, Unix seconds.
    pub resolved_at: Option<f64>,
    /// What it rests on, as last seen while it held.
    pub evidence: Evidence,
    /// What the temporal mode adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Past>,
    /// Why it does not fire although the numbers would have it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
    /// Too many fired within an hour: it is told as part of a digest.
    #[serde(default)]
    pub is_in_digest: bool,
    /// The last release that made it worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// A user's word that it shall stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// When a user last decided about it, Unix seconds; 0 for never.
    #[serde(default)]
    pub decided_at: f64,
    /// When data last said anything about it, Unix seconds.
    #[serde(default)]
    pub seen_at: f64,
    /// End of the newest window that it was judged on, Unix nanoseconds: the same window twice confirms nothing.
    #[serde(default)]
    pub judged_unix_ns: u64,
    /// Size of the change when people were told: what half is measured by.
    #[serde(default)]
    pub delta_on: f64,
    /// What the last evaluations said.
    #[serde(default)]
    pub track: Track,
    /// Where to look closer; empty without `external_url`.
    pub links: Vec<String>,
    /// What each webhook was last told, by a hash of its address.
    #[serde(default)]
    pub delivered: BTreeMap<String, AlertState>,
}

impl Alert {
    /// Whether it is in the middle of its life: its baseline is frozen.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, AlertState::Pending | AlertState::Firing | AlertState::Stale)
    }

    /// Whether it is about one change, and not the digest of many.
    pub(super) const fn is_single(&self) -> bool {
        !matches!(self.topic, Topic::Whole(Whole::Digest))
    }

    /// Names of the functions that this alert is about: its root, those no sample tells apart from it, and those it
    /// shows in.
    pub(super) fn functions(&self) -> impl Iterator<Item = &str> {
        let root = match &self.topic {
            Topic::Of(Subject::Function { function, .. }) => Some(function.as_str()),
            Topic::Of(Subject::Syscall { .. }) | Topic::Whole(_) => None,
        };
        let others = self.evidence.chain.iter().chain(&self.evidence.also_visible_in);
        root.into_iter().chain(others.map(String::as_str))
    }

    /// Has every webhook hear of it again: its state is the same, its meaning is not.
    pub(super) fn tell_again(&mut self) {
        for told in self.delivered.values_mut() {
            *told = AlertState::Pending;
        }
    }
}

impl AlertName {
    /// The name of an alert on this.
    #[must_use]
    pub const fn of(topic: &Topic) -> Self {
        match topic {
            Topic::Of(Subject::Function { .. }) => Self::ProfileRegression,
            Topic::Of(Subject::Syscall { .. }) => Self::SyscallLatencyRegression,
            Topic::Whole(Whole::Service | Whole::Request) => Self::ServiceCostRegression,
            Topic::Whole(Whole::Digest) => Self::RegressionDigest,
        }
    }

    /// As it stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProfileRegression => "ProfileRegression",
            Self::SyscallLatencyRegression => "SyscallLatencyRegression",
            Self::ServiceCostRegression => "ServiceCostRegression",
            Self::RegressionDigest => "RegressionDigest",
        }
    }
}

impl AlertState {
    /// In the order in which people want to read them.
    pub const ALL: [Self; 5] =
        [Self::Firing, Self::Stale, Self::Pending, Self::Accepted, Self::Resolved];

    /// As it stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Stale => "stale",
            Self::Resolved => "resolved",
            Self::Accepted => "accepted",
        }
    }
}

impl Mode {
    /// As it stands in annotations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrent => "concurrent",
            Self::Paired => "paired",
            Self::BeforeAfter => "before_after",
            Self::Temporal => "temporal",
        }
    }
}

impl Severity {
    /// How soon someone should look at this change.
    ///
    /// A function or the service: page from 5 % of the service's CPU on, ticket from 0.5 %. A p99 of a syscall, or calls
    /// that fail more often: page.
    pub(super) fn of(topic: &Topic, measured: &Measured) -> Self {
        /// Share of a service's CPU at which someone is woken.
        const PAGE_SHARE: f64 = 0.05;
        /// Share of a service's CPU that is worth somebody's time.
        const TICKET_SHARE: f64 = 0.005;
        let of_share = |share: f64| match share {
            share if share >= PAGE_SHARE => Self::Page,
            share if share >= TICKET_SHARE => Self::Ticket,
            _ => Self::Info,
        };
        match topic {
            Topic::Of(Subject::Function { .. }) => of_share(measured.delta_abs),
            Topic::Of(Subject::Syscall { metric: SyscallMetric::P99, .. }) => Self::Page,
            Topic::Of(Subject::Syscall { .. }) | Topic::Whole(Whole::Digest) => Self::Ticket,
            Topic::Whole(Whole::Service | Whole::Request) => {
                of_share(measured.delta_rel.unwrap_or(0.0))
            }
        }
    }

    /// As it stands in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

impl Topic {
    /// A value in the unit of this topic.
    pub(super) fn show(&self, value: f64) -> String {
        match self {
            Self::Of(subject) => show_value(subject, value),
            Self::Whole(Whole::Request) => show_ns(value),
            Self::Whole(Whole::Service | Whole::Digest) => format!("{value:.3} cores"),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(subject) => subject.fmt(out),
            Self::Whole(Whole::Service) => out.write_str("CPU of the service"),
            Self::Whole(Whole::Request) => out.write_str("CPU of each request"),
            Self::Whole(Whole::Digest) => out.write_str("further regressions"),
        }
    }
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
