//! The spool and the books together: what leaves this host, and where every sample of it is.
//!
//! The books (`accounting.json`) are written before the batch's file appears and before it goes: a file that no book
//! knows is settled, a batch without a file is lost. So a crash at any point neither counts a sample twice nor forgets one.
//!
//! The books are written with each batch. In between the number of samples taken is noted each second in the file
//! `taken`, which is never synced: it outlives the process, not the host.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use profiler_common::wire::v1;
use prost::Message;
use thiserror::Error;

use super::accounting::{Accounting, BatchKey, Totals};
use super::disk::Disk;
use super::encode::{Encoded, HostFacts, encode};
use super::reason;
use super::spool::{self, Spool, SpoolError};
use crate::fold::Window;

/// Acknowledged batches between two writings of the books while a long spool is emptied: the books name each batch, so
/// writing them each time would cost more than shipping.
const ACKNOWLEDGED_UNSAVED_MAX: usize = 64;

/// Batches that a process may have sent since it last wrote the books: those that were acknowledged, and one more.
const SENT_UNSAVED_MAX: usize = ACKNOWLEDGED_UNSAVED_MAX + 1;

/// Largest book that is read: 16,384 batches of about 300 bytes, and some room.
const BOOKS_BYTES_MAX: u64 = 16 << 20;

/// Notes the samples taken, newer than the books.
const TAKEN_FILE: &str = "taken";

/// Why the state folder cannot be used.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// The folder or a file in it cannot be made, read or written.
    #[error("failed to {action} `{path}`")]
    Io {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another agent uses the folder.
    #[error("another agent uses the state folder `{0}`; give each its own with --state-dir")]
    InUse(PathBuf),
}

/// What an outbox needs to know when it opens.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// Most bytes in the spool.
    pub spool_bytes_max: u64,
    /// Unix time in nanoseconds at which this process started.
    pub epoch: u64,
    /// What every batch says about this host.
    pub facts: HostFacts,
}

/// Keeps windows until the collector has them.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    disk: Disk,
    agent_id: String,
    options: OutboxOptions,
    sequence: u64,
    accounting: Accounting,
    spool: Spool,
    /// Holds the number of samples taken, newer than the books.
    taken: File,
    /// Settled batches whose files stay until the books say so.
    settled: Vec<BatchKey>,
    /// Held while this process lives; the kernel lets it go with the process.
    _lock: File,
}

impl Outbox {
    /// Opens the state folder and takes up what an earlier process left there.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or written to, or another agent uses it. Damaged books are set aside instead.
    pub fn open(folder: &Path, options: OutboxOptions) -> Result<Self, OutboxError> {
        Self::open_on(Disk::default(), folder, options)
    }

