//! What counts as a change over time, and which windows may serve for comparison.

use serde::{Deserialize, Serialize};

use super::finding::{Span, Watched};

/// What counts as a change over time. Every field has a safe default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalOptions {
    /// False discovery rate of one judgement, all rungs together.
    pub q: f64,
    /// Relative change that is of no interest.
    pub rel_min: f64,
    /// Change as a share of the service's CPU that is of no interest.
    pub abs_min: f64,
    /// False discovery rate of the fast path.
    pub fast_q: f64,
    /// Least relative change of the fast path.
    pub fast_rel_min: f64,
    /// Least change of the fast path, as a share of the service's CPU.
    pub fast_abs_min: f64,
    /// Hours that local midnight lies after that of UTC (-14 to 14): where a day begins and which days are weekend.
    pub utc_offset_hours: i8,
}

impl Default for TemporalOptions {
    fn default() -> Self {
        Self {
            q: 0.001,
            rel_min: 0.05,
            abs_min: 0.0005,
            fast_q: 1e-5,
            fast_rel_min: 0.30,
            fast_abs_min: 0.01,
            utc_offset_hours: 0,
        }
    }
}

/// Windows that are no baseline: those of a pending or firing alert, of an incident, of a roll-out.
///
/// They are judged all the same: a mask keeps a change out of what it is compared with, not out of sight.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mask {
    spans: Vec<(Span, Option<Watched>)>,
}

impl Mask {
    /// Leaves a span out of every baseline: an incident, a roll-out.
    pub fn leave_out(&mut self, span: Span) {
        self.spans.push((span, None));
    }

    /// Leaves a span out of the baselines of one series: that of an alert, from its change point on.
    pub fn leave_out_of(&mut self, watched: &Watched, span: Span) {
        self.spans.push((span, Some(watched.clone())));
    }

    /// Spans that hold for all series.
    pub(super) fn common(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().filter(|(_, watched)| watched.is_none()).map(|(span, _)| *span)
    }

    /// Spans that hold for one series only.
    pub(super) fn own(&self) -> impl Iterator<Item = (&Watched, Span)> + '_ {
        self.spans.iter().filter_map(|(span, watched)| Some((watched.as_ref()?, *span)))
    }
}
