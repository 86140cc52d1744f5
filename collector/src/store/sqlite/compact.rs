//! Adds up: blocks become minutes, minutes hours, hours days; for each series, and for each release.
//!
//! Blocks leave their table in the transaction in which their minute gets them, so that each window is in exactly one of
//! the two. What comes late is added to everything that had been added up without it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::level::{Level, Progress};
use super::parts::{DAYS_UNTIL, HOURS_UNTIL, Parts, Scope, Sums, raise};
use super::segment::{self, WindowContent};
use super::writer::Core;
use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{Compacted, StoreError, TimeRange};

const ADD_UP: &str = "add up windows";

/// How long after its end a minute is still left open. Agents ship a window as soon as it ends; what comes later is
/// added at its own cost.
const MINUTE_GRACE_NS: u64 = 15 * 1_000_000_000;

/// The same for hours and days.
const HOUR_GRACE_NS: u64 = 120 * 1_000_000_000;

/// Most blocks, and most scopes, in one transaction: some tens of milliseconds, for which ingest waits.
const STEP_BLOCKS_MAX: usize = 500;
const STEP_SCOPES_MAX: usize = 64;

type Key = (Level, Scope, u64);

impl SqliteStore {
    pub(super) fn compact_until(&self, now_unix_ns: u64) -> Result<Compacted, StoreError> {
        let mut compacted = Compacted::default();
        let minute = Level::Minute.length_ns();
        let closed = now_unix_ns.saturating_sub(MINUTE_GRACE_NS) / minute * minute;
        let mut after = Some((0, 0));
        while let Some(from) = after {
            let step = self.writer.step(ADD_UP, |core| blocks_to_minutes(core, from, closed))?;
            compacted.windows += step.blocks as u64;
            compacted.segments += step.segments;
            after = step.last;
        }
        for (level, mark) in [(Level::Hour, HOURS_UNTIL), (Level::Day, DAYS_UNTIL)] {
            let length = level.length_ns();
            let until = now_unix_ns.saturating_sub(HOUR_GRACE_NS) / length * length;
            compacted.segments += self.add_up(level, mark, until)?;
        }
        Ok(compacted)
    }

    /// Makes the periods of a level that ended by `until_unix_ns` of those of the next shorter one.
    fn add_up(&self, level: Level, mark: &str, until_unix_ns: u64) -> Result<u64, StoreError> {
        let (from, scopes) = self.writer.change(ADD_UP, |core| {
            let progress = Progress::load(&core.connection)?;
            let from = match level {
                Level::Day => progress.days_until_unix_ns,
                Level::Minute | Level::Hour => progress.hours_until_unix_ns,
            };
            let scopes = if from < until_unix_ns { scopes(&core.connection)? } else { Vec::new() };
            Ok((from, scopes))
        })?;
        let mut segments = 0;
        for step in scopes.chunks(STEP_SCOPES_MAX) {
            segments += self.writer.step(ADD_UP, |core| {
                let mut written = 0;
                for scope in step {
                    written += shorter_to_longer(core, *scope, level, from..until_unix_ns)?;
                }
                Ok(written)
            })?;
        }
        if from < until_unix_ns {
            self.writer.change(ADD_UP, |core| raise(&core.connection, mark, until_unix_ns))?;
        }
        Ok(segments)
    }
}

/// What one transaction added up.
struct Step {
    blocks: usize,
    segments: u64,
    /// (release, series); `None` when there is nothing left.
    last: Option<(i64, i64)>,
}

/// Moves the blocks that start before a time into their minutes: those of the next series after one, about
/// [`STEP_BLOCKS_MAX`] in all. Series go by release, so that few steps share the segments of one.
fn blocks_to_minutes(
    core: &mut Core,
    after: (i64, i64),
    before_unix_ns: u64,
) -> Result<Step, StoreError> {
    let progress = Progress::load(&core.connection)?;
    let mut pending: BTreeMap<Key, Vec<WindowContent>> = BTreeMap::new();
    let mut step = Step { blocks: 0, segments: 0, last: None };
    let mut last = after;
    while step.blocks < STEP_BLOCKS_MAX {
        step.last = next_series(&core.connection, last, before_unix_ns)?;
        let Some((release, next)) = step.last else { break };
        last = (release, next);
        let range = TimeRange { start_unix_ns: 0, end_unix_ns: before_unix_ns };
        let mut parts = Parts::of_blocks(&core.connection, range)?;
        parts.blocks(next, |window| {
            step.blocks += 1;
            let start = window.start_unix_ns;
            for key in sums_of(&progress, (next, release), start) {
                let sum = pending.entry(key).or_default();
                match sum.first_mut() {
                    Some(sum) => sum.merge(&window),
                    None => sum.push(window.clone()),
                }
            }
            let minute = (Level::Minute, Scope::series(next), Level::Minute.period(start));
            pending.entry(minute).or_default().push(window);
            Ok(())
        })?;
        core.connection
            .prepare_cached("DELETE FROM block WHERE series = ?1 AND start_unix_ns < ?2")
            .and_then(|mut delete| delete.execute(params![next, signed(before_unix_ns)]))
            .map_err(failed(ADD_UP))?;
    }
    for (key, windows) in pending {
        add_to_segment(core, key, windows)?;
        step.segments += 1;
    }
    Ok(step)
}

