//! The store on SQLite: dictionaries of frames and stacks, one packed block per series and window, and segments that
//! add them up ([`compact`]).
//!
//! One connection writes, and commits many batches at once when many wait ([`writer`]); others read beside it.

mod block;
mod counts;
mod level;
mod segment;
mod parts;
mod compact;
mod merge;
mod catalog;
mod maintain;
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
#[cfg(test)]
mod compact_tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use self::dictionary::Names;
use self::readers::Readers;
use self::writer::Writer;
use super::{
    Arrival, Compacted, Merged, QualityOf, Retained, Selection, SeriesPoint, ServiceEntry, Store,
    StoreError, StoreOptions, StoreStats, TimeRange, UnitLife, UnitWindow, VersionSpan, Written,
};

/// A store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    names: Names,
    /// Keeps other collectors out for as long as it is open.
    _lock: File,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn hash_seed(&self) -> u64 {
        self.writer.seed()
    }

    fn write(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        self.writer.write(arrival)
    }

    fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        self.catalog(range)
    }

    fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        self.versions(until_unix_ns)
    }

    fn merge(&self, selection: &Selection, range: TimeRange) -> Result<Merged, StoreError> {
        self.merge_all(selection, range)
    }

    fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        self.unit_windows(selection, range, window_ns)
    }

    fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        self.unit_lives(selection, range)
    }

    fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        self.quality(selection, range)
    }

    fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        self.series(selection, range, step_ns)
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
        self.stats()
    }

    fn compact(&self, now_unix_ns: u64) -> Result<Compacted, StoreError> {
        self.compact_until(now_unix_ns)
    }

    fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        self.retain(before_unix_ns)
    }

    fn thin(&self, before_unix_ns: u64) -> Result<u64, StoreError> {
        self.delete_minutes(before_unix_ns)
    }

    fn fit(&self, bytes_max: u64) -> Result<Retained, StoreError> {
        self.delete_until_it_fits(bytes_max)
    }
}

impl SqliteStore {
    /// Opens the store at `path`, or makes a new one. Folders above it must exist.
    ///
    /// # Errors
    ///
    /// When the file is not a store of ours, is newer than this build, is damaged, or is open in another collector.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let StoreOptions {} = options;
        let lock = schema::lock(path)?;
        let writer = Writer::new(schema::open_writer(path)?)?;
        let readers = Readers::new(path.to_owned());
        Ok(Self { path: path.to_owned(), writer, readers, names: Names::new(), _lock: lock })
    }

    /// Makes the disk look full at so many pages of the store: for tests and simulations.
    ///
    /// # Errors
    ///
    /// When SQLite does not take the limit.
    #[doc(hidden)]
    pub fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.writer.limit_pages(pages)
    }

    fn stats(&self) -> Result<StoreStats, StoreError> {
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

/// Reads what is stored as a question does: any bytes are content or an error.
///
/// # Errors
///
/// When the bytes are not what a store writes.
pub fn unpack_block(data: &[u8]) -> Result<(), StoreError> {
    let mut unpacker = block::Unpacker::default();
    let block = unpacker.unpack_into(data, &mut block::Content::default());
    let segment = segment::unpack(&mut unpacker, 0, data).map(drop);
    let walks = segment::unpack_walks(
        &mut unpacker,
        data,
        &mut profiler_common::profile::Quality::default(),
    );
    block.or(segment).or(walks)
}

/// Says what was being done when SQLite refused, and whether it was for the disk.
fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError + Copy {
    move |source| match source.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly,
        ) => StoreError::Disk { action, source: source.into() },
        Some(ErrorCode::OperationInterrupted) => StoreError::Cancelled,
        _ => StoreError::Database { action, source: source.into() },
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
