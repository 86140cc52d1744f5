//! Whether the candidate's units are replaced more often than the baseline's: crashes show so. Pure.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};

/// Units of a side that ended and had a successor while it was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Restarts {
    /// Units that ended and were replaced.
    pub restarts: u64,
    /// Seconds of all units together.
    pub unit_seconds: f64,
}

/// When one unit was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Start of its first window, Unix nanoseconds.
    pub first_seen_unix_ns: u64,
    /// End of its last window, Unix nanoseconds.
    pub last_seen_unix_ns: u64,
}

impl Restarts {
    /// Counts the units that ended in the range, and after whose end another one began: each new unit replaces one.
    ///
    /// A unit that ends at the same time as all others, or without a successor, was scaled down, not restarted. `slack_ns`
    /// is the time without windows after which a unit has ended.
    #[must_use]
    pub fn of(lives: &[Life], [start, end]: [u64; 2], slack_ns: u64) -> Self {
        let mut ends: Vec<u64> = lives
            .iter()
            .map(|life| life.last_seen_unix_ns)
            .filter(|last| *last > start && last.saturating_add(slack_ns) < end)
            .collect();
        let mut begins: Vec<u64> = lives
            .iter()
            .map(|life| life.first_seen_unix_ns)
            .filter(|first| *first > start && *first < end)
            .collect();
        ends.sort_unstable();
        begins.sort_unstable();
        let mut begins = begins.into_iter();
        // A successor may be seen a window before its predecessor's last one ends.
        let mut is_replaced =
            |last: &u64| begins.any(|first| first.saturating_add(slack_ns) > *last);
        let restarts = ends.iter().filter(|last| is_replaced(last)).count() as u64;
        let seconds = |life: &Life| {
            let (from, to) = (life.first_seen_unix_ns.max(start), life.last_seen_unix_ns.min(end));
            to.saturating_sub(from) as f64 / 1e9
        };
        Self { restarts, unit_seconds: lives.iter().map(seconds).sum() }
    }
}

/// P of so many restarts of the candidate or more if both sides restart at the same rate.
///
/// Given all restarts of both sides, those of the candidate are binomial with its part of the time (the conditional test of
/// two Poisson rates, Przyborowski and Wilenski 1940). Restarts are rare and have no share in any pod's size, so no
/// dispersion enters.
#[must_use]
pub fn p_of_more([baseline, candidate]: [Restarts; 2]) -> f64 {
    let time = baseline.unit_seconds + candidate.unit_seconds;
    let trials = baseline.restarts + candidate.restarts;
    if candidate.restarts == 0 || time <= 0.0 {
        return 1.0;
    }
    let share = (candidate.unit_seconds / time).clamp(0.0, 1.0);
    Binomial::new(share, trials).map_or(1.0, |binomial| binomial.sf(candidate.restarts - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn life(first: u64, last: u64) -> Life {
        Life { first_seen_unix_ns: first * SECOND, last_seen_unix_ns: last * SECOND }
    }

    fn restarts(lives: &[Life]) -> u64 {
        Restarts::of(lives, [100 * SECOND, 400 * SECOND], 20 * SECOND).restarts
    }

    #[test]
    fn a_unit_with_a_successor_was_restarted_and_one_without_was_scaled_down() {
        assert_eq!(restarts(&[life(50, 400), life(50, 390)]), 0);
        assert_eq!(restarts(&[life(50, 200), life(205, 400)]), 1);
        assert_eq!(restarts(&[life(50, 200), life(50, 400)]), 0);
        assert_eq!(restarts(&[life(50, 200), life(50, 210), life(300, 400)]), 1);
        assert_eq!(restarts(&[life(120, 150), life(155, 200), life(205, 250), life(255, 400)]), 3);
    }

    /// Reference: `scipy.stats.binom.sf(7, 8, 0.5)` and `binom.sf(4, 6, 0.25)`; see `tests/reference/service.py`.
    #[test]
    fn the_p_value_agrees_with_scipy() {
        let side = |restarts, unit_seconds| Restarts { restarts, unit_seconds };
        let p = p_of_more([side(0, 900.0), side(8, 900.0)]);
        assert!((p - 0.003_906_25).abs() < 1e-9, "{p}");
        let p = p_of_more([side(1, 900.0), side(5, 300.0)]);
        assert!((p - 0.004_638_671_875).abs() < 1e-9, "{p}");
        assert!(p_of_more([side(3, 900.0), side(0, 900.0)]) >= 1.0);
        assert!(p_of_more([side(0, 0.0), side(2, 0.0)]) >= 1.0);
    }
}
