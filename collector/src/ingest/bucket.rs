//! A rate with room for bursts: what was taken flows back over time. Pure: the caller has the clock.

use std::time::Duration;

use tokio::time::Instant;

/// How much may be taken at once, and how fast it comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) bytes_per_second: u64,
    pub(super) burst_bytes: u64,
}

/// Bytes that were taken and did not flow back yet. May hold more than a burst: it then gives nothing until the excess is
/// gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    taken: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { taken: 0.0, at: now }
    }

    /// Takes bytes, whether there is room or not: what came has cost its work already.
    pub(super) fn take(&mut self, rate: Rate, bytes: usize, now: Instant) {
        self.flow(rate, now);
        self.taken += bytes as f64;
    }

    /// How long until there is room again; zero while there is.
    pub(super) fn wait(&mut self, rate: Rate, now: Instant) -> Duration {
        self.flow(rate, now);
        let excess = (self.taken - rate.burst_bytes as f64).max(0.0);
        Duration::from_secs_f64(excess / rate.bytes_per_second as f64)
    }

    /// Whether all has flown back, so that nothing is forgotten with it.
    pub(super) fn is_empty(&mut self, rate: Rate, now: Instant) -> bool {
        self.flow(rate, now);
        self.taken <= 0.0
    }

    fn flow(&mut self, rate: Rate, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.taken = (self.taken - seconds * rate.bytes_per_second as f64).max(0.0);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { bytes_per_second: 1000, burst_bytes: 5000 };

    #[test]
    fn a_burst_passes_and_its_excess_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(RATE, 5000, start);
        assert_eq!(bucket.wait(RATE, start), Duration::ZERO);
        bucket.take(RATE, 2000, start);
        assert_eq!(bucket.wait(RATE, start), Duration::from_secs(2));
        assert_eq!(bucket.wait(RATE, start + Duration::from_secs(2)), Duration::ZERO);
        assert!(!bucket.is_empty(RATE, start + Duration::from_secs(6)));
        assert!(bucket.is_empty(RATE, start + Duration::from_secs(7)));
    }

    proptest! {
        #[test]
        fn no_more_passes_than_burst_and_rate_together(
            pushes in proptest::collection::vec((0_u64..2000, 0_usize..4000), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(start);
            let (mut at, mut passed, mut last) = (start, 0, 0);
            for (milliseconds, bytes) in pushes {
                at += Duration::from_millis(milliseconds);
                if bucket.wait(RATE, at) == Duration::ZERO {
                    bucket.take(RATE, bytes, at);
                    passed += bytes;
                    last = bytes;
                }
            }
            let seconds = (at - start).as_secs_f64();
            // The last one may pass with a single byte of room.
            prop_assert!((passed - last) as f64 <= 5000.0 + 1000.0 * seconds + 1.0);
        }
    }
}
