//! What an alert is about, its name, and how soon someone should look.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Measured;
use crate::detect::{Subject, SyscallMetric};
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
