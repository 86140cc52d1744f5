//! Slow growth: the last day against the days of the week before last, on a series that rises day by day.

use crate::detect::discovery;
use crate::detect::dispersion::{Prior, Scatter};
use crate::detect::normalize::middle;
use crate::detect::special::t_upper_tail;

use super::calendar::DAY_HOURS;
use super::finding::{Pace, Rung, RungState};
use super::operator::mean;
use super::options::TemporalOptions;
use super::rung::{Candidate, RUNGS, Step};
use super::scale::{Scale, spread};
use super::series::{ITEM_SAMPLES_MIN, Item, Series};
use super::trend::{mann_kendall, median, theil_sen};

/// Days that are looked at.
const DAYS: usize = 21;

/// Days before the last one that are its baseline.
const BASELINE_DAYS: std::ops::RangeInclusive<usize> = 8..=14;

/// Fewest days of the same class, the last one among them. Six in order have a chance of 1 in 360.
const DAYS_MIN: usize = 6;

/// Largest probability of the trend by chance.
const TREND_P_MAX: f64 = 0.01;

/// Degrees of freedom of each step from one day to the next: two that share a day are correlated by a half.
const STEP_DEGREES: f64 = 2.0 / 3.0;

/// Spread that functions have anyway, so that huge ones do not decide the factor alone.
const SPREAD: f64 = 0.05;

/// What one series did day by day: the last day first.
struct Daily {
    item: usize,
    /// (days before the last one, logarithm corrected for the growth of all others).
    points: Vec<(f64, f64)>,
    change: f64,
    before: f64,
    baseline_days: usize,
    noise: f64,
}

/// Tests all series of the step of a day for slow growth up to window `at`.
///
/// `t = (|D| - ln(1 + δ))/sd` where D is the last day less the mean of days 8 to 14 before it of the same class, and sd
/// the noise of a day by the steps from each to the next, times √(1 + 1/days). D and the slope must have the same sign
/// and the trend of Mann and Kendall p < 0.01.
pub(super) fn test(
    step: &Step,
    at: usize,
    options: &TemporalOptions,
) -> Result<(Vec<Candidate>, usize), RungState> {
    let series = &step.series;
    if !series.has_data(at) {
        return Err(RungState::NoData);
    }
    let days = alike(series, at);
    let baseline = days.iter().filter(|at_day| is_baseline(at, **at_day)).count();
    if days.len() < DAYS_MIN || baseline == 0 {
        return Err(RungState::NotYet { have: days.len().min(DAYS_MIN - 1), need: DAYS_MIN });
    }
    let factors: Vec<f64> = days.iter().map(|day| factor(series, *day, at)).collect();
    let daily: Vec<Daily> = (0..series.items.len())
        .filter_map(|item| Daily::of(series, item, at, (&days, &factors)))
        .collect();
    let scales = scales(series, &daily);
    let tested: Vec<Candidate> = daily
        .iter()
        .zip(scales)
        .map(|(daily, scale)| daily.test(series, at, (scale, options)))
        .collect();
    let adjusted = discovery::adjust(&tested.iter().map(|one| one.p).collect::<Vec<f64>>());
    let tests = tested.len();
    let found = tested
        .into_iter()
        .zip(adjusted)
        .map(|(one, q)| Candidate { q: (q * RUNGS).min(1.0), ..one })
        .filter(|one| one.q <= options.q)
        .collect();
    Ok((found, tests))
}

/// The last day and clean ones of the same class before it, newest first.
fn alike(series: &Series, at: usize) -> Vec<usize> {
    let class = series.calendar.is_weekend(series.hour(at));
    (0..DAYS)
        .map_while(|day| at.checked_sub(day * DAY_HOURS))
        .filter(|day| *day == at || series.is_clean_for_all(*day))
        .filter(|day| series.calendar.is_weekend(series.hour(*day)) == class)
        .collect()
}

fn is_baseline(at: usize, day: usize) -> bool {
    BASELINE_DAYS.contains(&((at - day) / DAY_HOURS))
}

/// Logarithm of the factor by which unchanged shares of a day differ from those of the last one: the weighted median.
fn factor(series: &Series, day: usize, at: usize) -> f64 {
    let pairs = (0..series.items.len())
        .filter(|item| matches!(series.items[*item], Item::Own(_)))
        .map(|item| {
            let noise = series.noise[item][day] + series.noise[item][at];
            let change = series.logs[item][day] - series.logs[item][at];
            (change, 1.0 / SPREAD.mul_add(SPREAD, noise))
        })
        .filter(|(change, _)| change.is_finite())
        .collect();
    middle(pairs)
}

