//! The lengths of windows that are added up, and which of them answer a range.

use std::ops::Range;

use crate::store::TimeRange;

const MINUTE_NS: u64 = 60 * 1_000_000_000;
const HOUR_NS: u64 = 60 * MINUTE_NS;
const DAY_NS: u64 = 24 * HOUR_NS;

/// Length of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Level {
    /// Keeps the windows of a series apart.
    Minute = 1,
    Hour = 2,
    Day = 3,
}

impl Level {
    /// From the shortest.
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub(super) const fn length_ns(self) -> u64 {
        match self {
            Self::Minute => MINUTE_NS,
            Self::Hour => HOUR_NS,
            Self::Day => DAY_NS,
        }
    }

    /// Number, since 1970, of the period that holds a time.
    pub(super) const fn period(self, unix_ns: u64) -> u64 {
        unix_ns / self.length_ns()
    }

    /// Start of a period, Unix nanoseconds.
    pub(super) const fn start_unix_ns(self, period: u64) -> u64 {
        period.saturating_mul(self.length_ns())
    }

    /// The longest level whose periods never straddle windows of a length that start at its multiples; `None` when not
    /// even minutes do.
    pub(super) fn within(window_ns: u64) -> Option<Self> {
        // The longest window of all starts at 0 and has no second.
        let fits =
            |level: &&Self| window_ns == u64::MAX || window_ns.is_multiple_of(level.length_ns());
        Self::ALL.iter().rev().find(fits).copied()
    }
}

/// How far the store has added up, and what it still keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Every hour and every day that ended by then stands as a segment of its own.
    pub(super) hours_until_unix_ns: u64,
    pub(super) days_until_unix_ns: u64,
    /// Segments that begin before this time may hold what is past retention.
    pub(super) kept_from_unix_ns: u64,
    /// Minutes before this time are gone; their hours are there.
    pub(super) minutes_from_unix_ns: u64,
}

/// The segments that answer a range. What lies between them are windows that are not added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cover {
    /// Periods that lie in the range as a whole.
    pub(super) whole: Vec<(Level, Range<u64>)>,
    /// Minutes of which only the windows that start in the range count.
    pub(super) partial: Vec<Range<u64>>,
}

/// Chooses the fewest segments, none longer than `longest`; without it the windows themselves.
///
/// A window counts where it starts. Where the minutes are gone an hour does, whatever `longest` is.
pub(super) fn cover(range: TimeRange, longest: Option<Level>, progress: &Progress) -> Cover {
    let TimeRange { start_unix_ns: start, end_unix_ns: end } = range;
    let mut cover = Cover::default();
    let gone = progress.minutes_from_unix_ns.min(progress.hours_until_unix_ns);
    if start < gone.min(end) {
        let first = start.max(progress.kept_from_unix_ns).div_ceil(HOUR_NS);
        let hours = first..gone.min(end).div_ceil(HOUR_NS).max(first);
        cover_hours(hours, longest.unwrap_or(Level::Hour), progress, &mut cover);
    }
    let start = start.max(gone);
    if start < end {
        match longest {
            Some(longest) => cover_minutes(start..end, longest, progress, &mut cover),
            None => cover.partial.push(start / MINUTE_NS..end.div_ceil(MINUTE_NS)),
        }
    }
    cover
}

/// Where the minutes are there.
fn cover_minutes(range: Range<u64>, longest: Level, progress: &Progress, cover: &mut Cover) {
    let minutes = range.start.div_ceil(MINUTE_NS)..range.end / MINUTE_NS;
    if minutes.start > minutes.end {
        cover.partial.push(minutes.end..minutes.end + 1);
        return;
    }
    if !range.start.is_multiple_of(MINUTE_NS) {
        cover.partial.push(minutes.start - 1..minutes.start);
    }
    if !range.end.is_multiple_of(MINUTE_NS) {
        cover.partial.push(minutes.end..minutes.end + 1);
    }
    let hours = whole_periods(Level::Hour, &minutes, Level::Minute, progress, longest);
    if hours.is_empty() {
        cover.push(Level::Minute, minutes);
        return;
    }
    cover.push(Level::Minute, minutes.start..hours.start * 60);
    cover.push(Level::Minute, hours.end * 60..minutes.end);
    cover_hours(hours, longest, progress, cover);
}

fn cover_hours(hours: Range<u64>, longest: Level, progress: &Progress, cover: &mut Cover) {
    let days = whole_periods(Level::Day, &hours, Level::Hour, progress, longest);
    if days.is_empty() {
        cover.push(Level::Hour, hours);
        return;
    }
    cover.push(Level::Hour, hours.start..days.start * 24);
    cover.push(Level::Hour, days.end * 24..hours.end);
    cover.push(Level::Day, days);
}

impl Cover {
    fn push(&mut self, level: Level, periods: Range<u64>) {
        if !periods.is_empty() {
            self.whole.push((level, periods));
        }
    }
}

/// Periods of a level that lie in periods of the shorter one, and that stand as segments.
fn whole_periods(
    level: Level,
    shorter: &Range<u64>,
    shorter_level: Level,
    progress: &Progress,
    longest: Level,
) -> Range<u64> {
    let until = match level {
        Level::Day => progress.days_until_unix_ns,
        Level::Minute | Level::Hour => progress.hours_until_unix_ns,
    };
    let start = shorter_level.start_unix_ns(shorter.start).max(progress.kept_from_unix_ns);
    let first = start.div_ceil(level.length_ns());
    let last = shorter_level.start_unix_ns(shorter.end).min(until) / level.length_ns();
    if level > longest || last <= first { first..first } else { first..last }
}
