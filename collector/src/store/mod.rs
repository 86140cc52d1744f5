//! Keeps what was accepted, and answers questions about profiles.
//!
//! [`Store`] is synchronous: async callers go through `spawn_blocking`. What it answers is a profile or a number, never a
//! row: nothing outside this folder knows what database lies beneath. A question that nobody waits for any more stops
//! ([`cancel`]).

mod arrival;
pub mod cancel;
mod clickhouse;
mod profile;
mod sqlite;
mod window;

pub use arrival::Arrival;
pub use clickhouse::{AddressError, ClickHouseAddress, ClickHouseStore};
pub use profile::{Dictionary, WindowProfile};
pub use sqlite::{SqliteStore, unpack_block};
pub use window::{LostSamples, UnitSyscall, UnitWindow};

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::path::PathBuf;

use profiler_common::profile::Quality;
use profiler_common::wire::v1;
use serde::Serialize;
use thiserror::Error;

/// A collector's memory: durable, safe to share between threads.
pub trait Store: MetaStore + Debug + Send + Sync {
    /// Seeds the keys of stacks: the store's own, and the same for as long as it lives.
    fn hash_seed(&self) -> u64;

    /// Stores a batch; returns after it is durable. A batch counts once however often it is written.
    ///
    /// # Errors
    ///
    /// When nothing of the batch was stored. [`StoreError::is_transient`] says whether writing it again may succeed.
    /// [`StoreError::UnknownStack`] asks for the batch with the definitions of all its stacks.
    fn write(&self, arrival: &Arrival) -> Result<Written, StoreError>;

    /// Stores a batch that defines every stack that it names, like [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// When nothing of the batch was stored.
    fn write_whole(&self, batch: &v1::Batch) -> Result<Written, StoreError> {
        self.write(&Arrival::whole(batch.clone(), self.hash_seed())?)
    }

    /// Services that have windows in the range, by falling CPU time.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn catalog(&self, range: TimeRange) -> Result<Vec<ServiceEntry>, StoreError>;

    /// Every version of every service that was ever seen, in windows that start before the given time; its cost does not
    /// grow with the length of the past.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn versions(
        &self,
        until_unix_ns: u64,
    ) -> Result<BTreeMap<String, Vec<VersionSpan>>, StoreError>;

    /// All samples and syscalls of a selection, added up; its cost does not grow with the number of raw samples.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer does not fit in memory.
    fn merge(&self, selection: &Selection, range: TimeRange) -> Result<Merged, StoreError>;

    /// What each unit did in each window, merged per (host, unit, version, window); windows start at multiples of
    /// `window_ns`. Ordered by window, host, unit and version.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer has more rows than fit in memory.
    fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError>;

    /// When each unit of a selection was seen; ordered by host, unit and version. Windows count by their start. Its cost
    /// does not grow with the length of the range.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn unit_lives(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<UnitLife>, StoreError>;

    /// How the walks over the stacks of a selection ended, by who ran; ordered by version, host and executable. Names no
    /// stack.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn quality(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Vec<QualityOf>, StoreError>;

    /// Samples over time, one point per step and version that has any; steps start at multiples of `step_ns`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or the answer has too many points.
    fn series(
        &self,
        selection: &Selection,
        range: TimeRange,
        step_ns: u64,
    ) -> Result<Vec<SeriesPoint>, StoreError>;

    /// Totals since the store was made; retention does not lower them.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Adds up what is complete into longer windows, which answer questions about long ranges. No answer changes by it.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. What was added up until then stays.
    fn compact(&self, now_unix_ns: u64) -> Result<Compacted, StoreError>;

    /// Deletes windows that ended before the given time, and what no window needs any more.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. What was deleted until then stays deleted.
    fn retain(&self, before_unix_ns: u64) -> Result<Retained, StoreError>;

    /// Deletes windows shorter than an hour, of hours that began before the given time; the hours stay. Returns how many
    /// minutes went. A store that does not take more room for them keeps them.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. What was deleted until then stays deleted.
    fn thin(&self, before_unix_ns: u64) -> Result<u64, StoreError> {
        let _kept = before_unix_ns;
        Ok(0)
    }

    /// Deletes the oldest windows until the rest takes no more bytes than that. A store on machines of its own leaves
    /// their disks to them.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. What was deleted until then stays deleted.
    fn fit(&self, bytes_max: u64) -> Result<Retained, StoreError> {
        let _unbounded = bytes_max;
        Ok(Retained::default())
    }
}

/// Small state of other stages, beside the profiles.
pub trait MetaStore {
    /// Reads a piece of state and its version.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn load_state(&self, key: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// Replaces a piece of state if its version is still `expected_version` (0: it does not exist yet); the new version
    /// is one higher. Returns whether it was replaced.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    fn save_state(
        &self,
        key: &str,
        expected_version: u64,
        value: &[u8],
    ) -> Result<bool, StoreError>;
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
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database refused.
    #[error("failed to {action}")]
    Database {
        /// What was being done.
        action: &'static str,
        /// What the database said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nobody waits for the answer any more.
    #[error("the question was taken back")]
    Cancelled,
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
            Self::Disk { .. } | Self::Database { .. } | Self::Commit(_) | Self::Cancelled => true,
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

/// What was added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Windows that became part of a longer one.
    pub windows: u64,
    /// Longer windows that were written.
    pub segments: u64,
}

/// All that a selection did in a range.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// On-CPU samples.
    pub profile: WindowProfile,
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// How the walks over the user stacks of these samples ended.
    pub quality: Quality,
    /// Syscalls by name: those that work first, then those that wait.
    pub syscalls: Vec<UnitSyscall>,
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
