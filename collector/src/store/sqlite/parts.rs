//! Reads what answers a range: segments, the windows of minutes that straddle its ends, and blocks.

use profiler_common::profile::Quality;
use rusqlite::{Connection, params};

use super::block::{Content, Unpacker};
use super::level::{Cover, Level, Progress, cover};
use super::segment::{self, WindowContent};
use super::{failed, signed, unsigned};
use crate::store::{StoreError, TimeRange, cancel};

/// Whose windows: a series, or all series of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scope(pub(super) i64);

impl Scope {
    /// By the identity of the series.
    pub(super) const fn series(id: i64) -> Self {
        Self(id)
    }

    /// Whether it is a series.
    pub(super) const fn is_series(self) -> bool {
        self.0 > 0
    }

    /// By the identity of the release.
    pub(super) const fn release(id: i64) -> Self {
        Self(-id)
    }
}

/// What is known of windows without their stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Of the first window.
    pub(super) start_unix_ns: u64,
    /// Of the last window.
    pub(super) end_unix_ns: u64,
    pub(super) samples: u64,
    pub(super) cpu_ns: u64,
    /// Samples with a user stack.
    pub(super) stacks: u64,
    /// Those whose stack is whole.
    pub(super) whole: u64,
}

impl Sums {
    /// Of one window.
    pub(super) fn of(window: &WindowContent) -> Self {
        Self {
            start_unix_ns: window.start_unix_ns,
            end_unix_ns: window.end_unix_ns,
            samples: window.content.stacks.total(),
            cpu_ns: window.cpu_ns,
            stacks: window.content.quality.stacks(),
            whole: window.content.quality.whole(),
        }
    }

    /// Adds another.
    pub(super) fn merge(&mut self, other: Self) {
        if self.end_unix_ns == 0 {
            *self = other;
            return;
        }
        self.start_unix_ns = self.start_unix_ns.min(other.start_unix_ns);
        self.end_unix_ns = self.end_unix_ns.max(other.end_unix_ns);
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.stacks = self.stacks.saturating_add(other.stacks);
        self.whole = self.whole.saturating_add(other.whole);
    }

    fn from_row(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let number = |column: usize| row.get(first + column).map(unsigned);
        Ok(Self {
            start_unix_ns: number(0)?,
            end_unix_ns: number(1)?,
            samples: number(2)?,
            cpu_ns: number(3)?,
            stacks: number(4)?,
            whole: number(5)?,
        })
    }
}

/// Reads one range through one snapshot.
pub(super) struct Parts<'c> {
    pub(super) connection: &'c Connection,
    pub(super) unpacker: Unpacker,
    range: TimeRange,
    cover: Cover,
}

impl<'c> Parts<'c> {
    /// Answers with segments up to `longest`; without it with the windows themselves.
    pub(super) fn new(
        connection: &'c Connection,
        range: TimeRange,
        longest: Option<Level>,
    ) -> Result<Self, StoreError> {
        let progress = Progress::load(connection)?;
        let cover = cover(range, longest, &progress);
        Ok(Self { connection, unpacker: Unpacker::default(), range, cover })
    }

    /// Reads the segments of one level alone.
    pub(super) fn of_level(
        connection: &'c Connection,
        range: TimeRange,
        level: Level,
    ) -> Result<Self, StoreError> {
        let periods = level.period(range.start_unix_ns)..level.period(range.end_unix_ns);
        let cover = Cover { whole: vec![(level, periods)], partial: Vec::new() };
        Ok(Self { connection, unpacker: Unpacker::default(), range, cover })
    }

