//! Moving averages that cross, as Sentry watches functions: after six points, a short exponential average that rises
//! above a long one by a tenth.
//!
//! A point is a window, all hosts together: the baseline's windows, then the candidate's. Sentry's second step, a t test
//! around the break, is Otava's rule and stands there.

use super::{Alarm, View};

const POINTS_MIN: usize = 6;
const SHORT: f64 = 2.0 / 21.0;
const LONG: f64 = 2.0 / 41.0;
const THRESHOLD: f64 = 0.1;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let crosses = |item: &&super::view::Item| {
        let series = view.window_shares(item).concat();
        let candidate = view.windows[0].len();
        let (mut short, mut long) = (series[0], series[0]);
        let mut was_above = false;
        let mut has_crossed = false;
        for (at, share) in series.iter().enumerate() {
            short += SHORT * (share - short);
            long += LONG * (share - long);
            let is_above = short > (1.0 + THRESHOLD) * long;
            has_crossed |= is_above && !was_above && at >= candidate.max(POINTS_MIN);
            was_above = is_above;
        }
        has_crossed
    };
    let alarm =
        |item: &super::view::Item| Alarm { scope: item.scope.clone(), delta: view.delta(item) };
    view.items.iter().filter(crosses).map(alarm).collect()
}
