//! The one connection that writes, with group commit: batches that wait together share one commit, and so one wait for
//! the disk.
//!
//! Whoever writes last of those that wait commits for all; the others sleep until their group is decided.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::block::Packer;
use super::dictionary::Dictionary;
use super::failed;
use crate::store::{Arrival, StoreError, Written};

/// Most batches in one commit: bounds how long the first one waits, about 10 ms for each ordinary batch.
const GROUP_BATCHES_MAX: usize = 64;

/// How long a sleeper waits before it looks by itself whether it should commit. Only a guard: it is woken on commit.
const WAKE_EVERY: Duration = Duration::from_millis(100);

/// Longest time that a change stands aside.
const ASIDE_MAX: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    seed: u64,
    core: Mutex<Core>,
    decided: Condvar,
    /// Callers on their way to the lock; the last of them commits.
    queued: AtomicUsize,
}

/// What belongs to the writing connection.
pub(super) struct Core {
    pub(super) connection: Connection,
    pub(super) dictionary: Dictionary,
    pub(super) packer: Packer,
    /// Windows that end at or before this time are past retention: they are counted and not kept.
    pub(super) floor_unix_ns: u64,
    group: Option<Group>,
}

struct Group {
    batches: usize,
    outcome: Arc<Outcome>,
}

type Outcome = OnceLock<Result<(), String>>;

impl Writer {
    pub(super) fn new(connection: Connection) -> Result<Self, StoreError> {
        let seed: i64 = connection
            .query_row("SELECT value FROM meta WHERE name = 'hash_seed'", [], |row| row.get(0))
            .map_err(failed("read the seed of the store"))?;
        let seed = seed.cast_unsigned();
        let core = Core {
            connection,
            dictionary: Dictionary::default(),
            packer: Packer::new()?,
            floor_unix_ns: 0,
            group: None,
        };
        let (core, decided, queued) = (Mutex::new(core), Condvar::new(), AtomicUsize::new(0));
        Ok(Self { seed, core, decided, queued })
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn write(&self, arrival: &Arrival) -> Result<Written, StoreError> {
        self.queued.fetch_add(1, Ordering::SeqCst);
        let mut core = self.lock();
        self.queued.fetch_sub(1, Ordering::SeqCst);
        let outcome = core.join_group()?;
        let written = core.write_in_group(arrival);
        self.commit_if_last(&mut core);
        let written = written?;
        while outcome.get().is_none() {
            core = match self.decided.wait_timeout(core, WAKE_EVERY) {
                Ok((core, _)) => core,
                Err(poisoned) => {
                    // The error holds the lock, which is taken again to undo what the panic left open.
                    drop(poisoned);
                    self.lock()
                }
            };
            self.commit_if_last(&mut core);
        }
        drop(core);
        match outcome.get() {
            Some(Ok(())) => Ok(written),
            Some(Err(reason)) => Err(StoreError::Commit(reason.clone())),
            None => Err(StoreError::Commit("it was never decided".to_owned())),
        }
    }

    /// Runs a change of its own in its own transaction, after the batches that were written before it.
    pub(super) fn change<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut Core) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut core = self.lock();
        core.commit_group();
        self.decided.notify_all();
        core.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed(action))?;
        let changed = change(&mut core);
        let changed = changed.and_then(|value| {
            core.connection.execute_batch("COMMIT").map_err(failed(action)).map(|()| value)
        });
        if changed.is_err() {
            core.undo();
        }
        changed
    }

    /// One of many changes in a row: afterwards it stands aside for as long as the change took. A lock goes to whoever
    /// asks first, so without it the next change would come before all that wait.
    pub(super) fn step<T>(
        &self,
        action: &'static str,
        change: impl FnOnce(&mut Core) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let changed = self.change(action, change);
        std::thread::sleep(started.elapsed().min(ASIDE_MAX));
        changed
    }

    /// Gives free pages back to the file system.
    pub(super) fn give_back(&self, pages: u32) -> Result<(), StoreError> {
        let mut core = self.lock();
        core.commit_group();
        self.decided.notify_all();
        core.connection
            .execute_batch(&format!("PRAGMA incremental_vacuum({pages})"))
            .map_err(failed("give space back"))
    }

    pub(super) fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        let limited = self.lock().connection.pragma_update(None, "max_page_count", pages);
        limited.map_err(failed("limit the pages"))
    }

    fn commit_if_last(&self, core: &mut Core) {
        let is_full = core.group.as_ref().is_some_and(|group| group.batches >= GROUP_BATCHES_MAX);
        if is_full || self.queued.load(Ordering::SeqCst) == 0 {
            core.commit_group();
        }
        // Also when a failed batch took its group with it.
        if core.group.is_none() {
            self.decided.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|poisoned| {
            let mut core = poisoned.into_inner();
            core.abandon_group("another write panicked");
            self.core.clear_poison();
            core
        })
    }
}

