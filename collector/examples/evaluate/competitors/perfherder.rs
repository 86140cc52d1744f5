//! Perfherder's rule (Mozilla): an alert where Welch's t of the runs after against those before is above 7 and the
//! value rose by 2 %.
//!
//! Its runs of a benchmark are hosts here.

use super::{Alarm, View, moments, welch};

const T: f64 = 7.0;
const RELATIVE: f64 = 0.02;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let has_alert = |item: &&super::view::Item| {
        let [before, after] = view.host_shares(item);
        welch(&before, &after).is_some_and(|[t, _]| t > T)
            && moments(&after)[0] > (1.0 + RELATIVE) * moments(&before)[0]
    };
    let alarm =
        |item: &super::view::Item| Alarm { scope: item.scope.clone(), delta: view.delta(item) };
    view.items.iter().filter(has_alert).map(alarm).collect()
}
