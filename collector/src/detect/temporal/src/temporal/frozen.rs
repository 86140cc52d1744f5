//! A baseline that is kept with an alert: what the change is measured against as long as it lasts.

use serde::{Deserialize, Serialize};

use crate::diff::FunctionKey;

use crate::detect::special::t_quantile;
use crate::detect::{FunctionKind, Subject};

use super::calendar::{Calendar, DAY_HOURS};
use super::finding::{Rung, Span, Watched};
use super::rung::{Candidate, Step};
use super::series::Item;
use super::timeline::{FINE_NS, HOUR_NS, Timeline};
use super::trend::median;

/// What a change is compared with, in a form that outlives the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenBaseline {
    /// Length of the windows.
    pub rung: Rung,
    /// The windows it was taken from: those of the trailing and of the seasonal baseline, oldest first.
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

/// Hours of history from which the expected values are taken.
const REACH_HOURS: u64 = 28 * DAY_HOURS as u64;

/// Functions by whose shares a later change of all shares is told.
const ANCHORS_MAX: usize = 32;

/// Fewest of them that must be left.
const ANCHORS_MIN: usize = 5;

/// Half of what lies outside the interval.
const TAIL: f64 = 0.025;

/// The baseline of a candidate, from what came before the change.
pub(super) fn freeze(
    timeline: &Timeline,
    step: &Step,
    candidate: &Candidate,
    (change_unix_ns, utc_offset_hours): (u64, i8),
) -> FrozenBaseline {
    let series = &step.series;
    let item = series.items[candidate.item];
    let calendar = Calendar { utc_offset_hours };
    let mut windows = step.spans(&candidate.trailing);
    windows.extend(step.seasonal_spans(candidate.item, candidate.at));
    windows.sort_unstable_by_key(|span| (span.start_unix_ns, span.end_unix_ns));
    windows.dedup();
    let last = change_unix_ns / HOUR_NS;
    let mut sums = [(0.0, 0u32); 2 * DAY_HOURS];
    for hour in last.saturating_sub(REACH_HOURS)..last {
        if let Some(log) = log_at(timeline, item, hour) {
            let (sum, count) = &mut sums[calendar.class_hour(hour)];
            *sum += log;
            *count += 1;
        }
    }
    // The level of the trailing baseline stands for hours of which nothing is known.
    let expected = sums.iter().map(|(sum, count)| {
        if *count > 0 { (sum / f64::from(*count)) as f32 } else { candidate.before as f32 }
    });
    FrozenBaseline {
        rung: candidate.rung,
        windows,
        expected: expected.collect(),
        standard_deviation: candidate.scale.standard_deviation,
        degrees: candidate.scale.degrees,
        tested: candidate.k,
        anchors: anchors(timeline, item, last),
    }
}

/// Measures a change again, against the baseline that was frozen when it was found: the mean of the last whole hours,
/// as many as were tested, less what was expected of each; corrected by the median of what the large functions' shares
/// of a day have moved since. A function of which nothing is seen any more has changed by nearly -1.
#[must_use]
pub fn remeasure(
    timeline: &Timeline,
    watched: &Watched,
    baseline: &FrozenBaseline,
    utc_offset_hours: i8,
) -> Remeasured {
    let end_unix_ns = timeline.newest_unix_ns().map_or(0, |start| start + FINE_NS);
    remeasure_at(timeline, (watched, baseline), utc_offset_hours, end_unix_ns)
}

