//! Welch's t test of the hosts' shares, Benjamini-Hochberg over all functions: the textbook answer to hosts that differ.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{Alarm, View, discoveries, welch};

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let found = view.items.iter().map(|item| {
        let [before, after] = view.host_shares(item);
        let p = welch(&before, &after).map_or(1.0, |[t, degrees]| {
            StudentsT::new(0.0, 1.0, degrees).map_or(1.0, |t_law| 2.0 * t_law.sf(t.abs()))
        });
        (p, Alarm { scope: item.scope.clone(), delta: view.delta(item) })
    });
    let all: Vec<(f64, Alarm)> = found.collect();
    let tests = all.len();
    discoveries(all, tests).into_iter().filter(|alarm| alarm.delta > 0.0).collect()
}
