//! Batches that are not yet acknowledged: one file each, bounded in bytes, oldest dropped first.
//!
//! A file is written beside its name, synced and renamed, so that a name always stands for a whole batch. What cannot
//! be written (a full disk) waits in memory, bounded as well. The spool knows no samples: it says which batches it gave
//! up, and the caller keeps the books.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use profiler_common::wire::BATCH_BYTES_MAX;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::accounting::BatchKey;
use super::disk::Disk;
use super::reason;

/// Most files in the folder, so that reading it stays quick: at one batch every 10 s a day and a half.
pub const FILES_MAX: usize = 16_384;

/// Most bytes of batches that wait in memory while the disk takes none: an hour of a small host.
pub const MEMORY_BYTES_MAX: u64 = 32 << 20;

/// Damaged files that are kept for inspection.
const DAMAGED_FILES_MAX: usize = 8;

const MAGIC: &[u8; 8] = b"FWBATCH1";
const HEADER_BYTES: usize = MAGIC.len() + 16;
const FOLDER_DAMAGED: &str = "damaged";

/// zstd's own default; higher levels save a few percent at several times the cost.
const COMPRESSION_LEVEL: i32 = 3;

/// Why a spooled batch cannot be read back.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The file is not what was written.
    #[error("batch file is damaged: {0}")]
    Damaged(&'static str),
    /// The file system failed.
    #[error("failed to read a spooled batch")]
    Io(#[from] io::Error),
}

/// A batch that had to be given up, and why: the reason is one of the names in the metric of lost samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The batch.
    pub key: BatchKey,
    /// `spool_full`, `disk_full` or `disk_failed`.
    pub reason: &'static str,
}

/// Where a batch lies, and how large it is there.
#[derive(Debug)]
enum Place {
    Disk { path: PathBuf, bytes: u64 },
    Memory { file: Vec<u8>, samples: u64 },
}

/// A bounded folder of batches.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    disk: Disk,
    bytes_max: u64,
    batches: BTreeMap<BatchKey, Place>,
    disk_bytes: u64,
    memory_bytes: u64,
    /// Sent and not settled: the collector may have stored them, so they are not to be given up.
    maybe_stored: BTreeSet<BatchKey>,
    /// Why the disk took no batch the last time, while any waits in memory.
    disk_reason: &'static str,
}

/// A batch found in the folder at start, with the number of samples that its name carries.
pub type Found = (BatchKey, u64);

