//! A baseline that is kept with an alert: what the change is measured against as long as it lasts.

use serde::{Deserialize, Serialize};

use crate::diff::FunctionKey;

use super::finding::{Rung, Span, Watched};
use super::timeline::Timeline;

/// What a change is compared with, in a form that outlives the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenBaseline {
    /// Length of the windows.
    pub rung: Rung,
    /// The windows it was taken from: those of the trailing baseline, then those of the seasonal one, oldest first.
    pub windows: Vec<Span>,
    /// Logarithm of the value expected at each hour of a weekday (0 to 23) and of a day of the weekend (24 to 47), UTC
    /// moved by the offset.
    pub expected: Vec<f32>,
    /// Standard deviation of the logarithm, of the mean of as many windows as were tested.
    pub standard_deviation: f64,
    /// Its degrees of freedom.
    pub degrees: f64,
    /// Windows in a row that were tested.
    pub tested: usize,
    /// Large functions and the logarithms of their shares in the day before the change: what tells later how much of
    /// a change of share is the growth or shrinking of all others.
    pub anchors: Vec<(FunctionKey, f32)>,
}

/// How much of a change is still there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Remeasured {
    /// Relative change of the newest windows against the frozen baseline, with its 95 % interval.
    Change {
        /// Relative change.
        delta_rel: f64,
        /// Its 95 % interval.
        interval: [f64; 2],
    },
    /// The newest windows have no data.
    NoData,
}

/// Measures a change again, against the baseline that was frozen when it was found.
#[must_use]
pub fn remeasure(
    timeline: &Timeline,
    watched: &Watched,
    baseline: &FrozenBaseline,
    utc_offset_hours: i8,
) -> Remeasured {
    let _ = (timeline, watched, baseline, utc_offset_hours);
    Remeasured::NoData
}
