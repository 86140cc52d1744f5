//! When each unit of a selection was seen.

use std::collections::BTreeMap;

use rusqlite::params;

use super::read::find_series;
use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{Selection, StoreError, TimeRange, UnitLife};

impl SqliteStore {
    /// Reads both ends of each series from the index, so its cost grows with the units and not with their windows.
    pub(super) fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        let read = failed("read when units were seen");
        let reader = self.readers.take()?;
        let mut find = reader
            .prepare_cached(
                "SELECT (SELECT start_unix_ns FROM block WHERE series = ?1 \
                 AND start_unix_ns >= ?2 AND start_unix_ns < ?3 ORDER BY start_unix_ns LIMIT 1), \
                 (SELECT end_unix_ns FROM block WHERE series = ?1 \
                 AND start_unix_ns >= ?2 AND start_unix_ns < ?3 ORDER BY start_unix_ns DESC LIMIT 1)",
            )
            .map_err(read)?;
        let mut lives: BTreeMap<(String, String, String), (u64, u64)> = BTreeMap::new();
        for series in find_series(&reader, selection)? {
            let ends = params![series.id, signed(range.start_unix_ns), signed(range.end_unix_ns)];
            let found: (Option<i64>, Option<i64>) =
                find.query_row(ends, |row| Ok((row.get(0)?, row.get(1)?))).map_err(read)?;
            let (Some(first), Some(last)) = found else {
                continue;
            };
            let (first, last) = (unsigned(first), unsigned(last));
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
