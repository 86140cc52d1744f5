//! The chain that the paper on `FBDetect` describes (Wang and others 2024), as far as it can be rebuilt: CUSUM for the change
//! point, a likelihood-ratio test at 1 %, went-away, and a threshold on the growth of the share.
//!
//! A point is a window, all hosts together: the baseline's windows, then the candidate's. The removal of seasons by STL
//! needs days and is left out; the two arms run at the same time, so there is no season between them. The threshold is the
//! larger of its configurations, 0.05 % of all CPU.

use super::{Alarm, View, moments};

/// 99th percentile of chi-squared with one degree of freedom.
const RATIO_MIN: f64 = 6.635;
const THRESHOLD: f64 = 0.0005;

/// Fewest points on either side of a change.
const POINTS_MIN: usize = 3;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let is_regression = |item: &&super::view::Item| {
        let [before, after] = view.window_shares(item);
        let candidate = before.len();
        regresses(&[before, after].concat(), candidate)
    };
    let alarm =
        |item: &super::view::Item| Alarm { scope: item.scope.clone(), delta: view.delta(item) };
    view.items.iter().filter(is_regression).map(alarm).collect()
}

fn regresses(series: &[f64], candidate: usize) -> bool {
    let Some(change) = change_point(series) else { return false };
    let (before, after) = series.split_at(change);
    let ([m0, v0], [m1, v1]) = (moments(before), moments(after));
    let (n0, n1) = (before.len() as f64, after.len() as f64);
    let pooled = ((n0 - 1.0) * v0 + (n1 - 1.0) * v1) / (n0 + n1);
    let [_, whole] = moments(series);
    let whole = whole * (n0 + n1 - 1.0) / (n0 + n1);
    let ratio = (n0 + n1) * (whole / pooled.max(f64::MIN_POSITIVE)).ln();
    // Went away: the last points are back where the first ones were.
    let last = &series[series.len() - POINTS_MIN..];
    let stays = moments(last)[0] > 0.5 * (m0 + m1);
    change + POINTS_MIN >= candidate && ratio > RATIO_MIN && m1 - m0 > THRESHOLD && stays
}

/// Where the cumulated distance from the mean is largest: Page (1954).
fn change_point(series: &[f64]) -> Option<usize> {
    let [mean, _] = moments(series);
    let mut sum = 0.0;
    let sums = series.iter().map(|value| {
        sum += value - mean;
        sum
    });
    let (at, _) = sums.enumerate().min_by(|(_, left), (_, right)| left.total_cmp(right))?;
    let change = at + 1;
    (change >= POINTS_MIN && series.len() - change >= POINTS_MIN).then_some(change)
}
