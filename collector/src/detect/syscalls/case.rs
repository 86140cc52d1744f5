//! One number of one syscall, ready to be tested, and the verdict on it.

use super::super::count_test::{Exposures, INTERVAL_TAIL, Outcome, Sample};
use super::super::dispersion::Scatter;
use super::super::special::t_quantile;
use super::super::{Direction, Subject, SyscallMetric, Verdict};
use super::calls::Calls;

/// One number of one syscall as counts over exposures.
#[derive(Debug)]
pub(super) struct Case<'c> {
    pub(super) calls: &'c Calls<'c>,
    pub(super) metric: SyscallMetric,
    pub(super) counts: Vec<f64>,
    pub(super) exposures: &'c Exposures,
    /// For quantiles: calls at least this long are counted. Lower edge of the first bucket above the one that holds the
    /// baseline's quantile, in nanoseconds.
    pub(super) threshold_ns: Option<u64>,
}

/// What is shown of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    pub(super) before: f64,
    pub(super) after: f64,
    /// Interval of the difference.
    pub(super) interval: [f64; 2],
    pub(super) ratio_interval: Option<[f64; 2]>,
    pub(super) error: f64,
    pub(super) degrees: f64,
}

/// One-sided probabilities that it grew or shrank so by chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tails {
    pub(super) growth: f64,
    pub(super) shrink: f64,
}

impl Case<'_> {
    pub(super) fn sample(&self) -> Sample<'_> {
        self.sample_of(&self.counts)
    }

    /// Other counts over the same exposures.
    pub(super) fn sample_of<'s>(&'s self, counts: &'s [f64]) -> Sample<'s> {
        Sample::new(counts, self.exposures)
    }

    pub(super) fn scatter(&self) -> Scatter {
        Scatter::of(&self.sample(), 1.0)
    }

    /// What is said of it, before it is known what else was tested.
    pub(super) fn verdict(&self, values: Values, tails: Tails) -> Verdict {
        let Values { before, after, interval: [ci_low, ci_high], .. } = values;
        let [replicates_baseline, replicates_candidate] = self.exposures.design.replicates();
        let name = self.calls.syscall.name.clone();
        Verdict {
            subject: Subject::Syscall { name, metric: self.metric },
            direction: direction(values, tails),
            baseline_value: Some(before),
            candidate_value: after,
            delta_abs: after - before,
            delta_rel: (before > 0.0).then(|| (after - before) / before),
            ci_low,
            ci_high,
            ratio_interval: values.ratio_interval,
            standard_error: values.error,
            degrees: values.degrees,
            p: (2.0 * tails.growth.min(tails.shrink)).min(1.0),
            q: 1.0,
            samples_baseline: self.calls.pooled[0].calls(),
            samples_candidate: self.calls.pooled[1].calls(),
            replicates_baseline,
            replicates_candidate,
            significant: false,
            explained_by: None,
            also_visible_in: Vec::new(),
        }
    }
}

/// Where neither way is any evidence, the values say which it was.
fn direction(values: Values, tails: Tails) -> Direction {
    let is_worse = match tails.growth.total_cmp(&tails.shrink) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        std::cmp::Ordering::Equal => values.after >= values.before,
    };
    if is_worse { Direction::Worse } else { Direction::Better }
}

impl Values {
    /// A rate, as it was tested.
    pub(super) fn of(outcome: &Outcome) -> Self {
        let reach = t_quantile(INTERVAL_TAIL, outcome.degrees);
        Self {
            before: outcome.baseline_rate,
            after: outcome.candidate_rate,
            interval: outcome.interval(reach),
            ratio_interval: outcome.ratio_interval(reach),
            error: outcome.error,
            degrees: outcome.degrees,
        }
    }
}

impl Tails {
    /// An outcome has one tail: that of its direction.
    pub(super) fn of(outcome: &Outcome) -> Self {
        if outcome.delta >= 0.0 {
            Self { growth: outcome.p, shrink: 1.0 }
        } else {
            Self { growth: 1.0, shrink: outcome.p }
        }
    }
}