/// The segments of one window into which a new window goes besides its minute: that of its release, and the hours and
/// days that were added up without it.
fn sums_of(progress: &Progress, (series, release): (i64, i64), start_unix_ns: u64) -> Vec<Key> {
    let mut keys = Vec::new();
    for level in Level::ALL {
        let is_there = match level {
            Level::Minute => true,
            Level::Hour => start_unix_ns < progress.hours_until_unix_ns,
            Level::Day => start_unix_ns < progress.days_until_unix_ns,
        };
        if is_there {
            keys.push((level, Scope::release(release), level.period(start_unix_ns)));
            if level > Level::Minute {
                keys.push((level, Scope::series(series), level.period(start_unix_ns)));
            }
        }
    }
    keys
}

/// (release, series) of the next series that has blocks from before a time.
fn next_series(
    connection: &Connection,
    (release, series): (i64, i64),
    before_unix_ns: u64,
) -> Result<Option<(i64, i64)>, StoreError> {
    connection
        .prepare_cached(
            "SELECT release, id FROM series WHERE (release, id) > (?1, ?2) AND EXISTS (SELECT 1 \
             FROM block WHERE series = series.id AND start_unix_ns < ?3) ORDER BY release, id LIMIT 1",
        )
        .and_then(|mut find| {
            let after = params![release, series, signed(before_unix_ns)];
            find.query_row(after, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(failed(ADD_UP))
}

/// Every series and release.
pub(super) fn scopes(connection: &Connection) -> Result<Vec<Scope>, StoreError> {
    connection
        .prepare_cached("SELECT id FROM series UNION ALL SELECT -id FROM release")
        .and_then(|mut find| find.query_map([], |row| row.get(0).map(Scope))?.collect())
        .map_err(failed(ADD_UP))
}

/// Makes the periods of a level of a scope that begin in a span of those of the next shorter level. What a crash left of
/// an earlier run is made anew.
fn shorter_to_longer(
    core: &mut Core,
    scope: Scope,
    level: Level,
    span: std::ops::Range<u64>,
) -> Result<u64, StoreError> {
    let shorter = if level == Level::Day { Level::Hour } else { Level::Minute };
    let mut written = 0;
    let mut from = span.start;
    while let Some(period) = first_period(&core.connection, (shorter, scope), from..span.end)? {
        let period = level.period(shorter.start_unix_ns(period));
        let start = level.start_unix_ns(period);
        from = start.saturating_add(level.length_ns());
        let range = TimeRange { start_unix_ns: start, end_unix_ns: from };
        let mut parts = Parts::of_level(&core.connection, range, shorter)?;
        let mut sum = WindowContent::default();
        parts.segments(scope, |window| {
            sum.merge(&window);
            Ok(())
        })?;
        put_segment(core, (level, scope, period), vec![sum])?;
        written += 1;
    }
    Ok(written)
}

/// The first period of a scope that starts in a span.
fn first_period(
    connection: &Connection,
    (level, scope): (Level, Scope),
    span: std::ops::Range<u64>,
) -> Result<Option<u64>, StoreError> {
    let bounds = [span.start.div_ceil(level.length_ns()), level.period(span.end)].map(signed);
    connection
        .prepare_cached(
            "SELECT period FROM segment WHERE level = ?1 AND scope = ?2 \
             AND period >= ?3 AND period < ?4 ORDER BY period LIMIT 1",
        )
        .and_then(|mut find| {
            let bounds = params![level as i64, scope.0, bounds[0], bounds[1]];
            find.query_row(bounds, |row| row.get(0).map(unsigned)).optional()
        })
        .map_err(failed(ADD_UP))
}

/// Adds windows to a segment that may be there.
fn add_to_segment(
    core: &mut Core,
    (level, scope, period): Key,
    mut windows: Vec<WindowContent>,
) -> Result<(), StoreError> {
    let start = level.start_unix_ns(period);
    let range = TimeRange { start_unix_ns: start, end_unix_ns: start + level.length_ns() };
    Parts::of_level(&core.connection, range, level)?.segments(scope, |window| {
        windows.push(window);
        Ok(())
    })?;
    let is_split = level == Level::Minute && scope.is_series();
    windows.sort_by_key(|window| (window.start_unix_ns, window.end_unix_ns));
    let mut kept: Vec<WindowContent> = Vec::with_capacity(windows.len());
    for window in windows {
        match kept.last_mut() {
            // Those of one span are parts of one window that did not fit a batch.
            Some(last)
                if !is_split
                    || (last.start_unix_ns, last.end_unix_ns)
                        == (window.start_unix_ns, window.end_unix_ns) =>
            {
                last.merge(&window);
            }
            _ => kept.push(window),
        }
    }
    put_segment(core, (level, scope, period), kept)
}

/// Writes a segment over the one that may be there.
fn put_segment(
    core: &mut Core,
    (level, scope, period): Key,
    windows: Vec<WindowContent>,
) -> Result<(), StoreError> {
    let write = failed(ADD_UP);
    let mut sums = Sums::default();
    windows.iter().for_each(|window| sums.merge(Sums::of(window)));
    let data = segment::pack(&mut core.packer, level.start_unix_ns(period), windows)?;
    core.connection
        .prepare_cached("DELETE FROM segment WHERE level = ?1 AND scope = ?2 AND period = ?3")
        .and_then(|mut delete| delete.execute(params![level as i64, scope.0, signed(period)]))
        .map_err(write)?;
    core.connection
        .prepare_cached(
            "INSERT INTO segment (level, scope, period, start_unix_ns, end_unix_ns, samples, cpu_ns, \
             stacks, whole, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                level as i64,
                scope.0,
                signed(period),
                signed(sums.start_unix_ns),
                signed(sums.end_unix_ns),
                signed(sums.samples),
                signed(sums.cpu_ns),
                signed(sums.stacks),
                signed(sums.whole),
                data,
            ])
        })
        .map(drop)
        .map_err(write)
}
