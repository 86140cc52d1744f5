//! How long to wait before a batch is sent again. Pure: the caller gives the randomness and does the waiting.

use std::time::Duration;

/// Longest wait. The collector is found again within half a minute of its return, and a thousand agents that wait for
/// it send it about 50 requests a second.
pub const DELAY_MAX: Duration = Duration::from_secs(30);

/// Longest wait that a collector may ask for: past it, ten batches have gathered and the window of alerts is missed.
pub const ASKED_MAX: Duration = Duration::from_secs(60);

/// Shortest wait that a collector may ask for: an agent that is told to come at once would fill its own processor.
const ASKED_MIN: Duration = Duration::from_millis(50);

const DELAY_FIRST: Duration = Duration::from_millis(500);

/// Doublings after which the wait is the longest one anyway.
const DOUBLINGS_MAX: u32 = 6;

const _: () = assert!(DELAY_FIRST.as_millis() << DOUBLINGS_MAX >= DELAY_MAX.as_millis());

/// Exponential waits with jitter: each failure doubles the wait.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: between half of the doubled wait and all of it.
    ///
    /// `jitter` lies in 0 to 1 and is different for each agent, so that agents do not come back all at once. What the
    /// collector asked for counts in place of the doubled wait: it knows better, up to [`ASKED_MAX`].
    pub fn fail(&mut self, jitter: f64, asked: Option<Duration>) -> Duration {
        let full = (DELAY_FIRST * 2u32.pow(self.failures.min(DOUBLINGS_MAX))).min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        if let Some(asked) = asked {
            // Never sooner than asked for: the jitter lies behind.
            return asked.clamp(ASKED_MIN, ASKED_MAX).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0);
        }
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Forgets the failures after a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_grow_and_stay_within_their_limits(jitter in -1.0f64..2.0, failures in 1usize..200) {
            let mut backoff = Backoff::default();
            let mut last = Duration::ZERO;
            for _ in 0..failures {
                let delay = backoff.fail(jitter, None);
                prop_assert!(delay >= last && delay >= DELAY_FIRST / 2 && delay <= DELAY_MAX);
                last = delay;
            }
            backoff.succeed();
            prop_assert!(backoff.fail(jitter, None) <= DELAY_FIRST);
        }
    }

    proptest! {
        #[test]
        fn what_the_collector_asks_for_is_obeyed_within_limits(
            jitter in 0.0f64..1.0, milliseconds: u64, failures in 0usize..20,
        ) {
            let mut backoff = Backoff::default();
            for _ in 0..failures {
                backoff.fail(jitter, None);
            }
            let asked = Duration::from_millis(milliseconds);
            let delay = backoff.fail(jitter, Some(asked));
            prop_assert!(delay >= asked.min(ASKED_MAX) && delay >= ASKED_MIN);
            prop_assert!(delay <= ASKED_MAX.mul_f64(1.5));
        }
    }

    #[test]
    fn an_outage_reaches_the_longest_wait() {
        let mut backoff = Backoff::default();
        let delays: Vec<Duration> = (0..10).map(|_| backoff.fail(1.0, None)).collect();
        assert_eq!(delays[0], DELAY_FIRST);
        assert_eq!(delays[9], DELAY_MAX);
    }
}
