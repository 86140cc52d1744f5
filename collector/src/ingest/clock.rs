//! Puts windows of an agent whose clock is wrong where they belong. Pure.
//!
//! The collector's clock decides, so that one time line holds for a whole fleet. Small differences stay: the network is
//! part of what is measured, and windows are as long. Nothing is refused for good because of a clock.

use thiserror::Error;

const SECOND_NS: u64 = 1_000_000_000;

/// An agent's clock that is ahead by no more than this is not skewed.
pub(super) const AHEAD_SMALL_NS: u64 = 10 * SECOND_NS;

/// One that seems behind by no more than this may be right: a push that waits for a slow network or a busy collector takes
/// up to 30 s, after which the agent gives it up, and connecting takes 5 s.
const BEHIND_SMALL_NS: u64 = 45 * SECOND_NS;

/// A difference past this is a clock that was never set: its windows may be of any day.
pub(super) const SKEW_MAX_NS: u64 = 86_400 * SECOND_NS;

/// The clocks differ by more than a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the agent's clock is {seconds} s {side} the collector's, and more than a day is not corrected: \
     set the clock; the batch stays with the agent until then"
)]
pub struct TooFar {
    seconds: u64,
    side: &'static str,
}

/// How the window of a batch was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Not at all.
    No,
    /// By the difference between the clocks, in whole seconds.
    BySkew,
    /// To end now: it was taken under a clock that has been set back since, nobody knows by how much.
    ToNow,
}

/// The difference between two clocks in nanoseconds: how far the agent's is ahead. `None` where the agent does not say.
#[must_use]
pub(super) fn skew_ns(sent_unix_ns: u64, arrived_unix_ns: u64) -> Option<i64> {
    let difference = i128::from(sent_unix_ns) - i128::from(arrived_unix_ns);
    let difference = difference.clamp(i64::MIN.into(), i64::MAX.into());
    (sent_unix_ns > 0).then_some(difference as i64)
}

/// Whether a difference is more than the time that a push may take.
pub(super) const fn is_skewed(skew_ns: i64) -> bool {
    let small = if skew_ns > 0 { AHEAD_SMALL_NS } else { BEHIND_SMALL_NS };
    skew_ns.unsigned_abs() > small
}

/// Moves the window `[start, end)` to the collector's clock.
///
/// # Errors
///
/// When the clocks differ by more than a day.
pub(super) fn correct(
    window: (&mut u64, &mut u64),
    skew_ns: i64,
    arrived_unix_ns: u64,
) -> Result<Moved, TooFar> {
    let (start, end) = window;
    let size = skew_ns.unsigned_abs();
    if size > SKEW_MAX_NS {
        let side = if skew_ns > 0 { "ahead of" } else { "behind" };
        return Err(TooFar { seconds: size / SECOND_NS, side });
    }
    let mut moved = Moved::No;
    if is_skewed(skew_ns) {
        // Whole seconds, so that windows of one agent still follow each other.
        let by = (size + SECOND_NS / 2) / SECOND_NS * SECOND_NS;
        for time in [&mut *start, &mut *end] {
            *time = if skew_ns > 0 { time.saturating_sub(by) } else { time.saturating_add(by) };
        }
        moved = Moved::BySkew;
    }
    if *end > arrived_unix_ns.saturating_add(AHEAD_SMALL_NS) {
        *start = arrived_unix_ns.saturating_sub(end.saturating_sub(*start));
        *end = arrived_unix_ns;
        moved = Moved::ToNow;
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_700_000_000 * SECOND_NS;
    const WINDOW: u64 = 10 * SECOND_NS;

    /// A window that the agent closed and sent at once, by its clock that is so many seconds ahead.
    #[track_caller]
    fn check(ahead: i64, expected: Result<(Moved, i64), ()>) {
        let sent = NOW.checked_add_signed(ahead * SECOND_NS as i64).unwrap();
        let (mut start, mut end) = (sent - WINDOW, sent);
        let skew = skew_ns(sent, NOW).unwrap();
        let moved = correct((&mut start, &mut end), skew, NOW);
        let found = moved
            .map(|moved| (moved, (i128::from(end) - i128::from(NOW)) as i64 / SECOND_NS as i64));
        assert_eq!(found.map_err(drop), expected, "{ahead} s");
        assert_eq!(end - start, WINDOW);
    }

    #[test]
    fn a_window_is_moved_when_the_clocks_differ_by_more_than_a_push_takes() {
        check(0, Ok((Moved::No, 0)));
        check(10, Ok((Moved::No, 10)));
        check(-45, Ok((Moved::No, -45)));
        check(11, Ok((Moved::BySkew, 0)));
        check(-46, Ok((Moved::BySkew, 0)));
        check(86_400, Ok((Moved::BySkew, 0)));
        check(-86_400, Ok((Moved::BySkew, 0)));
        check(86_401, Err(()));
        check(-86_401, Err(()));
    }

    #[test]
    fn an_old_window_keeps_its_age() {
        let sent = NOW + 3600 * SECOND_NS;
        let (mut start, mut end) = (sent - 500 * SECOND_NS, sent - 490 * SECOND_NS);
        let moved = correct((&mut start, &mut end), 3600 * SECOND_NS as i64, NOW);
        assert_eq!(
            (moved, start, end),
            (Ok(Moved::BySkew), NOW - 500 * SECOND_NS, NOW - 490 * SECOND_NS)
        );
    }

    #[test]
    fn a_window_from_before_the_clock_was_set_back_ends_now() {
        let (mut start, mut end) = (NOW + 500 * SECOND_NS, NOW + 510 * SECOND_NS);
        let moved = correct((&mut start, &mut end), 0, NOW);
        assert_eq!((moved, start, end), (Ok(Moved::ToNow), NOW - WINDOW, NOW));
    }

    #[test]
    fn an_agent_that_does_not_say_its_time_has_no_skew() {
        assert_eq!(skew_ns(0, NOW), None);
        assert_eq!(skew_ns(u64::MAX, 1), Some(i64::MAX));
        assert_eq!(skew_ns(1, u64::MAX), Some(i64::MIN));
    }

    proptest! {
        #[test]
        fn no_window_ends_in_the_future(
            start: u64, length in 1..3600 * SECOND_NS, skew: i64, arrived in 0..u64::MAX / 4,
        ) {
            let (mut start, mut end) = (start.min(u64::MAX - length), start.min(u64::MAX - length) + length);
            if correct((&mut start, &mut end), skew, arrived).is_ok() {
                prop_assert!(end <= arrived + AHEAD_SMALL_NS);
                prop_assert!(start <= end);
            }
        }
    }
}
