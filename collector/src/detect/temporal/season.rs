//! The seasonal baseline: what a series does at the same hour of earlier days of the same class.

use super::calendar::DAY_HOURS;
use super::series::Series;
use super::timeline::HOUR_SLOTS_MAX;

/// Earlier days of which the mean is taken.
const DAYS: usize = 7;

/// Fewest of them.
pub(super) const DAYS_MIN: usize = 3;

/// Hours of history from which on the same day of the last two weeks takes part too.
const WEEKS_FROM_HOURS: usize = 21 * DAY_HOURS;

/// Expected logarithms by item and window; not a number where too few days are alike.
pub(super) struct Seasonal {
    pub(super) expected: Vec<Vec<f64>>,
    /// Windows of which each mean was taken.
    pub(super) references: Vec<Vec<usize>>,
    /// Fewest days between a window and what it is compared with.
    lag_days: usize,
    /// Number of the first hour, where references are positions of hours and not of windows.
    pub(super) hours_from: Option<u64>,
}

impl Seasonal {
    /// The seasonal baseline of windows of whole hours: the mean of the logarithms at the same hour of up to 7 earlier
    /// clean days of the same class, and of the same day of the last two weeks once three weeks are known. Days less
    /// than `lag` before are left out: they may hold what is being tested. One entry more than there are windows: the
    /// one to come.
    pub(super) fn of(series: &Series, lag_days: usize) -> Self {
        let windows = series.len();
        let references: Vec<Vec<usize>> =
            (0..=windows).map(|at| references(series, at, lag_days, None)).collect();
        let expected = (0..series.items.len())
            .map(|item| {
                (0..=windows)
                    .map(|at| {
                        if series.is_masked(item) {
                            mean(
                                &series.logs[item],
                                &self::references(series, at, lag_days, Some(item)),
                            )
                        } else {
                            mean(&series.logs[item], &references[at])
                        }
                    })
                    .collect()
            })
            .collect();
        Self { expected, references, lag_days, hours_from: None }
    }

    /// Windows that an item's seasonal baseline at a window is the mean of, with regard to its own mask.
    pub(super) fn references_of(&self, series: &Series, item: usize, at: usize) -> Vec<usize> {
        if series.is_masked(item) && self.hours_from.is_none() {
            references(series, at, self.lag_days, Some(item))
        } else {
            self.references[at].clone()
        }
    }

    /// The seasonal baseline of windows of ten minutes: that of the hours, on the line between their middles.
    pub(super) fn between(fine: &Series, hours: &Series, hourly: &Self) -> Self {
        let first_hour = if hours.len() == 0 { 0 } else { hours.hour(0) };
        let place = |at: usize| {
            let span = fine.span(at);
            let middle = (span.start_unix_ns / 2 + span.end_unix_ns / 2) as f64 / 3.6e12;
            // The middle of hour h is at h + 1/2.
            let position = middle - 0.5 - first_hour as f64;
            (position >= 0.0).then(|| (position.floor() as usize, position.fract()))
        };
        let references = (0..fine.len())
            .map(|at| {
                let hourly = place(at).and_then(|(left, _)| hourly.references.get(left));
                hourly.cloned().unwrap_or_default()
            })
            .collect();
        let expected = fine
            .items
            .iter()
            .map(|item| {
                let Some(row) = hours.items.iter().position(|other| other == item) else {
                    return vec![f64::NAN; fine.len()];
                };
                let row = &hourly.expected[row];
                let value = |at: usize| {
                    let (left, part) = place(at)?;
                    let (low, high) = (row.get(left)?, row.get(left + 1).or(row.get(left))?);
                    Some((high - low).mul_add(part, *low))
                };
                (0..fine.len()).map(|at| value(at).unwrap_or(f64::NAN)).collect()
            })
            .collect();
        Self { expected, references, lag_days: hourly.lag_days, hours_from: Some(first_hour) }
    }
}

/// Windows at the same hour of earlier days of the same class, newest first.
fn references(series: &Series, at: usize, lag_days: usize, item: Option<usize>) -> Vec<usize> {
    if series.len() == 0 {
        return Vec::new();
    }
    let hour = if at < series.len() { series.hour(at) } else { series.hour(at - 1) + 1 };
    let calendar = series.calendar;
    let class = calendar.class_hour(hour);
    let reach = at.min(HOUR_SLOTS_MAX);
    let mut found = Vec::new();
    let mut alike = 0;
    for day in lag_days.max(1)..=reach / DAY_HOURS {
        let earlier = at - day * DAY_HOURS;
        let is_clean = match item {
            Some(item) => series.is_clean(item, earlier),
            None => series.is_clean_for_all(earlier),
        };
        if !is_clean || calendar.class_hour(hour - (day * DAY_HOURS) as u64) != class {
            continue;
        }
        let is_weekly = reach >= WEEKS_FROM_HOURS && (day == 7 || day == 14);
        if alike < DAYS || is_weekly {
            found.push(earlier);
        }
        alike += 1;
    }
    if alike < DAYS_MIN { Vec::new() } else { found }
}

fn mean(logs: &[f64], windows: &[usize]) -> f64 {
    if windows.is_empty() {
        return f64::NAN;
    }
    windows.iter().map(|at| logs[*at]).sum::<f64>() / windows.len() as f64
}
