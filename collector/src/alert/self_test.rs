//! Compares services with themselves: how often the detector raises an alarm where nothing changed. Pure.
//!
//! Units of one version, or windows of one unit, are split in two halves at random and judged like two versions. Whatever
//! is found is false, so its rate is measured on the user's own data. Where it is above the nominal one beyond chance, the
//! least effect of interest is raised until it no longer is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use statrs::function::beta::beta_reg;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::detect::Policy;
use crate::diff::Replication;
use crate::store::UnitWindow;

/// Fewest units at which units are split; two on each side.
const UNITS_MIN: usize = 4;

/// Fewest windows at which windows are split; four on each side.
const WINDOWS_MIN: usize = 8;

/// How improbable a number of alarms must be at the nominal rate before the detector is made stricter. It is looked at
/// after each alarm, which are few.
const CHANCE_MAX: f64 = 0.001;

/// Confidence with which the rate must be below the nominal one before the detector is relaxed again.
const RELAX_CONFIDENCE: f64 = 0.95;

/// Factor of the least effects for each step.
const STEP: f64 = 1.5;

/// Most steps: at five times the least effect something else is wrong, and an alert that never comes helps nobody.
const TIGHTNESS_MAX: u32 = 4;

/// What comparisons of services with themselves have said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfTests {
    /// Comparisons since the store was made.
    pub total: Alarms,
    /// Comparisons since the detector was last made stricter or relaxed.
    pub since_change: Alarms,
    /// How many steps stricter than its settings the detector is now.
    pub tightness: u32,
}

/// Comparisons of services with themselves and those that raised an alarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms {
    /// Comparisons.
    pub tests: u64,
    /// Those with at least one group that would have been pending.
    pub pending: u64,
    /// Those with at least one group that would have been firing.
    pub firing: u64,
}

/// Rates that are promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nominal {
    pub(super) pending: f64,
    pub(super) firing: f64,
}

/// What became of the strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Tightened,
    Relaxed,
}

impl SelfTests {
    /// Counts one comparison, and changes the strictness where the counts ask for it.
    pub(super) fn count(
        &mut self,
        is_pending: bool,
        is_firing: bool,
        nominal: Nominal,
    ) -> Option<Change> {
        for alarms in [&mut self.total, &mut self.since_change] {
            alarms.tests += 1;
            alarms.pending += u64::from(is_pending);
            alarms.firing += u64::from(is_firing);
        }
        let Alarms { tests, pending, firing } = self.since_change;
        let is_above = |alarms, rate| alarms > 0 && at_least(alarms, tests, rate) < CHANCE_MAX;
        let is_below =
            |alarms, rate| 1.0 - at_least(alarms + 1, tests, rate) < 1.0 - RELAX_CONFIDENCE;
        if is_above(pending, nominal.pending) || is_above(firing, nominal.firing) {
            self.since_change = Alarms::default();
            if self.tightness < TIGHTNESS_MAX {
                self.tightness += 1;
                return Some(Change::Tightened);
            }
        } else if self.tightness > 0
            && is_below(pending, nominal.pending)
            && is_below(firing, nominal.firing)
        {
            self.since_change = Alarms::default();
            self.tightness -= 1;
            return Some(Change::Relaxed);
        }
        None
    }

    /// The policy with its least effects raised by the strictness.
    pub(super) fn tightened(&self, policy: &Policy) -> Policy {
        let factor = STEP.powi(i32::try_from(self.tightness).unwrap_or(0));
        let later = |ns: u64| (ns as f64 * factor) as u64;
        Policy {
            rel_min: policy.rel_min * factor,
            abs_min: policy.abs_min * factor,
            p50_rel_min: policy.p50_rel_min * factor,
            p50_abs_min_ns: later(policy.p50_abs_min_ns),
            p95_rel_min: policy.p95_rel_min * factor,
            p95_abs_min_ns: later(policy.p95_abs_min_ns),
            p99_rel_min: policy.p99_rel_min * factor,
            p99_abs_min_ns: later(policy.p99_abs_min_ns),
            error_rel_min: policy.error_rel_min * factor,
            error_abs_min: policy.error_abs_min * factor,
            ..policy.clone()
        }
    }
}

/// Probability of at least `alarms` among `tests` at a rate: the binomial tail, `I_rate(alarms, tests - alarms + 1)`.
fn at_least(alarms: u64, tests: u64, rate: f64) -> f64 {
    if alarms == 0 {
        return 1.0;
    }
    if alarms > tests {
        return 0.0;
    }
    beta_reg(alarms as f64, (tests - alarms + 1) as f64, rate.clamp(0.0, 1.0))
}

/// Whether a service is to be compared with itself in this window: once an hour, each service in another window of it.
pub(super) fn is_due(service: &str, window: u64, window_ns: u64) -> bool {
    let windows = hour_windows(window_ns);
    xxh3_64_with_seed(service.as_bytes(), 0) % windows == window % windows
}

/// The hour of a window; with the service the seed of its split.
pub(super) fn hour_of(window: u64, window_ns: u64) -> u64 {
    window / hour_windows(window_ns)
}