impl Spool {
    /// Opens the folder, makes it when missing, and lists what an earlier process left there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, read or written to.
    pub fn open(folder: &Path, bytes_max: u64, disk: Disk) -> io::Result<(Self, Vec<Found>)> {
        fs::create_dir_all(folder.join(FOLDER_DAMAGED))?;
        let mut spool = Self {
            folder: folder.to_owned(),
            disk,
            bytes_max,
            batches: BTreeMap::new(),
            disk_bytes: 0,
            memory_bytes: 0,
            maybe_stored: BTreeSet::new(),
            disk_reason: reason::DISK_FULL,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "tmp") {
                // Left by a crash in the middle of a write: the batch is in no folder listing yet.
                fs::remove_file(&path)?;
            } else if let Some((key, samples)) = parse_name(&path) {
                let bytes = fs::metadata(&path)?.len();
                spool.disk_bytes += bytes;
                spool.batches.insert(key, Place::Disk { path, bytes });
                found.push((key, samples));
            }
        }
        found.sort_unstable();
        Ok((spool, found))
    }

    /// Keeps a batch and returns those that had to go for it: the oldest ones, or itself when it alone is too large.
    pub fn keep(&mut self, key: BatchKey, samples: u64, encoded: &[u8]) -> Vec<Dropped> {
        self.move_memory_to_disk();
        let file = seal(encoded);
        let bytes = file.len() as u64;
        let place = match self.write(key, samples, &file) {
            Ok(path) => {
                self.disk_bytes += bytes;
                Place::Disk { path, bytes }
            }
            Err(error) => {
                self.disk_reason = reason_of(&error);
                tracing::warn!(
                    error = %error, folder = %self.folder.display(),
                    "failed to write a batch to the spool; it waits in memory"
                );
                self.memory_bytes += bytes;
                Place::Memory { file, samples }
            }
        };
        self.batches.insert(key, place);
        self.enforce_limits()
    }

    /// Says that a batch may reach the collector. From now on it is not given up, even when no answer comes: once
    /// stored, its samples would count twice.
    pub fn hold(&mut self, key: BatchKey) {
        self.maybe_stored.insert(key);
    }

    /// The oldest batch.
    #[must_use]
    pub fn oldest(&self) -> Option<BatchKey> {
        self.batches.first_key_value().map(|(key, _)| *key)
    }

    /// Reads a batch back as it was given to [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// When the file is damaged or cannot be read; [`set_aside`](Self::set_aside) takes it out of the way.
    pub fn read(&self, key: BatchKey) -> Result<Vec<u8>, SpoolError> {
        match self.batches.get(&key) {
            Some(Place::Disk { path, bytes }) => {
                // Files are made by us, but a disk may return anything: the size is bounded before it is read.
                if *bytes > (HEADER_BYTES + zstd::zstd_safe::compress_bound(BATCH_BYTES_MAX)) as u64
                {
                    return Err(SpoolError::Damaged("it is larger than any batch"));
                }
                unseal(&fs::read(path)?)
            }
            Some(Place::Memory { file, .. }) => unseal(file),
            None => Err(SpoolError::Damaged("it is not in the spool")),
        }
    }

    /// Removes a batch that is settled.
    pub fn remove(&mut self, key: BatchKey) {
        if let Some(path) = self.forget(key)
            && let Err(error) = self.disk.remove(&path)
        {
            tracing::warn!(error = %error, path = %path.display(), "failed to remove a settled batch");
        }
    }

    /// Moves a damaged batch out of the way, and keeps the last few such for inspection.
    pub fn set_aside(&mut self, key: BatchKey) {
        let Some(path) = self.forget(key) else { return };
        let damaged = self.folder.join(FOLDER_DAMAGED);
        let target = damaged.join(path.file_name().unwrap_or_default());
        if self.disk.rename(&path, &target).is_err() {
            // Read again and again it would stop all that lies behind it.
            let _gone_or_unremovable = self.disk.remove(&path);
        }
        let mut kept: Vec<PathBuf> = fs::read_dir(&damaged)
            .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
            .unwrap_or_default();
        kept.sort_unstable();
        let excess = kept.len().saturating_sub(DAMAGED_FILES_MAX);
        for path in kept.drain(..excess) {
            let _gone_or_unremovable = fs::remove_file(path);
        }
    }

    /// Bytes on disk and in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.disk_bytes + self.memory_bytes
    }

    /// Number of batches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether there is no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a batch lies here.
    #[must_use]
    pub fn contains(&self, key: BatchKey) -> bool {
        self.batches.contains_key(&key)
    }

    /// Takes a batch out of the list; returns its file when it has one.
    fn forget(&mut self, key: BatchKey) -> Option<PathBuf> {
        self.maybe_stored.remove(&key);
        match self.batches.remove(&key)? {
            Place::Disk { path, bytes } => {
                self.disk_bytes -= bytes;
                Some(path)
            }
            Place::Memory { file, .. } => {
                self.memory_bytes -= file.len() as u64;
                None
            }
        }
    }

    fn enforce_limits(&mut self) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        while self.disk_bytes > self.bytes_max || self.batches.len() > FILES_MAX {
            let Some(key) = self.oldest_where(|_| true) else { break };
            self.remove(key);
            dropped.push(Dropped { key, reason: reason::SPOOL_FULL });
        }
        while self.memory_bytes > MEMORY_BYTES_MAX.min(self.bytes_max) {
            let in_memory = |place: &Place| matches!(place, Place::Memory { .. });
            let Some(key) = self.oldest_where(in_memory) else { break };
            self.remove(key);
            dropped.push(Dropped { key, reason: self.disk_reason });
        }
        dropped
    }

    /// The oldest batch of some kind that may be given up.
    fn oldest_where(&self, fits: impl Fn(&Place) -> bool) -> Option<BatchKey> {
        let mut batches = self.batches.iter();
        let found = batches.find(|(key, place)| !self.maybe_stored.contains(key) && fits(place));
        found.map(|(key, _)| *key)
    }

    /// What waits in memory goes to disk as soon as that takes it, so that it survives a restart.
    fn move_memory_to_disk(&mut self) {
        if self.memory_bytes == 0 {
            return;
        }
        let waiting: Vec<BatchKey> = self
            .batches
            .iter()
            .filter(|(_, place)| matches!(place, Place::Memory { .. }))
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            let Some(Place::Memory { file, samples }) = self.batches.get(&key) else { continue };
            let Ok(path) = self.write(key, *samples, file) else { return };
            let bytes = file.len() as u64;
            self.memory_bytes -= bytes;
            self.disk_bytes += bytes;
            self.batches.insert(key, Place::Disk { path, bytes });
        }
    }

    fn write(&self, key: BatchKey, samples: u64, file: &[u8]) -> io::Result<PathBuf> {
        let name = format!("{:020}-{:010}-{samples}.batch", key.epoch, key.sequence);
        let path = self.folder.join(name);
        self.disk.write_durably(&path, file)?;
        Ok(path)
    }
}

/// Whether a write failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reason_of(error: &io::Error) -> &'static str {
    if is_full(error) { reason::DISK_FULL } else { reason::DISK_FAILED }
}

fn seal(encoded: &[u8]) -> Vec<u8> {
    let payload = zstd::bulk::compress(encoded, COMPRESSION_LEVEL)
        .expect("compression into a buffer of the bound's size cannot fail");
    let mut file = Vec::with_capacity(HEADER_BYTES + payload.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    file.extend_from_slice(&xxh3_64(&payload).to_le_bytes());
    file.extend_from_slice(&payload);
    file
}

fn unseal(file: &[u8]) -> Result<Vec<u8>, SpoolError> {
    let rest = file.strip_prefix(MAGIC).ok_or(SpoolError::Damaged("it has no header"))?;
    let (length, rest) = rest.split_first_chunk().ok_or(SpoolError::Damaged("it has no length"))?;
    let (sum, payload) =
        rest.split_first_chunk().ok_or(SpoolError::Damaged("it has no checksum"))?;
    if u64::from_le_bytes(*length) != payload.len() as u64 {
        return Err(SpoolError::Damaged("its length is wrong"));
    }
    if u64::from_le_bytes(*sum) != xxh3_64(payload) {
        return Err(SpoolError::Damaged("its checksum is wrong"));
    }
    zstd::bulk::decompress(payload, BATCH_BYTES_MAX)
        .map_err(|_inner| SpoolError::Damaged("it does not decompress"))
}

/// Reads `EPOCH-SEQUENCE-SAMPLES.batch`.
fn parse_name(path: &Path) -> Option<Found> {
    let name = path.file_name()?.to_str()?.strip_suffix(".batch")?;
    let mut parts = name.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (epoch, sequence, samples) = (parts.next()??, parts.next()??, parts.next()??);
    Some((BatchKey { epoch, sequence }, samples))
}

#[cfg(test)]
mod tests;
