//! Finds changes of a service without a change of its version: each window against its own past.
//!
//! There are no replicates over time but time itself, so the noise of a series is what the very same comparison gave in
//! the past. A change must be seen against two baselines, the same hour of past days and the last day, and last longer
//! than what the service is known to do for a while. Pure: no clock, no I/O.

mod timeline;
mod containment;
mod options;
mod frozen;
mod finding;

pub use containment::Containment;
pub use finding::{
    ChangePoint, Pace, Rung, RungState, Span, TemporalFinding, TemporalJudgement, Watched,
};
pub use frozen::{FrozenBaseline, Remeasured, remeasure};
pub use options::{Mask, TemporalOptions};
pub use timeline::{
    FINE_NS, Followed, HISTORY_FUNCTIONS_MAX, HOUR_NS, Recorded, Timeline, Total, WindowCounts,
};

/// Judges the newest windows of a service against its past.
///
/// With little history it says nothing and [`TemporalJudgement::rungs`] says why.
#[must_use]
pub fn judge(timeline: &Timeline, mask: &Mask, options: &TemporalOptions) -> TemporalJudgement {
    let _ = (timeline, mask, options);
    TemporalJudgement { findings: Vec::new(), rungs: Vec::new(), longest_disturbance_hours: 0 }
}
