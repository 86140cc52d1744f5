//! The store on SQLite: dictionaries of frames and stacks, and one packed block per series and window.
//!
//! One connection writes, and commits many batches at once when many wait ([`writer`]); others read beside it.

mod block;
mod dictionary;
mod lives;
mod quality;
mod read;
mod windows;
mod readers;
mod retain;
mod schema;
mod state;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

use profiler_common::wire::v1;
use rusqlite::ErrorCode;

use self::dictionary::Names;
use self::readers::Readers;
use self::writer::Writer;
use super::{StoreError, StoreOptions, StoreStats, Written};

/// A store on SQLite.
pub(super) struct Sqlite {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    names: Names,
    /// Keeps other collectors out for as long as it is open.
    _lock: File,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sqlite {
    pub(super) fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions {} = options;
        let lock = schema::lock(path)?;
        let writer = Writer::new(schema::open_writer(path)?)?;
        let readers = Readers::new(path.to_owned());
        Ok(Self { path: path.to_owned(), writer, readers, names: Names::new(), _lock: lock })
    }

    pub(super) fn hash_seed(&self) -> u64 {
        self.writer.seed()
    }

    pub(super) fn write(&self, batch: &v1::Batch) -> Result<Written, StoreError> {
        self.writer.write(batch)
    }

    pub(super) fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.writer.limit_pages(pages)
    }

    pub(super) fn stats(&self) -> Result<StoreStats, StoreError> {
        let mut stats = StoreStats::default();
        let read = failed("read the totals");
        let reader = self.readers.take()?;
        let mut totals = reader.prepare_cached("SELECT name, value FROM meta").map_err(read)?;
        let totals = totals
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
            .map_err(read)?;
        for total in totals {
            let (name, value) = total.map_err(read)?;
            let value = unsigned(value);
            match name.as_str() {
                write::SAMPLES_STORED => stats.samples_stored = value,
                write::BATCHES_STORED => stats.batches_stored = value,
                write::DUPLICATES => stats.duplicates = value,
                write::SAMPLES_TAKEN => stats.samples_taken = value,
                other => {
                    if let Some(reason) = other.strip_prefix(write::LOST_PREFIX) {
                        stats.lost.insert(reason.to_owned(), value);
                    } else if let Some(end) = other.strip_prefix(write::WALKS_PREFIX) {
                        stats.walks.add(end, value);
                    }
                }
            }
        }
        stats.bytes_on_disk = ["", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| std::fs::metadata(schema::beside(&self.path, suffix)).ok())
            .map(|metadata| metadata.len())
            .sum();
        Ok(stats)
    }
}

/// Says what was being done when SQLite refused, and whether it was for the disk.
fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
    move |source| match source.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => StoreError::Disk { action, source },
        _ => StoreError::Sqlite { action, source },
    }
}

/// A number as SQLite stores it; larger ones, which validation refuses, become the largest.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number as it was stored.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
