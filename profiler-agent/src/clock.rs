//! When a window began and ended, by a clock that may be set at any time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Unix time in nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds of the monotonic clock, which is also that of samples.
#[must_use]
pub fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Start and end of a window of that length: from the end of the last one, unless the clock was set meanwhile or the host
/// slept. Then it lasts as long as it was seen to.
#[must_use]
pub fn window_times(last_end: u64, now: u64, length: Duration) -> (u64, u64) {
    /// Difference between two clocks that is no step: what NTP slews in the longest window, and rounding.
    const SLEW_MAX_NS: u64 = NANOS_PER_SECOND;
    let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let seen = now.saturating_sub(length);
    let start = if seen.abs_diff(last_end) <= SLEW_MAX_NS { last_end } else { seen };
    (start, now.max(start + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_the_clock_when_it_is_set_and_join_when_it_is_not() {
        let window = Duration::from_secs(10);
        let hour = 3600 * NANOS_PER_SECOND;
        let last = 100 * hour;
        let slewed = last + 10 * NANOS_PER_SECOND + 5;
        assert_eq!(window_times(last, slewed, window), (last, slewed));
        for now in [last - hour, last + 9 * hour] {
            assert_eq!(window_times(last, now, window), (now - 10 * NANOS_PER_SECOND, now));
        }
        assert_eq!(window_times(5, 5, Duration::ZERO), (5, 6));
    }
}