    /// Reads only what straddles the ends of a range.
    pub(super) fn at_the_ends(
        connection: &'c Connection,
        range: TimeRange,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            unpacker: Unpacker::default(),
            range,
            cover: cover(range, Some(Level::Minute), &Progress::default()),
        })
    }

    /// Reads only blocks.
    pub(super) fn of_blocks(
        connection: &'c Connection,
        range: TimeRange,
    ) -> Result<Self, StoreError> {
        Ok(Self { connection, unpacker: Unpacker::default(), range, cover: Cover::default() })
    }

    /// Everything of a series.
    pub(super) fn of_series(
        &mut self,
        series: i64,
        mut take: impl FnMut(WindowContent) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.segments(Scope::series(series), &mut take)?;
        self.fresh(series, take)
    }

    /// The segments that lie in the range as a whole.
    pub(super) fn segments(
        &mut self,
        scope: Scope,
        mut take: impl FnMut(WindowContent) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let read = failed("read profiles");
        let mut find = self.connection.prepare_cached(SEGMENTS).map_err(read)?;
        for (level, periods) in &self.cover.whole {
            let bounds =
                params![*level as i64, scope.0, signed(periods.start), signed(periods.end)];
            let mut rows = find.query(bounds).map_err(read)?;
            while let Some(row) = rows.next().map_err(read)? {
                let (base, data) = segment_of(*level, row)?;
                for window in segment::unpack(&mut self.unpacker, base, data)? {
                    take(window)?;
                }
                cancel::check()?;
            }
        }
        Ok(())
    }

    /// How the walks in the segments that lie in the range as a whole ended.
    pub(super) fn segment_walks(
        &mut self,
        scope: Scope,
        quality: &mut Quality,
    ) -> Result<(), StoreError> {
        let read = failed("read the quality of profiles");
        let mut find = self.connection.prepare_cached(SEGMENTS).map_err(read)?;
        for (level, periods) in &self.cover.whole {
            let bounds =
                params![*level as i64, scope.0, signed(periods.start), signed(periods.end)];
            let mut rows = find.query(bounds).map_err(read)?;
            while let Some(row) = rows.next().map_err(read)? {
                segment::unpack_walks(&mut self.unpacker, blob(row, 1)?, quality)?;
                cancel::check()?;
            }
        }
        Ok(())
    }

    /// What of a series is in no whole segment: windows of minutes at the ends, and blocks.
    pub(super) fn fresh(
        &mut self,
        series: i64,
        mut take: impl FnMut(WindowContent) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.split(series, &mut take)?;
        self.blocks(series, take)
    }

    /// The windows in the range of minutes that are not in it as a whole.
    fn split(
        &mut self,
        series: i64,
        mut take: impl FnMut(WindowContent) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let read = failed("read profiles");
        let range = self.range.start_unix_ns..self.range.end_unix_ns;
        let mut find = self.connection.prepare_cached(SEGMENTS).map_err(read)?;
        for minutes in &self.cover.partial {
            let level = Level::Minute;
            let bounds = params![level as i64, series, signed(minutes.start), signed(minutes.end)];
            let mut rows = find.query(bounds).map_err(read)?;
            while let Some(row) = rows.next().map_err(read)? {
                let (base, data) = segment_of(level, row)?;
                for window in segment::unpack(&mut self.unpacker, base, data)? {
                    if range.contains(&window.start_unix_ns) {
                        take(window)?;
                    }
                }
                cancel::check()?;
            }
        }
        Ok(())
    }

    /// The blocks of a series that start in the range.
    pub(super) fn blocks(
        &mut self,
        series: i64,
        mut take: impl FnMut(WindowContent) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let read = failed("read profiles");
        let mut find = self
            .connection
            .prepare_cached(
                "SELECT start_unix_ns, end_unix_ns, cpu_ns, data FROM block WHERE series = ?1 \
                 AND start_unix_ns >= ?2 AND start_unix_ns < ?3 ORDER BY start_unix_ns",
            )
            .map_err(read)?;
        let bounds =
            params![series, signed(self.range.start_unix_ns), signed(self.range.end_unix_ns)];
        let mut blocks = find.query(bounds).map_err(read)?;
        while let Some(block) = blocks.next().map_err(read)? {
            let number = |column| block.get(column).map(unsigned).map_err(read);
            let mut content = Content::default();
            self.unpacker.unpack_into(blob(block, 3)?, &mut content)?;
            take(WindowContent {
                start_unix_ns: number(0)?,
                end_unix_ns: number(1)?,
                cpu_ns: number(2)?,
                content,
            })?;
            cancel::check()?;
        }
        Ok(())
    }

    /// Sums of the segments that lie in the range as a whole, from the index alone.
    pub(super) fn segment_sums(
        &self,
        scope: Scope,
        mut take: impl FnMut(Sums),
    ) -> Result<(), StoreError> {
        let read = failed("read sums");
        let mut find = self
            .connection
            .prepare_cached(
                "SELECT start_unix_ns, end_unix_ns, samples, cpu_ns, stacks, whole FROM segment \
                 WHERE level = ?1 AND scope = ?2 AND period >= ?3 AND period < ?4",
            )
            .map_err(read)?;
        for (level, periods) in &self.cover.whole {
            let bounds =
                params![*level as i64, scope.0, signed(periods.start), signed(periods.end)];
            let mut rows = find.query(bounds).map_err(read)?;
            while let Some(row) = rows.next().map_err(read)? {
                take(Sums::from_row(row, 0).map_err(read)?);
            }
        }
        Ok(())
    }

    /// Sums of what of a series is in no whole segment.
    pub(super) fn fresh_sums(
        &mut self,
        series: i64,
        mut take: impl FnMut(Sums),
    ) -> Result<(), StoreError> {
        let read = failed("read sums");
        self.split(series, |window| {
            take(Sums::of(&window));
            Ok(())
        })?;
        let mut find = self
            .connection
            .prepare_cached(
                "SELECT start_unix_ns, end_unix_ns, samples, cpu_ns, stacks, whole FROM block \
                 WHERE series = ?1 AND start_unix_ns >= ?2 AND start_unix_ns < ?3",
            )
            .map_err(read)?;
        let TimeRange { start_unix_ns, end_unix_ns } = self.range;
        let bounds = params![series, signed(start_unix_ns), signed(end_unix_ns)];
        let mut rows = find.query(bounds).map_err(read)?;
        while let Some(row) = rows.next().map_err(read)? {
            take(Sums::from_row(row, 0).map_err(read)?);
        }
        Ok(())
    }

    /// Gives the start and the end of each minute's window at the ends of the range, and those of the outermost blocks.
    pub(super) fn fresh_ends(
        &mut self,
        series: i64,
        mut take: impl FnMut(u64, u64),
    ) -> Result<(), StoreError> {
        let read = failed("read when units were seen");
        self.split(series, |window| {
            take(window.start_unix_ns, window.end_unix_ns);
            Ok(())
        })?;
        let mut find = self.connection.prepare_cached(OUTERMOST_BLOCKS).map_err(read)?;
        let bounds =
            params![series, signed(self.range.start_unix_ns), signed(self.range.end_unix_ns)];
        let found: (Option<i64>, Option<i64>) =
            find.query_row(bounds, |row| Ok((row.get(0)?, row.get(1)?))).map_err(read)?;
        if let (Some(first), Some(last)) = found {
            take(unsigned(first), unsigned(last));
        }
        Ok(())
    }

    /// Whether a series has a segment that lies in the range as a whole.
    pub(super) fn has_segment(&self, series: i64) -> Result<bool, StoreError> {
        let read = failed("read sums");
        let mut find = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM segment \
                 WHERE level = ?1 AND scope = ?2 AND period >= ?3 AND period < ?4)",
            )
            .map_err(read)?;
        // The longest first: one seek mostly tells.
        for (level, periods) in self.cover.whole.iter().rev() {
            let bounds = params![*level as i64, series, signed(periods.start), signed(periods.end)];
            if find.query_row(bounds, |row| row.get(0)).map_err(read)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

const OUTERMOST_BLOCKS: &str = "SELECT \
     (SELECT start_unix_ns FROM block WHERE series = ?1 AND start_unix_ns >= ?2 \
     AND start_unix_ns < ?3 ORDER BY start_unix_ns LIMIT 1), \
     (SELECT end_unix_ns FROM block WHERE series = ?1 AND start_unix_ns >= ?2 \
     AND start_unix_ns < ?3 ORDER BY start_unix_ns DESC LIMIT 1)";

/// Columns: period, data.
const SEGMENTS: &str = "SELECT period, data FROM segment \
     WHERE level = ?1 AND scope = ?2 AND period >= ?3 AND period < ?4 ORDER BY period";

fn segment_of<'r>(level: Level, row: &'r rusqlite::Row<'_>) -> Result<(u64, &'r [u8]), StoreError> {
    let period = row.get(0).map_err(failed("read profiles"))?;
    Ok((level.start_unix_ns(unsigned(period)), blob(row, 1)?))
}