fn hour_windows(window_ns: u64) -> u64 {
    const HOUR_NS: u64 = 3_600 * 1_000_000_000;
    (HOUR_NS / window_ns.max(1)).max(1)
}

/// Two halves of the windows of one version, at random by service and hour; `None` where there are too few.
pub(super) fn split(
    windows: &[UnitWindow],
    service: &str,
    hour: u64,
) -> Option<([Vec<UnitWindow>; 2], Replication)> {
    let unit = |window: &UnitWindow| format!("{}/{}", window.host, window.unit);
    let start = |window: &UnitWindow| format!("{:020}", window.start_unix_ns);
    let units: BTreeSet<String> = windows.iter().map(unit).collect();
    let (names, replication) = if units.len() >= UNITS_MIN {
        (units, Replication::Units)
    } else {
        (windows.iter().map(start).collect(), Replication::Windows)
    };
    if replication == Replication::Windows && names.len() < WINDOWS_MIN {
        return None;
    }
    let seed = xxh3_64_with_seed(service.as_bytes(), hour);
    let mut order: Vec<(u64, &String)> =
        names.iter().map(|name| (xxh3_64_with_seed(name.as_bytes(), seed), name)).collect();
    order.sort_unstable();
    let first: BTreeSet<&String> = order[..order.len() / 2].iter().map(|(_, name)| *name).collect();
    let mut halves = [Vec::new(), Vec::new()];
    for window in windows {
        let name = if replication == Replication::Units { unit(window) } else { start(window) };
        halves[usize::from(!first.contains(&name))].push(window.clone());
    }
    Some((halves, replication))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOMINAL: Nominal = Nominal { pending: 0.01, firing: 0.001 };

    fn counted(tests: &mut SelfTests, number: usize, is_alarm: bool) -> Vec<Change> {
        (0..number).filter_map(|_| tests.count(is_alarm, is_alarm, NOMINAL)).collect()
    }

    #[test]
    fn the_binomial_tail_is_the_sum_of_its_terms() {
        // Exact sums, by tests/reference/binomial_tail.py.
        assert!((at_least(3, 100, 0.01) - 0.079_373_202_252_180_33).abs() < 1e-12);
        assert!((at_least(1, 3, 0.001) - 0.002_997_001).abs() < 1e-12);
    }

    #[test]
    fn one_alarm_may_be_chance_and_two_are_not() {
        let mut tests = SelfTests::default();
        assert!(counted(&mut tests, 50, false).is_empty());
        assert!(counted(&mut tests, 1, true).is_empty());
        assert_eq!(counted(&mut tests, 1, true), []);
        assert_eq!(counted(&mut tests, 1, true), [Change::Tightened]);
        assert_eq!((tests.tightness, tests.since_change.tests, tests.total.firing), (1, 0, 3));
    }

    #[test]
    fn a_detector_that_keeps_its_promise_is_relaxed_again() {
        let mut tests = SelfTests { tightness: 1, ..SelfTests::default() };
        assert!(counted(&mut tests, 2_900, false).is_empty());
        assert_eq!(counted(&mut tests, 100, false), [Change::Relaxed]);
        assert!(counted(&mut tests, 5_000, false).is_empty());
        assert_eq!(tests.tightness, 0);
    }

    #[test]
    fn strictness_has_an_end() {
        let mut tests = SelfTests::default();
        counted(&mut tests, 1_000, true);
        assert_eq!(tests.tightness, TIGHTNESS_MAX);
        let policy = tests.tightened(&Policy::default());
        assert!((policy.rel_min / Policy::default().rel_min - 5.062_5).abs() < 1e-9);
    }

    fn windows(units: u64, starts: u64) -> Vec<UnitWindow> {
        (0..units * starts)
            .map(|index| UnitWindow {
                host: "h".to_owned(),
                unit: (index % units).to_string(),
                version: String::new(),
                start_unix_ns: index / units,
                ..UnitWindow::default()
            })
            .collect()
    }

    #[test]
    fn each_unit_falls_into_one_half_and_the_hour_says_which() {
        let windows = windows(6, 5);
        let units = |hour| {
            let (halves, replication) = split(&windows, "shop", hour).unwrap();
            assert_eq!(replication, Replication::Units);
            halves.map(|half| half.into_iter().map(|w| w.unit).collect::<BTreeSet<_>>())
        };
        let [first, second] = units(1);
        assert_eq!((first.len(), second.len()), (3, 3));
        assert!(first.is_disjoint(&second));
        assert_eq!(units(1), [first.clone(), second]);
        assert!((2..20).any(|hour| units(hour)[0] != first));
    }

    #[test]
    fn few_units_give_their_windows_and_few_windows_nothing() {
        let (halves, replication) = split(&windows(2, 9), "shop", 1).unwrap();
        assert_eq!(replication, Replication::Windows);
        assert_eq!(halves.map(|half| half.len()), [8, 10]);
        assert!(split(&windows(2, 7), "shop", 1).is_none());
    }

    #[test]
    fn a_service_is_tested_once_an_hour() {
        let minute = 60_000_000_000;
        let due = (0..600).filter(|window| is_due("shop", *window, minute)).count();
        assert_eq!(due, 10);
    }
}
