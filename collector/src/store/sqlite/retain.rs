//! Deletes what is past retention, in steps short enough that ingest goes on beside it.

use rusqlite::{Connection, params};

use super::compact::scopes;
use super::level::{Level, Progress};
use super::parts::{KEPT_FROM, MINUTES_FROM, Scope, raise};
use super::writer::Core;
use super::{SqliteStore, failed, signed, unsigned, write};
use crate::store::{Retained, StoreError};

const DELETE: &str = "delete what is past retention";

/// Most rows deleted in one transaction: a few milliseconds each.
const STEP_ROWS_MAX: u32 = 1000;

/// Most dictionary rows looked at in one transaction.
const STEP_SCANNED_MAX: i64 = 10_000;

/// Most steps in one run until the store fits; what is left then goes in the next.
const FIT_STEPS_MAX: u32 = 40;

/// Most pages given back to the file system in one run: 1 GiB.
const FREED_PAGES_MAX: u32 = 1 << 18;

impl SqliteStore {
    pub(super) fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        let before = signed(before_unix_ns);
        // From here on the writer keeps no block that this run could miss.
        let scopes = self.writer.change(DELETE, |core| {
            core.floor_unix_ns = core.floor_unix_ns.max(before_unix_ns);
            raise(&core.connection, KEPT_FROM, before_unix_ns)?;
            scopes(&core.connection)
        })?;
        let mut retained = Retained::default();
        for Scope(id) in scopes {
            retained.blocks += self.delete_in_steps(
                "DELETE FROM block WHERE id IN (SELECT id FROM block WHERE series = ?1 \
                 AND start_unix_ns < ?2 AND end_unix_ns <= ?2 LIMIT ?3)",
                id,
                before,
            )?;
            for level in Level::ALL {
                let last = level.period(before_unix_ns);
                let deleted = self.delete_segments((level, Scope(id)), last, before)?;
                if level == Level::Minute && Scope(id).is_series() {
                    retained.blocks += deleted;
                }
            }
        }
        self.delete_in_steps(
            "DELETE FROM batch WHERE (agent, epoch, sequence) IN (SELECT agent, epoch, sequence \
             FROM batch WHERE end_unix_ns <= ?2 LIMIT ?3) AND ?1 = 0",
            0,
            before,
        )?;
        let day = write::day_of(before_unix_ns);
        retained.stacks = self.delete_unused("stack", day)?;
        self.delete_unused("frame", day)?;
        self.writer.change(DELETE, |core| {
            let delete = "DELETE FROM series WHERE NOT EXISTS \
                 (SELECT 1 FROM block WHERE block.series = series.id) AND NOT EXISTS \
                 (SELECT 1 FROM segment WHERE level IN (1, 2, 3) AND scope = series.id); \
                 DELETE FROM release WHERE NOT EXISTS \
                 (SELECT 1 FROM series WHERE series.release = release.id); \
                 DELETE FROM agent WHERE NOT EXISTS \
                 (SELECT 1 FROM batch WHERE batch.agent = agent.id)";
            core.connection.execute_batch(delete).map_err(failed(DELETE))
        })?;
        self.writer.give_back(FREED_PAGES_MAX)?;
        Ok(retained)
    }

    pub(super) fn delete_minutes(&self, before_unix_ns: u64) -> Result<u64, StoreError> {
        let (scopes, hour) = self.writer.change(DELETE, |core| {
            let until = Progress::load(&core.connection)?.hours_until_unix_ns;
            let hour = Level::Hour.period(before_unix_ns.min(until));
            raise(&core.connection, MINUTES_FROM, Level::Hour.start_unix_ns(hour))?;
            Ok((scopes(&core.connection)?, hour))
        })?;
        let Some(last) = (hour * 60).checked_sub(1) else { return Ok(0) };
        let mut deleted = 0;
        for scope in scopes {
            deleted += self.delete_segments((Level::Minute, scope), last, i64::MAX)?;
        }
        self.writer.give_back(FREED_PAGES_MAX)?;
        Ok(deleted)
    }

    /// Deletes a twentieth of the time that it keeps, again and again.
    pub(super) fn delete_until_it_fits(&self, bytes_max: u64) -> Result<Retained, StoreError> {
        let mut retained = Retained::default();
        for _ in 0..FIT_STEPS_MAX {
            let (bytes, ends) = self.writer.change(DELETE, |core| {
                Ok((used_bytes(&core.connection)?, ends(&core.connection)?))
            })?;
            let Some((first, last)) = ends.filter(|_| bytes > bytes_max) else { break };
            let step = (last.saturating_sub(first) / 20).max(Level::Minute.length_ns());
            let deleted = self.retain(first.saturating_add(step))?;
            retained.blocks += deleted.blocks;
            retained.stacks += deleted.stacks;
        }
        Ok(retained)
    }

    fn delete_in_steps(&self, sql: &str, id: i64, before: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let step = self.writer.step(DELETE, |core| {
                core.connection
                    .prepare_cached(sql)
                    .and_then(|mut delete| delete.execute(params![id, before, STEP_ROWS_MAX]))
                    .map_err(failed(DELETE))
            })?;
            deleted += step as u64;
            if step < STEP_ROWS_MAX as usize {
                return Ok(deleted);
            }
        }
    }

    /// Deletes the segments of a scope up to a period whose last window ended by a time.
    fn delete_segments(
        &self,
        (level, scope): (Level, Scope),
        last_period: u64,
        before: i64,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let step = self.writer.step(DELETE, |core| {
                let bounds =
                    params![level as i64, scope.0, signed(last_period), before, STEP_ROWS_MAX];
                core.connection
                    .prepare_cached(
                        "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE level = ?1 \
                         AND scope = ?2 AND period <= ?3 AND end_unix_ns <= ?4 LIMIT ?5)",
                    )
                    .and_then(|mut delete| delete.execute(bounds))
                    .map_err(failed(DELETE))
            })?;
            deleted += step as u64;
            if step < STEP_ROWS_MAX as usize {
                return Ok(deleted);
            }
        }
    }

    /// Deletes the rows of a dictionary that no window kept after `day` needs.
    fn delete_unused(&self, table: &str, day: i64) -> Result<u64, StoreError> {
        let last: i64 = self.writer.change(DELETE, |core| {
            let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
            core.connection.query_row(&sql, [], |row| row.get(0)).map_err(failed(DELETE))
        })?;
        let sql = format!("DELETE FROM {table} WHERE id > ?1 AND id <= ?2 AND used_day < ?3");
        let mut deleted = 0;
        let mut from = 0;
        while from < last {
            let to = from.saturating_add(STEP_SCANNED_MAX);
            deleted +=
                self.writer.change(DELETE, |core| delete_range(core, &sql, [from, to, day]))?;
            from = to;
        }
        Ok(deleted)
    }
}

/// Bytes of the pages that hold something.
fn used_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let read = failed("read the size of the store");
    let pages = pragma("page_count").map_err(read)? - pragma("freelist_count").map_err(read)?;
    Ok(unsigned(pages).saturating_mul(unsigned(pragma("page_size").map_err(read)?)))
}

/// Start of the first and end of the last window of all.
fn ends(connection: &Connection) -> Result<Option<(u64, u64)>, StoreError> {
    connection
        .query_row(
            "SELECT min(first), max(last) FROM (SELECT min(start_unix_ns) AS first, max(end_unix_ns) AS last \
             FROM segment UNION ALL SELECT min(start_unix_ns), max(end_unix_ns) FROM block)",
            [],
            |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)),
        )
        .map(|(first, last)| first.map(unsigned).zip(last.map(unsigned)))
        .map_err(failed("read the size of the store"))
}

fn delete_range(core: &mut Core, sql: &str, range: [i64; 3]) -> Result<u64, StoreError> {
    let deleted = core
        .connection
        .prepare_cached(sql)
        .and_then(|mut delete| delete.execute(range))
        .map_err(failed(DELETE))?;
    if deleted > 0 {
        core.dictionary.forget_all();
    }
    Ok(deleted as u64)
}
