//! Finds changes of a service without a change of its version: each window against its own past.
//!
//! There are no replicates over time but time itself, so the noise of a series is what the very same comparison gave in
//! the past. A change must be seen against two baselines, the same hour of past days and the last day, and last longer
//! than what the service is known to do for a while. Pure: no clock, no I/O.

mod timeline;
mod containment;
mod options;
mod calendar;
mod series;
mod season;
mod operator;
mod scale;
mod patience;
mod rung;
mod trend;
mod drift;
mod change;
mod frozen;
mod roots;
mod finding;

pub use containment::Containment;
pub use finding::{
    ChangePoint, Pace, Rung, RungState, Span, TemporalFinding, TemporalJudgement, Watched,
};
pub use frozen::{FrozenBaseline, Remeasured, remeasure};
pub use options::{Mask, TemporalOptions};
pub use timeline::{
    FINE_NS, FINE_SLOTS_MAX, Followed, Grid, HISTORY_FUNCTIONS_MAX, HOUR_NS, HOUR_SLOTS_MAX,
    Recorded, Timeline, Total, WindowCounts,
};

use calendar::Calendar;
use patience::Patience;
use rung::{Candidate, DAY_WINDOWS, Step};

/// Windows in a row of the rung of ten minutes.
const TEN_MINUTES_WINDOWS: usize = 4;

/// Windows in a row of the rung of six hours: a day, twice as long as any disturbance.
const SIX_HOURS_WINDOWS: usize = 4;

/// Judges the newest windows of a service against its past.
///
/// With little history it says nothing and [`TemporalJudgement::rungs`] says why.
#[must_use]
pub fn judge(timeline: &Timeline, mask: &Mask, options: &TemporalOptions) -> TemporalJudgement {
    let end = timeline.newest_unix_ns().map_or(0, |start| start + FINE_NS);
    Judge::new(timeline, mask, options).at(end)
}

/// Judges the windows of one timeline at any time in it, as [`judge`] would have then; what they share is computed once.
pub struct Judge<'t> {
    timeline: &'t Timeline,
    options: &'t TemporalOptions,
    ladder: Vec<Step>,
}

impl std::fmt::Debug for Judge<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Judge").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'t> Judge<'t> {
    /// Prepares a timeline.
    #[must_use]
    pub fn new(timeline: &'t Timeline, mask: &Mask, options: &'t TemporalOptions) -> Self {
        let calendar = Calendar { utc_offset_hours: options.utc_offset_hours };
        Self { timeline, options, ladder: Step::ladder(timeline, mask, calendar) }
    }

    /// Judges the windows that end at or before a time, as if nothing later were known.
    #[must_use]
    pub fn at(&self, end_unix_ns: u64) -> TemporalJudgement {
        let hour_step = &self.ladder[1];
        let patience = position(hour_step, end_unix_ns).map_or(
            Patience { longest_hours: 0, is_calm: false },
            |at| {
                let (past, range) = hour_step.past(1, at);
                let past: Vec<_> = past[range].iter().collect();
                Patience::of(&hour_step.series, &past, self.options)
            },
        );
        let mut candidates = Vec::new();
        let mut rungs = Vec::new();
        for step in &self.ladder {
            let state = self.judge_step(step, end_unix_ns, (patience, &mut candidates));
            rungs.push((step.rung, state));
        }
        let day = &self.ladder[self.ladder.len() - 1];
        let drift = position(day, end_unix_ns)
            .ok_or(RungState::NoData)
            .and_then(|at| drift::test(day, at, self.options));
        let state = match drift {
            Ok((found, tests)) => {
                candidates.extend(found);
                RungState::Judged { tests, windows: 1 }
            }
            Err(state) => state,
        };
        rungs.push((Rung::Drift, state));
        let offset = self.options.utc_offset_hours;
        TemporalJudgement {
            findings: roots::reduce(self.timeline, &self.ladder, candidates, offset),
            rungs,
            longest_disturbance_hours: patience.longest_hours,
        }
    }

    /// Measures a change again, as [`remeasure`] would have at a time.
    #[must_use]
    pub fn remeasure(
        &self,
        watched: &Watched,
        baseline: &FrozenBaseline,
        end_unix_ns: u64,
    ) -> Remeasured {
        let offset = self.options.utc_offset_hours;
        frozen::remeasure_at(self.timeline, (watched, baseline), offset, end_unix_ns)
    }

    fn judge_step(
        &self,
        step: &Step,
        end_unix_ns: u64,
        (patience, candidates): (Patience, &mut Vec<Candidate>),
    ) -> RungState {
        let Some(at) = position(step, end_unix_ns) else { return RungState::NoData };
        let windows = match step.rung {
            Rung::TenMinutes if !patience.is_calm => {
                return RungState::Restless { hours: patience.longest_hours };
            }
            Rung::TenMinutes => TEN_MINUTES_WINDOWS,
            Rung::Hour => patience.hours(),
            Rung::SixHours => SIX_HOURS_WINDOWS,
            Rung::Day | Rung::Drift => DAY_WINDOWS,
        };
        if patience.is_calm && matches!(step.rung, Rung::TenMinutes | Rung::Hour) {
            let fast = step.test(at, (1, Pace::Fast), self.options);
            candidates.extend(fast.map(|(found, _)| found).unwrap_or_default());
        }
        match step.test(at, (windows, Pace::Lasting), self.options) {
            Ok((found, tests)) => {
                candidates.extend(found);
                RungState::Judged { tests, windows }
            }
            Err(state) => state,
        }
    }
}

/// Position of the last window of a rung that ends at or before a time.
fn position(step: &Step, end_unix_ns: u64) -> Option<usize> {
    step.series.last_ended_at(end_unix_ns)
}

#[cfg(test)]
mod tests;