/// The same as if nothing after a time were known.
pub(super) fn remeasure_at(
    timeline: &Timeline,
    (watched, baseline): (&Watched, &FrozenBaseline),
    utc_offset_hours: i8,
    end_unix_ns: u64,
) -> Remeasured {
    let calendar = Calendar { utc_offset_hours };
    let end = end_unix_ns / HOUR_NS;
    let item = item_of(timeline, watched);
    let hours = (baseline.rung.hours() * baseline.tested as u64).max(1);
    let values: Vec<f64> = (end.saturating_sub(hours)..end)
        .filter_map(|hour| {
            let log = match item {
                Some(item) => log_at(timeline, item, hour),
                None => samples_at(timeline, hour).map(|samples| (0.5 / samples).ln()),
            };
            Some(log? - f64::from(*baseline.expected.get(calendar.class_hour(hour))?))
        })
        .collect();
    if 2 * values.len() < hours as usize {
        return Remeasured::NoData;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let factor = if *watched == Watched::ServiceCpu {
        0.0
    } else {
        factor(timeline, (item, end), &baseline.anchors)
    };
    let change = mean - factor;
    let half = t_quantile(TAIL, baseline.degrees) * baseline.standard_deviation;
    Remeasured::Change {
        delta_rel: change.exp_m1(),
        interval: [(change - half).exp_m1(), (change + half).exp_m1()],
    }
}

/// Samples of an hour; `None` where it is unknown or has none.
fn samples_at(timeline: &Timeline, hour: u64) -> Option<f64> {
    let at = hour.checked_sub(timeline.hours.first)? as usize;
    let samples = timeline.hours.totals.get(at)?.samples;
    (samples > 0).then_some(samples as f64)
}

/// Logarithm of a series in an hour.
fn log_at(timeline: &Timeline, item: Item, hour: u64) -> Option<f64> {
    let samples = samples_at(timeline, hour)?;
    let at = (hour - timeline.hours.first) as usize;
    let count = |function: usize, side: usize| {
        let count = f64::from(timeline.hours.counts[function][side][at]);
        ((count + 0.5) / samples).ln()
    };
    Some(match item {
        Item::Own(function) => count(function, 0),
        Item::Anywhere(function) => count(function, 1),
        Item::ServiceCpu => {
            let total = timeline.hours.totals[at];
            (total.cpu_ns.max(1) as f64 / 1e9 / total.unit_seconds.max(1) as f64).ln()
        }
    })
}

/// Logarithm of a function's own share in the day that ends with an hour.
fn day_at(timeline: &Timeline, function: usize, end: u64) -> Option<f64> {
    let hours = end.saturating_sub(DAY_HOURS as u64).max(timeline.hours.first)..end;
    let (mut count, mut samples) = (0.0, 0.0);
    for hour in hours {
        if let Some(total) = samples_at(timeline, hour) {
            samples += total;
            let at = (hour - timeline.hours.first) as usize;
            count += f64::from(timeline.hours.counts[function][0][at]);
        }
    }
    (count > 0.0).then(|| (count / samples).ln())
}

fn anchors(timeline: &Timeline, item: Item, end: u64) -> Vec<(FunctionKey, f32)> {
    let mut anchors: Vec<(FunctionKey, f32)> = (0..timeline.functions.len())
        .filter(
            |function| !matches!(item, Item::Own(own) | Item::Anywhere(own) if own == *function),
        )
        .filter_map(|function| {
            let log = day_at(timeline, function, end)? as f32;
            Some((timeline.functions[function].key.clone(), log))
        })
        .collect();
    anchors.sort_by(|left, right| right.1.total_cmp(&left.1));
    anchors.truncate(ANCHORS_MAX);
    anchors
}

/// Logarithm of the factor by which the shares of the anchors moved; 0 when too few are left.
fn factor(
    timeline: &Timeline,
    (item, end): (Option<Item>, u64),
    anchors: &[(FunctionKey, f32)],
) -> f64 {
    let mut moves: Vec<f64> = anchors
        .iter()
        .filter_map(|(key, before)| {
            let function = timeline.functions.iter().position(|followed| followed.key == *key)?;
            let own = matches!(item, Some(Item::Own(own) | Item::Anywhere(own)) if own == function);
            (!own).then_some(day_at(timeline, function, end)? - f64::from(*before))
        })
        .collect();
    if moves.len() < ANCHORS_MIN { 0.0 } else { median(&mut moves) }
}

fn item_of(timeline: &Timeline, watched: &Watched) -> Option<Item> {
    let Watched::Of(Subject::Function { module, function, kind }) = watched else {
        return (*watched == Watched::ServiceCpu).then_some(Item::ServiceCpu);
    };
    let at = timeline.functions.iter().position(|followed| {
        followed.key.module == *module && followed.key.function == *function
    })?;
    Some(match kind {
        FunctionKind::SelfTime => Item::Own(at),
        FunctionKind::Total => Item::Anywhere(at),
    })
}