impl Core {
    /// Joins the open group, or opens one.
    fn join_group(&mut self) -> Result<Arc<Outcome>, StoreError> {
        if let Some(group) = &mut self.group {
            group.batches += 1;
            return Ok(Arc::clone(&group.outcome));
        }
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed("begin to write"))?;
        let outcome = Arc::new(Outcome::new());
        self.group = Some(Group { batches: 1, outcome: Arc::clone(&outcome) });
        Ok(outcome)
    }

    /// Writes a batch whole or not at all, without undoing the others of its group where SQLite allows that.
    fn write_in_group(&mut self, arrival: &Arrival) -> Result<Written, StoreError> {
        let write = failed("write a batch");
        self.connection.execute_batch("SAVEPOINT batch").map_err(write)?;
        let written = self.write_arrival(arrival);
        if written.is_ok() {
            self.connection.execute_batch("RELEASE batch").map_err(write)?;
            return written;
        }
        self.dictionary.forget_fresh();
        // A full disk makes SQLite undo the whole transaction by itself; then the savepoint is gone as well.
        let undone = self.connection.execute_batch("ROLLBACK TO batch; RELEASE batch");
        if undone.is_err() || self.connection.is_autocommit() {
            self.abandon_group("another batch of the same commit met a full or failing disk");
        }
        written
    }

    fn commit_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let committed = self.connection.execute_batch("COMMIT");
        if committed.is_ok() {
            self.dictionary.keep();
        } else {
            self.undo();
        }
        // The cell is empty: only this function and `abandon_group` fill it, and both take the group first.
        drop(group.outcome.set(committed.map_err(|error| error.to_string())));
    }

    fn abandon_group(&mut self, reason: &str) {
        self.undo();
        if let Some(group) = self.group.take() {
            drop(group.outcome.set(Err(reason.to_owned())));
        }
    }

    /// Undoes the open transaction, if SQLite has not done so itself.
    fn undo(&mut self) {
        self.dictionary.forget_fresh();
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::schema;
    use profiler_common::wire::v1;

    #[test]
    fn a_panic_refuses_the_batches_of_its_commit_and_later_ones_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&folder.path().join("store.db")).unwrap();
        let writer = Arc::new(Writer::new(connection).unwrap());
        let batch = v1::Batch { agent_id: "a".to_owned(), sequence: 1, ..Default::default() };
        let batch = Arrival::whole(batch, writer.seed()).unwrap();
        // As if another batch were on its way, so that the first one waits for it instead of committing.
        writer.queued.fetch_add(1, Ordering::SeqCst);
        let (told, outcome) = std::sync::mpsc::sync_channel(1);
        let sleeper = (Arc::clone(&writer), batch.clone());
        std::thread::spawn(move || told.send(sleeper.0.write(&sleeper.1)));
        while writer.lock().group.is_none() {
            std::thread::yield_now();
        }
        let panicking = Arc::clone(&writer);
        let panicked = std::thread::spawn(move || {
            let _core = panicking.lock();
            panic!("in the middle of a write");
        });
        panicked.join().unwrap_err();
        let refused = outcome.recv_timeout(Duration::from_secs(30)).expect("the sleeper wakes up");
        assert!(matches!(refused, Err(StoreError::Commit(_))), "{refused:?}");
        writer.queued.fetch_sub(1, Ordering::SeqCst);
        assert_eq!(writer.write(&batch).unwrap(), Written::Stored);
    }
}
