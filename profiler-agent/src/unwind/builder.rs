//! Makes tables in a thread of its own, one at a time, or loads them from the cache.
//!
//! The thread has the priority of all others: on a host whose CPUs are all taken, one with a lower priority made no table
//! for minutes, and all of them together take less than a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::Table;
use super::cache::TableCache;
use super::compact::{self, BuildError};
use super::tables::TableId;
use crate::kernel::give_memory_back;
use crate::process::Executable;

/// Most executables that wait for the thread. Few, so that what samples ask for later is not far behind.
const JOBS_MAX: usize = 8;

/// Most bytes of finished tables that wait to be taken; beyond that the thread waits.
const FINISHED_BYTES_MAX: usize = 8 << 20;

/// How long the thread waits before it looks again whether finished tables were taken.
const WAIT: Duration = Duration::from_millis(5);

/// Most bytes of tables on disk: those of some thousand executables.
const CACHE_BYTES_MAX: u64 = 256 << 20;

/// A table, or why there is none.
#[derive(Debug)]
pub(super) struct Finished {
    /// Whose table.
    pub id: TableId,
    /// The table, or the reason.
    pub table: Result<Table, &'static str>,
    /// Whether it was loaded from the cache.
    pub cached: bool,
    /// How long it took.
    pub seconds: f64,
}

struct Job {
    id: TableId,
    executable: Arc<Executable>,
}

/// The thread, and the way to it. Dropping it ends the thread after the table that is being made.
#[derive(Debug)]
pub(super) struct Builder {
    jobs: Option<SyncSender<Job>>,
    finished: Receiver<Finished>,
    /// Bytes of finished tables that were not taken.
    waiting_bytes: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    outstanding: usize,
}

impl Builder {
    /// Starts the thread. Without a folder, or when it cannot be made, every table is built anew.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(cache: Option<&Path>) -> std::io::Result<Self> {
        let cache = cache.and_then(|folder| {
            let opened = TableCache::open(folder, CACHE_BYTES_MAX);
            let folder = folder.display();
            opened
                .inspect_err(|error| {
                    tracing::warn!("unwind tables are not kept in `{folder}`: {error}")
                })
                .ok()
        });
        let (jobs, waiting) = sync_channel::<Job>(JOBS_MAX);
        // Never full: as many as there are jobs.
        let (sender, finished) = sync_channel(2 * JOBS_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let bytes = Arc::clone(&waiting_bytes);
        let work = Work { cache, waiting, finished: sender, waiting_bytes: bytes };
        let thread = std::thread::Builder::new().name("unwind".to_owned());
        let thread = thread.spawn(move || work.run())?;
        Ok(Self { jobs: Some(jobs), finished, waiting_bytes, thread: Some(thread), outstanding: 0 })
    }

    /// Whether another job may be given.
    pub(super) fn has_room(&self) -> bool {
        self.outstanding < JOBS_MAX
    }

    /// Asks for a table.
    ///
    /// # Errors
    ///
    /// When the thread ended.
    pub(super) fn ask(&mut self, id: TableId, executable: Arc<Executable>) -> anyhow::Result<()> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Job { id, executable }).map_err(|_job| ended())?;
        self.outstanding += 1;
        Ok(())
    }

    /// Takes a finished table, if there is one.
    ///
    /// # Errors
    ///
    /// When the thread ended.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<Finished>> {
        match self.finished.try_recv() {
            Ok(finished) => {
                self.outstanding -= 1;
                self.waiting_bytes.fetch_sub(bytes(&finished), Ordering::Relaxed);
                Ok(Some(finished))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.jobs = None;
        // It may be in the middle of a large file; what it does then matters to nobody.
        if self.thread.take().is_some_and(|thread| thread.is_finished() && thread.join().is_err()) {
            tracing::error!("the thread that makes unwind tables panicked");
        }
    }
}

fn ended() -> anyhow::Error {
    anyhow!("the thread that makes unwind tables ended")
}

fn bytes(finished: &Finished) -> usize {
    finished.table.as_ref().map_or(0, Table::bytes)
}

/// What the thread works with.
struct Work {
    cache: Option<TableCache>,
    waiting: Receiver<Job>,
    finished: SyncSender<Finished>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Work {
    fn run(self) {
        while let Some(job) = self.next() {
            let finished = self.make(&job);
            drop(job);
            if !self.wait_for_room() {
                return;
            }
            self.waiting_bytes.fetch_add(bytes(&finished), Ordering::Relaxed);
            if self.finished.send(finished).is_err() {
                return;
            }
        }
    }

    /// The next job. What the last ones took of memory is given back before a wait.
    fn next(&self) -> Option<Job> {
        match self.waiting.try_recv() {
            Ok(job) => Some(job),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                give_memory_back();
                self.waiting.recv().ok()
            }
        }
    }

    fn make(&self, job: &Job) -> Finished {
        let began = Instant::now();
        let Job { id, executable } = job;
        let known = self.cache.as_ref().and_then(|cache| cache.load(&executable.build_id));
        let cached = known.is_some();
        let table = match known {
            Some(table) => Ok(table),
            None => self.build(executable),
        };
        Finished { id: *id, table, cached, seconds: began.elapsed().as_secs_f64() }
    }

    fn build(&self, executable: &Executable) -> Result<Table, &'static str> {
        let table = compact::build(executable).map_err(|error| {
            tracing::debug!(module = &*executable.module, "no unwind table: {error}");
            reason(&error)
        })?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&executable.build_id, &table)
        {
            tracing::debug!(module = &*executable.module, "failed to keep a table: {error}");
        }
        Ok(table)
    }

    /// Waits until finished tables were taken; returns whether anybody still takes them.
    fn wait_for_room(&self) -> bool {
        while self.waiting_bytes.load(Ordering::Relaxed) > FINISHED_BYTES_MAX {
            // The owner holds the other ends as long as it lives; who only waits for room must learn of its end too.
            if Arc::strong_count(&self.waiting_bytes) == 1 {
                return false;
            }
            std::thread::sleep(WAIT);
        }
        true
    }
}

fn reason(error: &BuildError) -> &'static str {
    match error {
        BuildError::Read(_) => "unreadable",
        BuildError::NotElf => "no ELF file for x86-64",
        BuildError::TooLarge => "too large",
    }
}
