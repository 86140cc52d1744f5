//! Known rules for a series, on the same hours: which hours each would have alarmed.

use flamewatch_collector::detect::temporal::Timeline;

/// Names of the rules, in the order of what they find.
pub(super) const NAMES: [&str; 4] = [
    "two-proportion z against the hour before, p < 1e-5",
    "same hour of 7 days alone, one window, 6 robust sd",
    "last 24 hours alone, one window, 6 robust sd",
    "exponential averages that cross (Sentry): 20 and 40 hours, 10 %",
];

/// Hours of past residuals from which the robust sd is taken.
const PAST: usize = 14 * 24;

/// Fewest samples of a function in an hour.
const SAMPLES_MIN: f64 = 20.0;

/// Least relative change of the rules that look at residuals, as our own has it.
const LEAST: f64 = 0.048_790_164_169_432;

/// p = 1e-5, two-sided.
const Z: f64 = 4.417_173_413_467_605;

/// Of each rule, whether it alarms in each hour from `from` on, for any function that was followed from the start: they
/// know nothing of when a function came to be followed.
pub(super) fn alarms(timeline: &Timeline, from: usize) -> [Vec<bool>; 4] {
    let hours = timeline.hours_kept();
    let mut alarms = [(); 4].map(|()| vec![false; hours]);
    let followed = timeline.functions().iter().map(|followed| followed.since_unix_ns);
    let first = followed.clone().min();
    for (function, _) in followed.enumerate().filter(|(_, since)| Some(*since) == first) {
        let counts: Vec<[u64; 3]> = timeline.hourly(function).collect();
        for side in 0..2 {
            let series: Vec<(f64, f64)> =
                counts.iter().map(|hour| (hour[side] as f64, hour[2] as f64)).collect();
            if series[from..].iter().any(|(count, _)| *count < SAMPLES_MIN) {
                continue;
            }
            let found =
                [previous(&series), past(&series, true), past(&series, false), cross(&series)];
            for (all, own) in alarms.iter_mut().zip(found) {
                for (all, own) in all.iter_mut().zip(own) {
                    *all |= own;
                }
            }
        }
    }
    alarms.map(|alarms| alarms[from..].to_vec())
}

fn previous(series: &[(f64, f64)]) -> Vec<bool> {
    let mut alarms = vec![false; series.len()];
    for (at, pair) in series.windows(2).enumerate() {
        let [(x0, n0), (x1, n1)] = [pair[0], pair[1]];
        let pooled = (x0 + x1) / (n0 + n1);
        let variance = pooled * (1.0 - pooled) * (1.0 / n0 + 1.0 / n1);
        alarms[at + 1] = (x1 / n1 - x0 / n0).abs() > Z * variance.sqrt();
    }
    alarms
}

fn past(series: &[(f64, f64)], is_seasonal: bool) -> Vec<bool> {
    let logs: Vec<f64> = series.iter().map(|(count, all)| ((count + 0.5) / all).ln()).collect();
    let residual = |at: usize| {
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) =
                values.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
            sum / count
        };
        let baseline = if is_seasonal {
            mean(&mut (1..=7).filter_map(|day| Some(logs[at.checked_sub(24 * day)?])))
        } else {
            mean(&mut (1..=24).filter_map(|hour| Some(logs[at.checked_sub(hour)?])))
        };
        logs[at] - baseline
    };
    let residuals: Vec<f64> = (0..logs.len()).map(residual).collect();
    (0..logs.len())
        .map(|at| {
            let mut past: Vec<f64> = residuals[at.saturating_sub(PAST)..at]
                .iter()
                .map(|value| value.abs())
                .filter(|value| !value.is_nan())
                .collect();
            if past.len() < PAST / 2 {
                return false;
            }
            let middle = past.len() / 2;
            let median = *past.select_nth_unstable_by(middle, f64::total_cmp).1;
            residuals[at].abs() > LEAST + 6.0 * 1.4826 * median
        })
        .collect()
}

fn cross(series: &[(f64, f64)]) -> Vec<bool> {
    let share = |at: usize| series[at].0 / series[at].1;
    let (mut short, mut long, mut was_above) = (share(0), share(0), false);
    (0..series.len())
        .map(|at| {
            short += 2.0 / 21.0 * (share(at) - short);
            long += 2.0 / 41.0 * (share(at) - long);
            let is_above = short > 1.1 * long;
            let has_crossed = is_above && !was_above;
            was_above = is_above;
            has_crossed
        })
        .collect()
}
