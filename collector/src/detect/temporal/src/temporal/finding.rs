//! What the temporal mode says: findings with what they rest on, and why it is silent where it is.

use serde::{Deserialize, Serialize};

use crate::detect::{Direction, Subject};

use super::frozen::FrozenBaseline;

/// What a series is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// Share of a function in the service's CPU.
    Of(Subject),
    /// CPU time of the whole service for each second that a unit runs. It follows the load, so it tells of a change of
    /// cost only where the load is the same.
    ServiceCpu,
}

/// Length of the windows of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// Ten minutes.
    TenMinutes,
    /// One hour.
    Hour,
    /// Six hours.
    SixHours,
    /// One day.
    Day,
    /// One day against the same days of the week before last: slow growth.
    Drift,
}

impl Rung {
    /// From the shortest to the longest.
    pub const ALL: [Self; 5] =
        [Self::TenMinutes, Self::Hour, Self::SixHours, Self::Day, Self::Drift];

    /// Length of a window in whole hours, at least one.
    #[must_use]
    pub const fn hours(self) -> u64 {
        match self {
            Self::TenMinutes | Self::Hour => 1,
            Self::SixHours => 6,
            Self::Day | Self::Drift => 24,
        }
    }
}

/// Why something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// It lasted longer than what this service is known to do for a while.
    Lasting,
    /// One window, of a change too large to wait.
    Fast,
    /// It grew day by day.
    Slow,
}

/// A half-open span of time, Unix nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Inclusive.
    pub start_unix_ns: u64,
    /// Exclusive.
    pub end_unix_ns: u64,
}

/// When it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// Start of the first window after the change, Unix nanoseconds.
    pub unix_ns: u64,
    /// Ends of the interval in which it lies with about 95 %.
    pub within: Span,
}

/// A change without a change of version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemporalFinding {
    /// What changed: the root, where several series show the same change.
    pub watched: Watched,
    /// Which way.
    pub direction: Direction,
    /// Length of the windows that showed it.
    pub rung: Rung,
    /// Why it is told now.
    pub pace: Pace,
    /// Windows in a row that show it.
    pub windows: usize,
    /// Before: share of the service's CPU, or CPU seconds for each second of a unit.
    pub baseline_value: f64,
    /// Now, corrected for the growth or shrinking of all other functions.
    pub candidate_value: f64,
    /// Relative change against the nearer of the two baselines.
    pub delta_rel: f64,
    /// 95 % interval of `delta_rel`.
    pub interval: [f64; 2],
    /// Change over its standard deviation, beyond the least effect, against the nearer baseline.
    pub t: f64,
    /// Probability of such a change, or a larger one in either direction, without a cause.
    pub p: f64,
    /// False discovery rate at which this is just found, all rungs together.
    pub q: f64,
    /// When it began.
    pub change_point: ChangePoint,
    /// What it is compared with; kept with the alert, so that the change cannot become its own baseline.
    pub baseline: FrozenBaseline,
    /// Other series that show the same change.
    pub also_visible_in: Vec<Watched>,
}

/// Whether a rung could judge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RungState {
    /// It judged.
    Judged {
        /// Series that were tested.
        tests: usize,
        /// Windows in a row that a change must last.
        windows: usize,
    },
    /// The history is too short, or has too few windows like the newest.
    NotYet {
        /// Windows for comparison that there are.
        have: usize,
        /// Windows for comparison that it takes.
        need: usize,
    },
    /// The newest windows have no data or too few samples.
    NoData,
    /// All functions moved at once, so shares cannot be compared.
    MixChanged {
        /// Factor by which the shares of unchanged functions moved.
        factor: f64,
    },
    /// This service has had disturbances that lasted longer than this rung waits.
    Restless {
        /// Longest disturbance that went away by itself, hours.
        hours: usize,
    },
}

/// What the temporal mode says of a service at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemporalJudgement {
    /// Roots, strongest evidence first.
    pub findings: Vec<TemporalFinding>,
    /// Whether each rung could judge, from the shortest to the longest.
    pub rungs: Vec<(Rung, RungState)>,
    /// Longest disturbance in memory that went away by itself, hours.
    pub longest_disturbance_hours: usize,
}
