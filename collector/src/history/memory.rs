//! Keeps the memory of every service up to date with the store, and across restarts.

use crate::detect::temporal::Timeline;
use crate::store::{Store, StoreError};

/// The memory of every service. Safe to share between threads; one service at a time is unpacked by each caller.
#[derive(Debug, Default)]
pub struct Memory {}

/// A service's memory, up to date.
#[derive(Debug)]
pub struct Observed {
    /// What it did.
    pub timeline: Timeline,
    /// Whether a window of ten minutes was added since the last call. The same windows judged twice confirm nothing.
    pub is_new: bool,
    /// Whether there are older windows still to be read: after a start, a few hours are read at each call.
    pub is_behind: bool,
}

impl Memory {
    /// Reads what the store has of a service since the last call and returns its memory. Call it at each evaluation;
    /// it reads a window of ten minutes only once, when it has been over for [`SETTLED_NS`], and then costs
    /// milliseconds. Blocking.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    pub fn observe(
        &self,
        store: &Store,
        service: &str,
        now_unix_ns: u64,
    ) -> Result<Observed, StoreError> {
        let _ = (store, service, now_unix_ns, SETTLED_NS);
        Ok(Observed { timeline: Timeline::default(), is_new: false, is_behind: false })
    }

    /// Writes what was not written yet: before the collector ends. Blocking.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        let _ = store;
        Ok(())
    }
}

/// How long a window must be over before it is read: agents send within a minute, and a window is read only once.
pub const SETTLED_NS: u64 = 180 * 1_000_000_000;
