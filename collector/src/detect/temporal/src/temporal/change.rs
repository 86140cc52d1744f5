//! When a change began.

use super::finding::{ChangePoint, Pace, Span};
use super::rung::{Candidate, Step};

/// Windows before the tested ones among which the beginning is looked for.
const WINDOWS_BEFORE: usize = 24;

/// Fewest windows on each side of the change.
const SIDE_MIN: usize = 1;

/// 95 % quantile of χ² with one degree of freedom.
const CHI_SQUARE: f64 = 3.841;

/// The split of the last windows into two levels with the least sum of squares (Hinkley 1970), of what is left after
/// the season is taken away. The interval holds every split whose sum is within `3.84 σ²` of the least, σ² being the
/// least sum over its degrees of freedom: a likelihood ratio of 95 %. Slow growth has no such point: the interval is
/// the time from its baseline on.
pub(super) fn change_point(step: &Step, candidate: &Candidate) -> ChangePoint {
    let series = &step.series;
    if candidate.pace == Pace::Slow {
        let oldest = candidate.trailing.first().copied().unwrap_or(candidate.at);
        let within = Span {
            start_unix_ns: series.span(oldest).end_unix_ns,
            end_unix_ns: series.span(candidate.at).end_unix_ns,
        };
        return ChangePoint { unix_ns: within.start_unix_ns, within };
    }
    let item = candidate.item;
    let mut positions: Vec<usize> = (0..candidate.k + WINDOWS_BEFORE)
        .map_while(|back| candidate.at.checked_sub(back * series.width))
        .filter(|at| !(series.logs[item][*at] - step.seasonal.expected[item][*at]).is_nan())
        .collect();
    positions.reverse();
    let values: Vec<f64> = positions
        .iter()
        .map(|at| series.logs[item][*at] - step.seasonal.expected[item][*at])
        .collect();
    let rest = |at: usize| {
        let (left, right) = values.split_at(at);
        squares(left) + squares(right)
    };
    let splits = SIDE_MIN..values.len().saturating_sub(SIDE_MIN - 1);
    let sums: Vec<(usize, f64)> = splits.map(|at| (at, rest(at))).collect();
    let start = |at: usize| series.span(positions[at]).start_unix_ns;
    let Some((best, least)) = sums.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)) else {
        let within = series.span(candidate.at);
        return ChangePoint { unix_ns: within.start_unix_ns, within };
    };
    let degrees = values.len().saturating_sub(2).max(1) as f64;
    let limit = CHI_SQUARE.mul_add(least / degrees, least);
    let inside = || sums.iter().filter(|(_, sum)| *sum <= limit).map(|(at, _)| *at);
    let first = inside().min().unwrap_or(best);
    let last = inside().max().unwrap_or(best);
    let within =
        Span { start_unix_ns: start(first), end_unix_ns: series.span(positions[last]).end_unix_ns };
    ChangePoint { unix_ns: start(best), within }
}

/// Sum of squares around the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum()
}