/// The bytes in a column.
pub(super) fn blob<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r [u8], StoreError> {
    let data = row.get_ref(column).map_err(failed("read profiles"))?.as_blob();
    data.map_err(|_text| StoreError::Damaged("a block is not a blob"))
}

impl Progress {
    /// Reads it.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let read = failed("read the progress of adding up");
        let mut find =
            connection.prepare_cached("SELECT value FROM meta WHERE name = ?1").map_err(read)?;
        let mut number = |name: &str| {
            let mut rows = find.query([name]).map_err(read)?;
            let row = rows.next().map_err(read)?;
            row.map_or(Ok(0), |row| row.get(0).map(unsigned).map_err(read))
        };
        Ok(Self {
            hours_until_unix_ns: number(HOURS_UNTIL)?,
            days_until_unix_ns: number(DAYS_UNTIL)?,
            kept_from_unix_ns: number(KEPT_FROM)?,
            minutes_from_unix_ns: number(MINUTES_FROM)?,
        })
    }
}

/// Raises one of the marks of [`Progress`].
pub(super) fn raise(connection: &Connection, name: &str, unix_ns: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET value = max(value, ?2)",
        )
        .and_then(|mut raise| raise.execute(params![name, signed(unix_ns)]))
        .map(drop)
        .map_err(failed("write the progress of adding up"))
}

pub(super) const HOURS_UNTIL: &str = "hours_until";
pub(super) const DAYS_UNTIL: &str = "days_until";
pub(super) const KEPT_FROM: &str = "kept_from";
pub(super) const MINUTES_FROM: &str = "minutes_from";
