//! Small state of other stages, replaced by compare-and-set.

use rusqlite::{OptionalExtension as _, params};

use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{MetaStore, StoreError};

impl MetaStore for SqliteStore {
    fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        let reader = self.readers.take()?;
        reader
            .prepare_cached("SELECT version, value FROM state WHERE key = ?1")
            .and_then(|mut find| {
                find.query_row([key], |row| Ok((unsigned(row.get(0)?), row.get(1)?))).optional()
            })
            .map_err(failed("read state"))
    }

    fn save_state(
        &self,
        key: &str,
        expected_version: u64,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        const WRITE: &str = "write state";
        self.writer.change(WRITE, |core| {
            let changed = if expected_version == 0 {
                core.connection.execute(
                    "INSERT OR IGNORE INTO state (key, version, value) VALUES (?1, 1, ?2)",
                    params![key, value],
                )
            } else {
                core.connection.execute(
                    "UPDATE state SET version = version + 1, value = ?3 \
                     WHERE key = ?1 AND version = ?2",
                    params![key, signed(expected_version), value],
                )
            };
            changed.map(|rows| rows == 1).map_err(failed(WRITE))
        })
    }
}
