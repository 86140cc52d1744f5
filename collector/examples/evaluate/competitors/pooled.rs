//! Two-proportion z test of the pooled samples, as if hosts did not differ; Benjamini-Hochberg over all functions.
//!
//! What a diff of two flame graphs comes to when its numbers are taken for samples of one urn.

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::{Alarm, View, discoveries};

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let [n0, n1] = [sum(&view.hosts[0]), sum(&view.hosts[1])];
    let found = view.items.iter().map(|item| {
        let [x0, x1] = [sum(&item.hosts[0]), sum(&item.hosts[1])];
        let pooled = (x0 + x1) / (n0 + n1);
        let delta = x1 / n1 - x0 / n0;
        let error = (pooled * (1.0 - pooled) * (1.0 / n0 + 1.0 / n1)).sqrt();
        let p = if error > 0.0 { 2.0 * Normal::standard().sf(delta.abs() / error) } else { 1.0 };
        (p.min(1.0), Alarm { scope: item.scope.clone(), delta })
    });
    let all: Vec<(f64, Alarm)> = found.collect();
    let tests = all.len();
    discoveries(all, tests).into_iter().filter(|alarm| alarm.delta > 0.0).collect()
}
