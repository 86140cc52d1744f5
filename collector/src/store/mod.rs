//! Keeps what was accepted, and answers questions about profiles.
//!
//! [`Store`] is synchronous: async callers go through `spawn_blocking`. What it answers is a profile or a number, never a
//! row: nothing outside this folder knows that SQLite lies beneath.

mod arrival;
mod profile;
mod sqlite;
mod window;

pub use arrival::Arrival;
pub use profile::{Dictionary, WindowProfile};
pub use window::{LostSamples, UnitSyscall, UnitWindow};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use profiler_common::profile::Quality;
use profiler_common::wire::v1;
use serde::Serialize;
use thiserror::Error;

use self::sqlite::Sqlite;

/// A collector's memory: durable, safe to share between threads.
#[derive(Debug)]
pub struct Store {
    sqlite: Sqlite,
}

impl Store {
    /// Opens the store at `path`, or makes a new one. Folders above it must exist.
    ///
    /// # Errors
    ///
    /// When the file is not a store of ours, is newer than this build, is damaged, or is open in another collector.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Ok(Self { sqlite: Sqlite::open(path, options)? })
    }

    /// Seeds the keys of stacks: the store's own, and the same for as long as it lives.
    #[must_use]
    pub fn hash_seed(&self) -> u64 {
        self.sqlite.hash_seed()
    }

    /// Stores a batch; returns after it is durable. A batch counts once however often it is written.
    ///
    /// # Errors
    ///
    /// When nothing of the batch was stored. [`StoreError::is_transient`] says whether writing it again may succeed.
    pub fn write(&self, batch: &v1::Batch) -> Result<Written, StoreError> {
        self.sqlite.write(batch)
    }

    /// Services that have windows in the range, by falling CPU time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError> {
        self.sqlite.catalog(range)
    }

    /// Every version of every service that was ever seen, up to the given time; its cost does not grow with the length of
    /// the past.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError> {
        self.sqlite.versions(until_unix_ns)
    }

    /// What each unit did in each window, merged per (host, unit, version, window); windows start at multiples of
    /// `window_ns`. Ordered by window, host, unit and version.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer has more rows than fit in memory.
    pub fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        self.sqlite.unit_windows(selection, range, window_ns)
    }

    /// When each unit of a selection was seen; ordered by host, unit and version. Windows count by their start. Its cost
    /// does not grow with the length of the range.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError> {
        self.sqlite.unit_lives(selection, range)
    }

    /// How the walks over the stacks of a selection ended, by who ran; ordered by version, host and executable. Names no
    /// stack.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError> {
        self.sqlite.quality(selection, range)
    }

    /// Samples over time, one point per step and version that has any; steps start at multiples of `step_ns`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer has too many points.
    pub fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError> {
        self.sqlite.series(selection, range, step_ns)
    }

    /// Totals since the store was made; retention does not lower them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        self.sqlite.stats()
    }

    /// Deletes windows that ended before the given time, and what no window needs any more.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. What was deleted until then stays deleted.
    pub fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError> {
        self.sqlite.retain(before_unix_ns)
    }

    /// Reads a piece of state and its version.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.sqlite.load_state(key)
    }

    /// Replaces a piece of state if its version is still `expected_version` (0: it does not exist yet); the new version
    /// is one higher. Returns whether it was replaced.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub fn save_state(
        &self,
        key: &str,
        expected_version: u64,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        self.sqlite.save_state(key, expected_version, value)
    }

    /// Makes the disk look full at so many pages of the store: for tests and simulations.
    ///
    /// # Errors
    ///
    /// When SQLite does not take the limit.
    #[doc(hidden)]
    pub fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.sqlite.limit_pages(pages)
    }
}

/// How a store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreOptions {}

