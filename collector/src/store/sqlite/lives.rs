//! When each unit of a selection was seen.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::level::Level;
use super::parts::{Parts, Scope};
use super::read::find_series;
use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{Selection, StoreError, TimeRange, UnitLife};

impl SqliteStore {
    /// Reads both ends of each series, so its cost grows with the units and not with their windows.
    pub(super) fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        let reader = self.readers.take()?;
        let mut lives: BTreeMap<(String, String, String), (u64, u64)> = BTreeMap::new();
        for series in find_series(&reader, selection)? {
            let Some((first, last)) = ends_of(&reader, series.id, range)? else { continue };
            let (host, unit, version) = series.runner.into_parts();
            let life = lives.entry((host, unit, version)).or_insert((first, last));
            *life = (life.0.min(first), life.1.max(last));
        }
        let life = |((host, unit, version), (first_seen_unix_ns, last_seen_unix_ns))| UnitLife {
            host,
            unit,
            version,
            first_seen_unix_ns,
            last_seen_unix_ns,
        };
        Ok(lives.into_iter().map(life).collect())
    }
}

/// Start of the first and end of the last window of a series in a range: a few seeks in the indices, and at most two
/// minutes that straddle an end of the range.
pub(super) fn ends_of(
    connection: &Connection,
    series: i64,
    range: TimeRange,
) -> Result<Option<(u64, u64)>, StoreError> {
    let mut ends = segment_ends(connection, Scope::series(series), range)?;
    Parts::at_the_ends(connection, range)?.fresh_ends(series, |first, last| {
        let known = ends.unwrap_or((first, last));
        ends = Some((known.0.min(first), known.1.max(last)));
    })?;
    Ok(ends)
}

/// Start of the first and end of the last minute or hour that lies in a range as a whole.
pub(super) fn segment_ends(
    connection: &Connection,
    scope: Scope,
    range: TimeRange,
) -> Result<Option<(u64, u64)>, StoreError> {
    const FROM: &str =
        "FROM segment WHERE level = ?1 AND scope = ?2 AND period >= ?3 AND period < ?4";
    let sql = format!(
        "SELECT (SELECT start_unix_ns {FROM} ORDER BY period LIMIT 1), \
         (SELECT end_unix_ns {FROM} ORDER BY period DESC LIMIT 1)"
    );
    let mut find = connection.prepare_cached(&sql).map_err(failed("read when units were seen"))?;
    let mut ends: Option<(u64, u64)> = None;
    for level in [Level::Hour, Level::Minute] {
        let first = range.start_unix_ns.div_ceil(level.length_ns());
        let last = level.period(range.end_unix_ns);
        let found: (Option<i64>, Option<i64>) = find
            .query_row(params![level as i64, scope.0, signed(first), signed(last)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(failed("read when units were seen"))?;
        if let (Some(first), Some(last)) = found {
            let (first, last) = (unsigned(first), unsigned(last));
            let known = ends.unwrap_or((first, last));
            ends = Some((known.0.min(first), known.1.max(last)));
        }
    }
    Ok(ends)
}
