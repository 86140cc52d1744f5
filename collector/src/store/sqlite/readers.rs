//! A few connections that read, each lent to one question at a time.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::{failed, schema};
use crate::store::{StoreError, cancel};

/// Most questions answered at once. Each may hold a decoded range in memory, and the host has other work.
const READERS_MAX: usize = 8;

/// Steps of SQLite between two looks whether the question was taken back: about ten microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

pub(super) struct Readers {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    lent: usize,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Lends a connection with one snapshot of the store; waits while all are lent.
    pub(super) fn take(&self) -> Result<Reader<'_>, StoreError> {
        let mut pool = self
            .returned
            .wait_while(self.lock(), |pool| pool.lent >= READERS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        let mut connection = match pool.idle.pop() {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        pool.lent += 1;
        drop(pool);
        let cancelled = cancel::current();
        let is_cancelled =
            move || cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed));
        let handled = connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_cancelled));
        let reader = Reader { readers: self, connection: Some(connection) };
        handled.map_err(failed("begin to read"))?;
        // One snapshot for the whole question: retention cannot delete a stack between its block and its names.
        reader.execute_batch("BEGIN").map_err(failed("begin to read"))?;
        Ok(reader)
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // A pool is whole after every step, so a panic elsewhere cannot have left it half changed.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lent connection; goes back when dropped.
pub(super) struct Reader<'r> {
    readers: &'r Readers,
    connection: Option<Connection>,
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken only by drop")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // One that cannot end its snapshot, or would still listen to this question, is closed instead of lent again.
        let connection = self.connection.take().and_then(|mut connection| {
            connection.progress_handler(0, None::<fn() -> bool>).ok()?;
            connection.execute_batch("COMMIT").ok()?;
            Some(connection)
        });
        let mut pool = self.readers.lock();
        pool.lent -= 1;
        pool.idle.extend(connection);
        drop(pool);
        self.readers.returned.notify_one();
    }
}