    /// Opens the state folder on a disk whose steps may be made to fail.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_on(disk: Disk, folder: &Path, options: OutboxOptions) -> Result<Self, OutboxError> {
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| OutboxError::Io { action, path, source }
        };
        // Profiles tell what runs on this host: nobody else needs to read them.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(failed("make the state folder", folder))?;
        let lock = lock(folder)?;
        let id_path = folder.join("agent-id");
        let agent_id = read_or_make_agent_id(&disk, &id_path)
            .map_err(failed("read or write the agent id", &id_path))?;
        let spool_folder = folder.join("spool");
        let (spool, found) = Spool::open(&spool_folder, options.spool_bytes_max, disk.clone())
            .map_err(failed("open the spool", &spool_folder))?;
        let taken_path = folder.join(TAKEN_FILE);
        let (taken, noted) = open_taken(&taken_path).map_err(failed("open", &taken_path))?;
        let mut outbox = Self {
            folder: folder.to_owned(),
            disk,
            agent_id,
            options,
            sequence: 0,
            accounting: Accounting::default(),
            spool,
            taken,
            settled: Vec::new(),
            _lock: lock,
        };
        match read_books(&outbox.books_path()) {
            Ok(Some(accounting)) => outbox.take_up(accounting, noted, &found),
            Ok(None) => outbox.adopt(&found),
            Err(error) => {
                tracing::warn!(error = %error, "the accounting is damaged; it starts anew");
                let damaged = outbox.folder.join("accounting.damaged");
                let _kept_if_possible = outbox.disk.rename(&outbox.books_path(), &damaged);
                outbox.adopt(&found);
            }
        }
        let books_path = outbox.books_path();
        outbox.save().map_err(failed("write", &books_path))?;
        outbox.note_taken();
        Ok(outbox)
    }

    /// Encodes a window, writes it to the spool and returns the number of batches it became.
    ///
    /// `window` must hold the samples of [`Accounting::drain`] minus those lost from the window.
    pub fn push(&mut self, window: &Window) -> usize {
        let Encoded { batches, too_large } = encode(window, &self.options.facts);
        self.accounting.lose_from_window(reason::BATCH_TOO_LARGE, too_large);
        let count = batches.len();
        for (batch, samples) in batches {
            self.push_batch(batch, samples);
        }
        count
    }

    fn push_batch(&mut self, mut batch: v1::Batch, samples: u64) {
        self.sequence += 1;
        let key = BatchKey { epoch: self.options.epoch, sequence: self.sequence };
        let report = self.accounting.make_batch(key, samples);
        batch.agent_id.clone_from(&self.agent_id);
        batch.epoch = key.epoch;
        batch.sequence = key.sequence;
        let loss = |(reason, samples)| v1::Loss { reason, samples };
        batch.accounting = Some(v1::Accounting {
            samples_taken: report.taken,
            lost: report.lost.into_iter().map(loss).collect(),
        });
        self.save_or_warn();
        for dropped in self.spool.keep(key, samples, &batch.encode_to_vec()) {
            self.accounting.lose_batch(dropped.key, dropped.reason);
        }
    }

    /// The oldest batch that is not settled, to be sent; it is kept until it is settled. Damaged ones are set aside and
    /// counted as lost on the way.
    pub fn next_batch(&mut self) -> Option<(BatchKey, v1::Batch)> {
        loop {
            let (key, _) = self.accounting.batches().next()?;
            let batch = self.spool.read(key).and_then(|bytes| {
                v1::Batch::decode(bytes.as_slice())
                    .map_err(|_inner| SpoolError::Damaged("it is no batch"))
            });
            match batch {
                Ok(batch) => {
                    self.spool.hold(key);
                    return Some((key, batch));
                }
                Err(error) => {
                    tracing::error!(error = %error, epoch = key.epoch, sequence = key.sequence,
                        "failed to read a spooled batch; its samples are lost");
                    self.accounting.lose_batch(key, reason::SPOOL_DAMAGED);
                    self.spool.set_aside(key);
                }
            }
        }
    }

    /// The collector has stored the batch.
    pub fn acknowledge(&mut self, key: BatchKey) {
        self.accounting.acknowledge(key);
        self.settle(key);
    }

    /// The collector will never take the batch.
    pub fn reject(&mut self, key: BatchKey) {
        self.accounting.lose_batch(key, reason::REJECTED);
        self.settle(key);
    }

    fn settle(&mut self, key: BatchKey) {
        self.settled.push(key);
        let waiting = self.accounting.batches().len();
        if waiting <= ACKNOWLEDGED_UNSAVED_MAX || self.settled.len() >= ACKNOWLEDGED_UNSAVED_MAX {
            self.save_or_warn();
        }
    }

    /// The books, for the stages that move samples.
    pub fn accounting_mut(&mut self) -> &mut Accounting {
        &mut self.accounting
    }

    /// The totals over the life of this agent.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.accounting.totals()
    }

    /// (bytes, batches) that wait.
    #[must_use]
    pub fn spooled(&self) -> (u64, usize) {
        (self.spool.bytes(), self.accounting.batches().len())
    }

    /// 128 random bits in hex, the same for as long as the state folder lives.
    #[must_use]
    pub fn agent_id(&self) -> &str {
        &self.agent_id
    }

    /// Writes the books and removes the files of settled batches.
    ///
    /// # Errors
    ///
    /// When the books cannot be written. The files stay then, so that the next process sends them again and learns that
    /// they are stored; on a full disk they go all the same, because their room is needed.
    pub fn save(&mut self) -> io::Result<()> {
        let path = self.books_path();
        let books = serde_json::to_vec(&self.accounting).map_err(io::Error::other)?;
        let saved = self.disk.write_durably(&path, &books);
        let is_full = saved.as_ref().is_err_and(spool::is_full);
        if saved.is_err() && !is_full {
            // The spool bounds its files, and so these.
            self.settled.retain(|key| self.spool.contains(*key));
            return saved;
        }
        let had_settled = !self.settled.is_empty();
        for key in std::mem::take(&mut self.settled) {
            self.spool.remove(key);
        }
        if is_full && had_settled { self.disk.write_durably(&path, &books) } else { saved }
    }

    /// Notes how many samples were taken, for the next process in case this one is killed before it writes the books.
    pub fn note_taken(&self) {
        // As wide as any number, so that nothing of an older one stays behind it.
        let number = format!("{:020}", self.accounting.taken());
        let path = self.folder.join(TAKEN_FILE);
        if let Err(error) = self.disk.note(&self.taken, &path, number.as_bytes()) {
            tracing::debug!(%error, "failed to note the number of samples taken");
        }
    }

    fn save_or_warn(&mut self) {
        if let Err(error) = self.save() {
            tracing::warn!(error = %error, path = %self.books_path().display(),
                "failed to write the accounting; after a crash it would count too many losses");
        }
    }

    /// Compares the books with the files: the books are right.
    fn take_up(&mut self, accounting: Accounting, noted: u64, found: &[(BatchKey, u64)]) {
        self.accounting = accounting;
        self.accounting.resume(noted, reason::AGENT_KILLED);
        let known: Vec<BatchKey> = self.accounting.batches().map(|(key, _)| key).collect();
        // The last process sent the oldest ones, and went before it could say so.
        known.iter().take(SENT_UNSAVED_MAX).for_each(|key| self.spool.hold(*key));
        for key in &known {
            if !self.spool.contains(*key) {
                self.accounting.lose_batch(*key, reason::SPOOL_MISSING);
            }
        }
        self.settled.extend(
            found.iter().map(|(key, _)| *key).filter(|key| known.binary_search(key).is_err()),
        );
    }

    /// Without books the files are all that is known.
    fn adopt(&mut self, found: &[(BatchKey, u64)]) {
        for (key, samples) in found {
            self.accounting.adopt_batch(*key, *samples);
        }
    }

    fn books_path(&self) -> PathBuf {
        self.folder.join("accounting.json")
    }
}

