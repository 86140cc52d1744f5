//! One alert as it is kept and shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lifecycle::Track;
use super::{AlertName, Evidence, Past, Severity, Topic, Whole};
use crate::detect::Subject;

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
