//! Known methods on the very same windows. Each file says what it follows and where it had to be adapted.

mod view;
mod pooled;
mod welch;
mod mann_whitney;
mod kayenta;
mod perfherder;
mod otava;
mod sentry;
mod fbdetect;

pub(crate) use view::{Alarm, View};

/// A known method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rival {
    pub(crate) name: &'static str,
    /// What it says got slower.
    pub(crate) alarms: fn(&View) -> Vec<Alarm>,
    /// Whether it compares hosts; the others compare windows of all hosts together.
    pub(crate) compares_hosts: bool,
}

/// All of them, those that compare hosts first.
pub(crate) const RIVALS: &[Rival] = &[
    Rival { name: "pooled z, BH", alarms: pooled::alarms, compares_hosts: true },
    Rival { name: "Welch t, BH", alarms: welch::alarms, compares_hosts: true },
    Rival { name: "Mann-Whitney, BH", alarms: mann_whitney::alarms, compares_hosts: true },
    Rival { name: "t > 7 (Perfherder)", alarms: perfherder::alarms, compares_hosts: true },
    Rival { name: "Kayenta", alarms: kayenta::alarms, compares_hosts: false },
    Rival { name: "Otava", alarms: otava::alarms, compares_hosts: false },
    Rival { name: "EMA (Sentry)", alarms: sentry::alarms, compares_hosts: false },
    Rival { name: "FBDetect-like", alarms: fbdetect::alarms, compares_hosts: false },
];

/// False discovery rate of those that have one: that of our views.
const Q: f64 = 0.01;

/// Keeps the alarms whose p value is within the false discovery rate [`Q`] over `tests` tests: Benjamini and Hochberg
/// (1995).
fn discoveries(mut alarms: Vec<(f64, Alarm)>, tests: usize) -> Vec<Alarm> {
    alarms.sort_by(|left, right| left.0.total_cmp(&right.0));
    let within = |(rank, (p, _)): (usize, &(f64, Alarm))| p * tests as f64 / (rank + 1) as f64 <= Q;
    let last = alarms.iter().enumerate().rposition(within).map_or(0, |at| at + 1);
    alarms.truncate(last);
    alarms.into_iter().map(|(_, alarm)| alarm).collect()
}

/// Mean and variance of some values.
fn moments(values: &[f64]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    [mean, square / (count - 1.0)]
}

/// Welch's t of the growth from `before` to `after`, and its degrees of freedom (Welch 1947).
fn welch(before: &[f64], after: &[f64]) -> Option<[f64; 2]> {
    if before.len() < 2 || after.len() < 2 {
        return None;
    }
    let ([m0, v0], [m1, v1]) = (moments(before), moments(after));
    let (e0, e1) = (v0 / before.len() as f64, v1 / after.len() as f64);
    let error = (e0 + e1).sqrt();
    if error <= 0.0 {
        return None;
    }
    let parts = e0 * e0 / (before.len() as f64 - 1.0) + e1 * e1 / (after.len() as f64 - 1.0);
    Some([(m1 - m0) / error, (e0 + e1).powi(2) / parts])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welch_is_that_of_scipy() {
        // tests/reference/evaluate.py
        let found = welch(&[10.0, 11.0, 12.0, 13.0], &[12.0, 14.0, 13.0, 16.5]);
        let [t, degrees] = found.expect("both sides have values");
        assert!((t - 2.044_863_609_5).abs() < 1e-9, "{t}");
        assert!((degrees - 5.235_113_550_6).abs() < 1e-8, "{degrees}");
    }

    #[test]
    fn discoveries_follow_benjamini_and_hochberg() {
        let alarm = Alarm { scope: crate::variant::Scope::Own(0), delta: 1.0 };
        let all: Vec<(f64, Alarm)> = [0.5, 0.0024, 0.0041, 0.9].map(|p| (p, alarm.clone())).into();
        // 0.0024 alone would need 0.0025; with it, 0.0041 needs 0.005.
        assert_eq!(discoveries(all, 4).len(), 2);
    }
}
