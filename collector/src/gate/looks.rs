//! When a gate looks at the data, and how much of its error each look may spend. Pure: times come from the caller.
//!
//! Looks follow from the time at which the candidate began and from nothing else. So a collector that was restarted takes
//! the same looks, and who asks more often gets no more of them.

use serde::{Deserialize, Serialize};

/// Most looks of a gate: after the fourth they are four looks' lengths apart, so that 64 of 5 minutes are 20 hours.
pub const LOOKS_MAX: u32 = 64;

/// Lengths of the first looks, in look windows; from then on each is [`LENGTH_STEP`] longer.
const FIRST_LENGTHS: [u64; 4] = [1, 2, 4, 8];

/// By how much later looks grow.
const LENGTH_STEP: u64 = 4;

/// One look at all data from the end of the warm-up up to a fixed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Counts from 1.
    pub number: u32,
    /// Start of the data, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// End of the data, Unix nanoseconds, exclusive.
    pub end_unix_ns: u64,
    /// Whether no look follows.
    pub is_last: bool,
}

impl Look {
    /// A single look at data that is complete: nothing follows, so it may spend everything.
    #[must_use]
    pub const fn only(start_unix_ns: u64, end_unix_ns: u64) -> Self {
        Self { number: 0, start_unix_ns, end_unix_ns, is_last: true }
    }

    /// What this look may spend of `alpha`: `α_j = α 6/(π² j²)`, whose sum over all j is α, so that the error over all looks
    /// is bounded whatever the dependence between them (Bonferroni). The only look of complete data spends all of it.
    #[must_use]
    pub fn spends(&self, alpha: f64) -> f64 {
        if self.number == 0 {
            return alpha;
        }
        let number = f64::from(self.number);
        alpha * 6.0 / (std::f64::consts::PI * number).powi(2)
    }

    /// Whether a verdict needs no earlier look: the only one of complete data counts as many.
    #[must_use]
    pub const fn is_at_least(&self, looks: u32) -> bool {
        self.number == 0 || self.number >= looks
    }
}

/// When to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Start of the data: the candidate began and warmed up. Unix nanoseconds.
    pub start_unix_ns: u64,
    /// Length of a look window in nanoseconds, at least 1.
    pub look_ns: u64,
    /// Time after `start_unix_ns` from which on there is no further look, nanoseconds.
    pub max_wait_ns: u64,
}

impl Schedule {
    /// All looks, in order: after 1, 2, 4, 8, 12, 16, … look windows, as long as they end within the longest wait. There
    /// is at least one.
    pub fn looks(self) -> impl Iterator<Item = Look> {
        let end_of = move |number: u32| {
            let ns = self.look_ns.max(1).saturating_mul(length(number));
            (number == 1 || (number <= LOOKS_MAX && ns <= self.max_wait_ns))
                .then(|| self.start_unix_ns.saturating_add(ns))
        };
        (1..).map_while(move |number| {
            let end_unix_ns = end_of(number)?;
            let is_last = end_of(number + 1).is_none();
            Some(Look { number, start_unix_ns: self.start_unix_ns, end_unix_ns, is_last })
        })
    }

    /// The looks whose data is complete at a time, and the next one.
    #[must_use]
    pub fn at(self, now_unix_ns: u64) -> (Vec<Look>, Option<Look>) {
        let (due, later): (Vec<Look>, Vec<Look>) =
            self.looks().partition(|look| look.end_unix_ns <= now_unix_ns);
        (due, later.first().copied())
    }
}

/// Length of a look in look windows.
fn length(number: u32) -> u64 {
    let index = u64::from(number.max(1)) - 1;
    FIRST_LENGTHS.get(index as usize).copied().unwrap_or_else(|| (index - 2) * LENGTH_STEP + 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000_000_000;

    fn schedule(max_wait_minutes: u64) -> Schedule {
        let (look_ns, max_wait_ns) = (5 * MINUTE, max_wait_minutes * MINUTE);
        Schedule { start_unix_ns: 100, look_ns, max_wait_ns }
    }

    #[test]
    fn looks_are_after_1_2_4_8_12_16_windows() {
        let ends: Vec<u64> =
            schedule(100).looks().map(|look| (look.end_unix_ns - 100) / (5 * MINUTE)).collect();
        assert_eq!(ends, [1, 2, 4, 8, 12, 16, 20]);
        let last: Vec<bool> = schedule(60).looks().map(|look| look.is_last).collect();
        assert_eq!(last, [false, false, false, false, true]);
        assert_eq!(schedule(1).looks().count(), 1, "there is at least one");
    }

    #[test]
    fn all_looks_together_spend_less_than_alpha_and_most_of_it() {
        let forever = Schedule { max_wait_ns: u64::MAX, ..schedule(0) };
        let spent: f64 = forever.looks().map(|look| look.spends(0.01)).sum();
        assert!((0.0098..0.01).contains(&spent), "{spent}");
        assert_eq!(forever.looks().count(), LOOKS_MAX as usize);
        assert!((Look::only(0, 1).spends(0.01) - 0.01).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn asking_more_often_gives_the_same_looks(times in proptest::collection::vec(0..200u64, 1..50)) {
            let mut seen = Vec::new();
            for minute in &times {
                let (due, next) = schedule(60).at(minute * MINUTE);
                for look in due {
                    if !seen.contains(&look) {
                        seen.push(look);
                    }
                }
                prop_assert!(next.is_none_or(|next| next.end_unix_ns > minute * MINUTE));
            }
            let latest = times.iter().max().copied().unwrap_or(0);
            seen.sort_by_key(|look| look.number);
            prop_assert_eq!(seen, schedule(60).at(latest * MINUTE).0);
        }
    }
}
