//! The spool and the books together: what leaves this host, and where every sample of it is.
//!
//! The books (`accounting.json`) are written before the batch's file appears and before it goes: a file that no book
//! knows is settled, a batch without a file is lost. So a crash at any point neither counts a sample twice nor forgets one.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use profiler_common::wire::v1;
use prost::Message;
use thiserror::Error;

use super::accounting::{Accounting, BatchKey, Totals};
use super::encode::{Encoded, HostFacts, encode};
use super::reason;
use super::spool::{Spool, SpoolError, write_durably};
use crate::fold::Window;

/// Acknowledged batches between two writings of the books while a long spool is emptied: the books name each batch, so
/// writing them each time would cost more than shipping.
const ACKNOWLEDGED_UNSAVED_MAX: usize = 64;

/// Largest book that is read: 16,384 batches of about 300 bytes, and some room.
const BOOKS_BYTES_MAX: u64 = 16 << 20;

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
    agent_id: String,
    options: OutboxOptions,
    sequence: u64,
    accounting: Accounting,
    spool: Spool,
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
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| OutboxError::Io { action, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("make the state folder", folder))?;
        let lock = lock(folder)?;
        let id_path = folder.join("agent-id");
        let agent_id = read_or_make_agent_id(&id_path)
            .map_err(failed("read or write the agent id", &id_path))?;
        let spool_folder = folder.join("spool");
        let (spool, found) = Spool::open(&spool_folder, options.spool_bytes_max)
            .map_err(failed("open the spool", &spool_folder))?;
        let mut outbox = Self {
            folder: folder.to_owned(),
            agent_id,
            options,
            sequence: 0,
            accounting: Accounting::default(),
            spool,
            settled: Vec::new(),
            _lock: lock,
        };
        match read_books(&outbox.books_path()) {
            Ok(Some(accounting)) => outbox.take_up(accounting, &found),
            Ok(None) => outbox.adopt(&found),
            Err(error) => {
                tracing::warn!(error = %error, "the accounting is damaged; it starts anew");
                let damaged = outbox.folder.join("accounting.damaged");
                let _kept_if_possible = fs::rename(outbox.books_path(), damaged);
                outbox.adopt(&found);
            }
        }
        let books_path = outbox.books_path();
        outbox.save().map_err(failed("write", &books_path))?;
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

    /// The oldest batch that is not settled; it is kept until it is settled or [`put_back`](Self::put_back). Damaged
    /// ones are set aside and counted as lost on the way.
    pub fn next_batch(&mut self) -> Option<(BatchKey, v1::Batch)> {
        loop {
            let (key, _) = self.accounting.batches().next()?;
            let batch = self.spool.read(key).and_then(|bytes| {
                v1::Batch::decode(bytes.as_slice())
                    .map_err(|_inner| SpoolError::Damaged("it is no batch"))
            });
            match batch {
                Ok(batch) => {
                    self.spool.hold(Some(key));
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

    /// The batch did not reach the collector: from now on a full spool may drop it.
    pub fn put_back(&mut self) {
        self.spool.hold(None);
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
        self.spool.hold(None);
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
    /// When the books cannot be written. The files go all the same: on a full disk their room is needed.
    pub fn save(&mut self) -> io::Result<()> {
        let path = self.books_path();
        let books = serde_json::to_vec(&self.accounting).map_err(io::Error::other)?;
        let mut saved = write_durably(&path, &books);
        let had_settled = !self.settled.is_empty();
        for key in std::mem::take(&mut self.settled) {
            self.spool.remove(key);
        }
        if saved.is_err() && had_settled {
            saved = write_durably(&path, &books);
        }
        saved
    }

    fn save_or_warn(&mut self) {
        if let Err(error) = self.save() {
            tracing::warn!(error = %error, path = %self.books_path().display(),
                "failed to write the accounting; after a crash it would count too many losses");
        }
    }

    /// Compares the books with the files: the books are right.
    fn take_up(&mut self, accounting: Accounting, found: &[(BatchKey, u64)]) {
        self.accounting = accounting;
        self.accounting.resume(reason::AGENT_KILLED);
        let known: Vec<BatchKey> = self.accounting.batches().map(|(key, _)| key).collect();
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

fn read_or_make_agent_id(path: &Path) -> io::Result<String> {
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
    write_durably(path, id.as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::ServiceWindow;
    use crate::process::Identity;
    use profiler_common::profile::{Frame, Profile};

    fn open(folder: &Path, epoch: u64) -> Outbox {
        let options =
            OutboxOptions { spool_bytes_max: 1 << 20, epoch, facts: HostFacts::default() };
        Outbox::open(folder, options).unwrap()
    }

    fn window(samples: u64) -> Window {
        let mut profile = Profile::default();
        profile.add(&[Frame::marker("main")], samples);
        let identity = Identity {
            service: "s".to_owned(),
            version: String::new(),
            unit: String::new(),
            labels: Vec::new(),
        };
        let service = ServiceWindow { identity, period_ns: 1, profile, syscalls: Vec::new() };
        Window { start_unix_ns: 1, end_unix_ns: 2, services: vec![service] }
    }

    fn take(outbox: &mut Outbox, samples: u64) {
        let total = outbox.totals().taken + samples;
        outbox.accounting_mut().drain(samples);
        assert_eq!(outbox.totals().taken, total);
        outbox.push(&window(samples));
    }

    #[track_caller]
    fn check_balance(outbox: &Outbox, acknowledged: u64, pending: u64, lost: &[(&str, u64)]) {
        let totals = outbox.totals();
        assert_eq!((totals.acknowledged, totals.pending), (acknowledged, pending));
        let found: Vec<(&str, u64)> =
            totals.lost.iter().map(|(reason, samples)| (reason.as_str(), *samples)).collect();
        assert_eq!(found, lost);
        assert_eq!(totals.taken, acknowledged + pending + totals.lost_total());
    }

    #[test]
    fn batches_survive_a_restart_and_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        let id = outbox.agent_id().to_owned();
        take(&mut outbox, 5);
        take(&mut outbox, 7);
        let (first, _) = outbox.next_batch().unwrap();
        outbox.acknowledge(first);
        drop(outbox);
        let mut outbox = open(folder.path(), 2);
        assert_eq!(outbox.agent_id(), id);
        check_balance(&outbox, 5, 7, &[]);
        let (second, batch) = outbox.next_batch().unwrap();
        assert_eq!((second, batch.sequence), (BatchKey { epoch: 1, sequence: 2 }, 2));
        assert_eq!(batch.accounting.unwrap().samples_taken, 7);
        outbox.acknowledge(second);
        assert!(outbox.next_batch().is_none());
        check_balance(&outbox, 12, 0, &[]);
    }

    #[test]
    fn a_kill_in_the_middle_of_a_window_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        outbox.accounting_mut().observe_kernel(9, []);
        outbox.accounting_mut().drain(4);
        outbox.save().unwrap();
        drop(outbox);
        check_balance(&open(folder.path(), 2), 0, 0, &[("agent_killed", 9)]);
    }

    #[test]
    fn a_damaged_or_missing_file_is_lost_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        for samples in [3, 4, 5] {
            take(&mut outbox, samples);
        }
        let mut files: Vec<PathBuf> = fs::read_dir(folder.path().join("spool"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        fs::write(&files[0], b"not a batch").unwrap();
        fs::remove_file(&files[1]).unwrap();
        drop(outbox);
        let mut outbox = open(folder.path(), 2);
        assert_eq!(outbox.next_batch().unwrap().1.sequence, 3);
        check_balance(&outbox, 0, 5, &[("spool_damaged", 3), ("spool_missing", 4)]);
    }

    #[test]
    fn a_rejected_batch_is_lost_and_its_report_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        take(&mut outbox, 3);
        let (key, _) = outbox.next_batch().unwrap();
        outbox.reject(key);
        check_balance(&outbox, 0, 0, &[("rejected", 3)]);
        outbox.push(&Window::default());
        let accounting = outbox.next_batch().unwrap().1.accounting.unwrap();
        assert_eq!(accounting.samples_taken, 3);
        assert_eq!(accounting.lost, [v1::Loss { reason: "rejected".to_owned(), samples: 3 }]);
    }

    #[test]
    fn without_books_the_files_are_taken_in() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        take(&mut outbox, 3);
        drop(outbox);
        fs::write(folder.path().join("accounting.json"), b"{").unwrap();
        check_balance(&open(folder.path(), 2), 0, 3, &[]);
    }

    #[test]
    fn a_settled_file_that_came_back_is_not_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path(), 1);
        take(&mut outbox, 3);
        let (key, batch) = outbox.next_batch().unwrap();
        outbox.acknowledge(key);
        outbox.spool.keep(key, 3, &batch.encode_to_vec());
        drop(outbox);
        let mut outbox = open(folder.path(), 2);
        assert!(outbox.next_batch().is_none());
        check_balance(&outbox, 3, 0, &[]);
    }

    #[test]
    fn a_batch_that_is_being_stored_is_not_counted_as_lost_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let facts = HostFacts::default();
        let options = OutboxOptions { spool_bytes_max: 1, epoch: 1, facts };
        let mut outbox = Outbox::open(folder.path(), options).unwrap();
        let key = BatchKey { epoch: 1, sequence: 1 };
        // As a spool that is nearly full: the next batch does not fit beside the one on its way.
        outbox.spool.hold(Some(key));
        take(&mut outbox, 3);
        assert_eq!(outbox.next_batch().unwrap().0, key);
        take(&mut outbox, 4);
        outbox.acknowledge(key);
        check_balance(&outbox, 3, 0, &[("spool_full", 4)]);
    }

    #[test]
    fn two_agents_cannot_share_a_state_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = open(folder.path(), 1);
        let options = OutboxOptions { spool_bytes_max: 1, epoch: 2, facts: HostFacts::default() };
        assert!(matches!(Outbox::open(folder.path(), options), Err(OutboxError::InUse(_))));
    }
}