fn lock(folder: &Path) -> Result<File, OutboxError> {
    let path = folder.join("lock");
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let failed = |source| OutboxError::Io {
        action: "write to the state folder",
        path: path.clone(),
        source,
    };
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OutboxError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens the file that notes the samples taken, and reads it: 0 when it is new or makes no sense.
fn open_taken(path: &Path) -> io::Result<(File, u64)> {
    const DIGITS: u64 = 20;
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let mut text = String::new();
    let read = (&file).take(DIGITS).read_to_string(&mut text);
    let noted = read.ok().and_then(|_bytes| text.parse().ok());
    Ok((file, noted.unwrap_or(0)))
}

fn read_books(path: &Path) -> io::Result<Option<Accounting>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut books = Vec::new();
    file.take(BOOKS_BYTES_MAX).read_to_end(&mut books)?;
    Ok(Some(serde_json::from_slice(&books)?))
}

fn read_or_make_agent_id(disk: &Disk, path: &Path) -> io::Result<String> {
    const DIGITS: usize = 32;
    if let Ok(id) = fs::read_to_string(path) {
        let id = id.trim();
        if id.len() == DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(id.to_owned());
        }
        tracing::warn!(path = %path.display(), "the agent id is damaged; a new one is made");
    }
    let mut random = [0; DIGITS / 2];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    disk.write_durably(path, id.as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod death_tests;
