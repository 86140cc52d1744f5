//! Apache Otava's rule (formerly Hunter; Fleming and others 2023): a change point counts when Welch's t of the points
//! after against those before has p < 0.001 and the change a least magnitude.
//!
//! A point is a window, all hosts together. Where the change would be is known, so its search for change points, which
//! only costs it power, is not needed.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{Alarm, View, moments, welch};

const P_MAX: f64 = 0.001;
const MAGNITUDE: f64 = 0.05;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let has_change = |item: &&super::view::Item| {
        let [before, after] = view.window_shares(item);
        let p = welch(&before, &after).map_or(1.0, |[t, degrees]| {
            StudentsT::new(0.0, 1.0, degrees).map_or(1.0, |law| 2.0 * law.sf(t.abs()))
        });
        p < P_MAX && moments(&after)[0] > (1.0 + MAGNITUDE) * moments(&before)[0]
    };
    let alarm =
        |item: &super::view::Item| Alarm { scope: item.scope.clone(), delta: view.delta(item) };
    view.items.iter().filter(has_change).map(alarm).collect()
}