/// Why the store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk is full or fails; nothing accepted is lost, and the same call may succeed later.
    #[error("failed to {action}: the disk under the store is full or failing")]
    Disk {
        /// What was being done.
        action: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// SQLite refused.
    #[error("failed to {action}")]
    Sqlite {
        /// What was being done.
        action: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file cannot be a store of this build.
    #[error("failed to open the store `{}`: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A batch contradicts itself; validation before the store catches this.
    #[error("batch is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// The batch names a stack by its key alone, and the store does not know it, or no longer: it must come whole.
    #[error("store does not know a stack that the batch names by its key")]
    UnknownStack,
    /// What was read back is not what was written.
    #[error("store is damaged: {0}")]
    Damaged(&'static str),
    /// The answer would not fit in memory.
    #[error("answer has more than {limit} {what}: narrow the time range or the selection")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The write shared a commit with others, and that commit failed.
    #[error("failed to commit: {0}")]
    Commit(String),
}

impl StoreError {
    /// Whether the same call may succeed later without any change to its input.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Disk { .. } | Self::Sqlite { .. } | Self::Commit(_) => true,
            Self::Unusable { .. }
            | Self::Inconsistent(_)
            | Self::UnknownStack
            | Self::Damaged(_)
            | Self::TooLarge { .. } => false,
        }
    }
}

/// What became of a written batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is durable now.
    Stored,
    /// It was durable before.
    Duplicate,
}

/// What retention deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Windows of one service on one unit.
    pub blocks: u64,
    /// Stacks that no window names any more.
    pub stacks: u64,
}

/// A service, and what was seen of it in a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceEntry {
    /// The service.
    pub service: String,
    /// On-CPU samples.
    pub samples: u64,
    /// Share of its user stacks that are whole; `None` where no agent said.
    pub whole_share: Option<f64>,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Start of its first window, Unix nanoseconds.
    pub first_seen_unix_ns: u64,
    /// End of its last window, Unix nanoseconds.
    pub last_seen_unix_ns: u64,
    /// Its versions, the last seen first.
    pub versions: Vec<VersionEntry>,
}

/// A version of a service, and what was seen of it in a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionEntry {
    /// The version.
    pub version: String,
    /// Start of its first window, Unix nanoseconds.
    pub first_seen_unix_ns: u64,
    /// End of its last window, Unix nanoseconds.
    pub last_seen_unix_ns: u64,
    /// On-CPU samples.
    pub samples: u64,
    /// Share of its user stacks that are whole; `None` where no agent said.
    pub whole_share: Option<f64>,
    /// Hosts it ran on, in order.
    pub hosts: Vec<String>,
    /// Its units, in order.
    pub units: Vec<String>,
}

/// When a version was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSpan {
    /// The version.
    pub version: String,
    /// Start of its first window that is kept, Unix nanoseconds.
    pub first_seen_unix_ns: u64,
    /// End of its last window, Unix nanoseconds.
    pub last_seen_unix_ns: u64,
}

/// When a unit ran a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitLife {
    /// Host that the agent named.
    pub host: String,
    /// Unit of replication: instance, pod, container, or host.
    pub unit: String,
    /// Version of the service.
    pub version: String,
    /// Start of its first window, Unix nanoseconds.
    pub first_seen_unix_ns: u64,
    /// End of its last window, Unix nanoseconds.
    pub last_seen_unix_ns: u64,
}

/// Samples of one version in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeriesPoint {
    /// Start of the step, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// The version.
    pub version: String,
    /// On-CPU samples.
    pub samples: u64,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
}

/// Totals since the store was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Samples in stored batches.
    pub samples_stored: u64,
    /// Batches stored.
    pub batches_stored: u64,
    /// Batches that came again.
    pub duplicates: u64,
    /// Samples that agents took, by their own account.
    pub samples_taken: u64,
    /// Samples that agents lost, by reason, by their own account.
    pub lost: BTreeMap<String, u64>,
    /// How the walks over the user stacks of the stored samples ended.
    pub walks: Quality,
    /// Size of the store's files in bytes.
    pub bytes_on_disk: u64,
}

/// A span of time, Unix nanoseconds, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Inclusive.
    pub start_unix_ns: u64,
    /// Exclusive.
    pub end_unix_ns: u64,
}

/// Which profiles a question is about: all of a service whose labels match.
///
/// `version`, `host` and `unit` are matched like any other label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// The service.
    pub service: String,
    /// (key, value) pairs that must all be equal.
    pub labels: Vec<(String, String)>,
}

/// How the walks of one version of one executable on one host ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QualityOf {
    /// Version of the service.
    pub version: String,
    /// Host that the agent named.
    pub host: String,
    /// The label `executable`; empty where there is none.
    pub executable: String,
    /// How they ended.
    pub quality: Quality,
}