impl Daily {
    fn of(
        series: &Series,
        item: usize,
        at: usize,
        (days, factors): (&[usize], &[f64]),
    ) -> Option<Self> {
        let is_share = series.items[item].is_share();
        let points: Vec<(usize, f64)> = days
            .iter()
            .zip(factors)
            .filter(|(day, _)| **day == at || series.is_clean(item, **day))
            .map(|(day, factor)| {
                (*day, series.logs[item][*day] - if is_share { *factor } else { 0.0 })
            })
            .collect();
        let baseline: Vec<f64> =
            points.iter().filter(|(day, _)| is_baseline(at, *day)).map(|(_, log)| *log).collect();
        let now = 1.0 / series.noise[item][at];
        let then = mean(points.iter().map(|(day, _)| 1.0 / series.noise[item][*day]));
        let oldest = days.last().copied().unwrap_or(at);
        if points.len() < DAYS_MIN
            || baseline.is_empty()
            || now.max(then) < ITEM_SAMPLES_MIN
            || !series.is_known_since(item, oldest)
        {
            return None;
        }
        let before = mean(baseline.iter().copied());
        let time = |day: usize| -(((at - day) / DAY_HOURS) as f64);
        Some(Self {
            item,
            change: points.first()?.1 - before,
            before,
            baseline_days: baseline.len(),
            noise: series.noise[item][at] * (1.0 + 1.0 / baseline.len() as f64),
            points: points.into_iter().map(|(day, log)| (time(day), log)).collect(),
        })
    }

    /// Dispersion of one day, over its sampling variance: half the mean square of the steps from each day to the next,
    /// less their usual growth a day (von Neumann 1941). Growth of any form adds little to it.
    fn scatter(&self, noise: f64) -> Scatter {
        let pairs = || self.points.windows(2).map(|pair| [pair[1], pair[0]]);
        let mut rates: Vec<f64> =
            pairs().map(|[(t0, y0), (t1, y1)]| (y1 - y0) / (t1 - t0)).collect();
        let usual = median(&mut rates);
        let mut steps: Vec<f64> =
            pairs().map(|[(t0, y0), (t1, y1)]| usual.mul_add(t0 - t1, y1 - y0)).collect();
        let degrees = STEP_DEGREES * steps.len() as f64;
        let variance = spread(&mut steps).powi(2) / 2.0;
        Scatter {
            dispersion: variance / noise,
            degrees,
            mean_count: 1.0 / noise,
            rate: 0.0,
            parts: 1.0,
            least: 1.0,
        }
    }

    fn test(
        &self,
        series: &Series,
        at: usize,
        (scale, options): (Scale, &TemporalOptions),
    ) -> Candidate {
        let is_share = series.items[self.item].is_share();
        let abs = if is_share { options.abs_min / self.before.exp() } else { 0.0 };
        let least = options.rel_min.max(abs).ln_1p();
        let t = (self.change.abs() - least) / scale.standard_deviation;
        let rising: Vec<f64> = self.points.iter().rev().map(|(_, log)| *log).collect();
        let is_trend =
            theil_sen(&self.points) * self.change > 0.0 && mann_kendall(&rising) < TREND_P_MAX;
        let p = if is_trend { (2.0 * t_upper_tail(t, scale.degrees)).min(1.0) } else { 1.0 };
        Candidate {
            rung: Rung::Drift,
            pace: Pace::Slow,
            item: self.item,
            at,
            k: 1,
            change: self.change,
            before: self.before,
            scale,
            t,
            p,
            q: 1.0,
            trailing: alike(series, at).into_iter().filter(|day| is_baseline(at, *day)).collect(),
        }
    }
}

/// Noise of each change, moderated among the series that are shares.
fn scales(series: &Series, daily: &[Daily]) -> Vec<Scale> {
    let part = |daily: &Daily| 1.0 + 1.0 / daily.baseline_days as f64;
    let scatters: Vec<Scatter> =
        daily.iter().map(|daily| daily.scatter(daily.noise / part(daily))).collect();
    let shares: Vec<Scatter> = daily
        .iter()
        .zip(&scatters)
        .filter(|(daily, _)| series.items[daily.item].is_share())
        .map(|(_, scatter)| *scatter)
        .collect();
    let prior = Prior::learn(&shares);
    daily
        .iter()
        .zip(&scatters)
        .map(|(daily, scatter)| {
            let (dispersion, degrees) = if series.items[daily.item].is_share() {
                let noise = prior.noise(scatter);
                (noise.dispersion, noise.degrees)
            } else {
                (scatter.dispersion.max(1.0), scatter.degrees)
            };
            Scale { standard_deviation: (dispersion * daily.noise).sqrt(), degrees }
        })
        .collect()
}
