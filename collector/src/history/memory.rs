//! Keeps the memory of every service up to date with the store, and across restarts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::{counts_of, pack, unpack};
use crate::detect::temporal::{FINE_NS, FINE_SLOTS_MAX, HOUR_NS, Timeline, WindowCounts};
use crate::diff::{Grouping, ProfileDiff};
use crate::store::{Selection, Store, StoreError, TimeRange};

/// How long a window must be over before it is read: agents send within a minute, and a window is read only once.
pub const SETTLED_NS: u64 = 180 * 1_000_000_000;

/// How far back the store is read for a service of which nothing is remembered: two weeks, with which the seasonal
/// baseline of weekdays is whole.
const BACKFILL_NS: u64 = 14 * 24 * HOUR_NS;

/// Most windows that are read in one call. One falls due every ten minutes; after a start, four a call of one minute
/// read two weeks in eight hours, and never delay the other services by more than a few hundred milliseconds.
const READS_MAX: usize = 4;

/// Most services whose memory is held; 1,000 × 0.5 MB. Those that were asked for longest ago are written and dropped.
const SERVICES_MAX: usize = 1_000;

/// Windows between two writes of a service: an hour.
const WINDOWS_BETWEEN_WRITES: u64 = HOUR_NS / FINE_NS;

/// Shortest span into which the reading of a window is split when its answer does not fit in memory.
const SPAN_MIN_NS: u64 = 10 * 1_000_000_000;

/// The memory of every service. Safe to share between threads; two that ask for the same service wait for each other.
#[derive(Debug, Default)]
pub struct Memory {
    services: Mutex<HashMap<String, Arc<Mutex<Kept>>>>,
}

/// A service's memory, up to date.
#[derive(Debug)]
pub struct Observed {
    /// What it did.
    pub timeline: Timeline,
    /// Whether a window of ten minutes was added since the last call. The same windows judged twice confirm nothing.
    pub is_new: bool,
    /// Whether there are more windows still to be read: after a start, a few are read at each call.
    pub is_behind: bool,
}

/// What is held of a service between two calls.
#[derive(Debug, Default)]
struct Kept {
    is_loaded: bool,
    packed: Vec<u8>,
    /// Start of the next window to be read.
    next_unix_ns: u64,
    /// Version of the state in the store; 0 when there is none.
    version: u64,
    /// Whether something was added since it was written.
    is_dirty: bool,
    asked_unix_ns: u64,
}

impl Memory {
    /// Reads what the store has of a service since the last call and returns its memory. Call it at each evaluation;
    /// it reads a window of ten minutes only once, when it has been over for [`SETTLED_NS`], and then costs
    /// milliseconds. When there is nothing new the timeline is empty. Blocking.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    #[expect(
        clippy::significant_drop_tightening,
        reason = "what was read and what is written belong together: one lock for all of it"
    )]
    pub fn observe(
        &self,
        store: &dyn Store,
        service: &str,
        now_unix_ns: u64,
    ) -> Result<Observed, StoreError> {
        let kept = self.kept(store, service)?;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.asked_unix_ns = now_unix_ns;
        kept.load(store, service)?;
        let settled = now_unix_ns.saturating_sub(SETTLED_NS) / FINE_NS * FINE_NS;
        let oldest = settled.saturating_sub(BACKFILL_NS);
        kept.next_unix_ns = kept.next_unix_ns.max(oldest);
        let nothing = Observed { timeline: Timeline::default(), is_new: false, is_behind: false };
        if kept.next_unix_ns >= settled {
            return Ok(nothing);
        }
        let mut timeline = kept.timeline(service);
        let (mut is_new, mut is_turn) = (false, false);
        for _ in 0..READS_MAX {
            if kept.next_unix_ns >= settled {
                break;
            }
            is_new |= add(store, service, &mut timeline, kept.next_unix_ns)?;
            kept.next_unix_ns += FINE_NS;
            // Services are written at different times of the hour, so that the store is never asked for all at once.
            let turn = xxh3_64(service.as_bytes()) % WINDOWS_BETWEEN_WRITES;
            is_turn |= kept.next_unix_ns / FINE_NS % WINDOWS_BETWEEN_WRITES == turn;
        }
        if is_new {
            kept.hold(&timeline, service);
        }
        if is_turn {
            kept.save(store, service)?;
        }
        let is_behind = kept.next_unix_ns < settled;
        Ok(if is_new {
            Observed { timeline, is_new, is_behind }
        } else {
            Observed { is_behind, ..nothing }
        })
    }

    /// Writes what was not written yet: before the collector ends. Blocking.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        let services: Vec<(String, Arc<Mutex<Kept>>)> = self
            .services()
            .iter()
            .map(|(service, kept)| (service.clone(), Arc::clone(kept)))
            .collect();
        for (service, kept) in services {
            kept.lock().unwrap_or_else(PoisonError::into_inner).save(store, &service)?;
        }
        Ok(())
    }

    /// Bytes that are held for all services.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let services: Vec<Arc<Mutex<Kept>>> = self.services().values().map(Arc::clone).collect();
        let bytes = |kept: &Arc<Mutex<Kept>>| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).packed.len()
        };
        services.iter().map(bytes).sum()
    }

    fn services(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Mutex<Kept>>>> {
        // Each change is one insertion or removal, so a panic elsewhere leaves a whole map.
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, store: &dyn Store, service: &str) -> Result<Arc<Mutex<Kept>>, StoreError> {
        let mut services = self.services();
        if let Some(kept) = services.get(service) {
            return Ok(Arc::clone(kept));
        }
        let mut dropped = None;
        if services.len() >= SERVICES_MAX {
            let asked = |kept: &Arc<Mutex<Kept>>| {
                kept.try_lock().map_or(u64::MAX, |kept| kept.asked_unix_ns)
            };
            let oldest = services.iter().min_by_key(|(_, kept)| asked(kept));
            if let Some(service) = oldest.map(|(service, _)| service.clone()) {
                dropped = services.remove_entry(&service);
            }
        }
        let fresh = Arc::clone(services.entry(service.to_owned()).or_default());
        drop(services);
        if let Some((service, kept)) = dropped {
            kept.lock().unwrap_or_else(PoisonError::into_inner).save(store, &service)?;
        }
        Ok(fresh)
    }
}

impl Kept {
    /// Reads the state of an earlier run, once. What cannot be read is forgotten: the store has two weeks of it.
    fn load(&mut self, store: &dyn Store, service: &str) -> Result<(), StoreError> {
        if self.is_loaded {
            return Ok(());
        }
        if let Some((version, packed)) = store.load_state(&key(service))? {
            self.version = version;
            match unpack(&packed) {
                Ok(timeline) => {
                    self.next_unix_ns =
                        timeline.newest_unix_ns().map_or(0, |newest| newest + FINE_NS);
                    self.packed = packed;
                }
                Err(error) => {
                    warn!(service, %error, "failed to read the history of a service; it starts anew");
                }
            }
        }
        self.is_loaded = true;
        Ok(())
    }

    fn timeline(&self, service: &str) -> Timeline {
        if self.packed.is_empty() {
            return Timeline::default();
        }
        unpack(&self.packed).unwrap_or_else(|error| {
            warn!(service, %error, "failed to unpack the history of a service; it starts anew");
            Timeline::default()
        })
    }

    fn hold(&mut self, timeline: &Timeline, service: &str) {
        match pack(timeline) {
            Ok(packed) => {
                self.packed = packed;
                self.is_dirty = true;
            }
            Err(error) => warn!(service, %error, "failed to pack the history of a service"),
        }
    }

    /// Writes it if something was added. Another collector on the same store that wrote meanwhile wins: both read the
    /// same windows.
    fn save(&mut self, store: &dyn Store, service: &str) -> Result<(), StoreError> {
        if !self.is_dirty || self.packed.is_empty() {
            return Ok(());
        }
        if store.save_state(&key(service), self.version, &self.packed)? {
            self.version += 1;
        } else {
            let found = store.load_state(&key(service))?;
            self.version = found.map_or(0, |(version, _)| version);
        }
        self.is_dirty = false;
        Ok(())
    }
}

fn key(service: &str) -> String {
    format!("history/{service}")
}

/// Reads a window and adds it; whether it has samples. The first of each hour that has any teaches the structure.
fn add(
    store: &dyn Store,
    service: &str,
    timeline: &mut Timeline,
    start_unix_ns: u64,
) -> Result<bool, StoreError> {
    let range = TimeRange { start_unix_ns, end_unix_ns: start_unix_ns + FINE_NS };
    let mut parts = Vec::new();
    read(store, service, range, &mut parts)?;
    let mut window = WindowCounts { start_unix_ns, ..WindowCounts::default() };
    for diff in &parts {
        window.merge(&counts_of(start_unix_ns, diff));
    }
    if window.total.samples == 0 {
        return Ok(false);
    }
    let hour = |unix_ns: u64| unix_ns / HOUR_NS;
    let is_first =
        timeline.newest_unix_ns().is_none_or(|newest| hour(newest) < hour(start_unix_ns));
    timeline.record(&window);
    if is_first && let Some(diff) = parts.first() {
        timeline.learn_structure(&diff.functions, &diff.stacks);
    }
    Ok(true)
}

/// Reads all units of a span, in halves when the answer does not fit in memory.
fn read(
    store: &dyn Store,
    service: &str,
    range: TimeRange,
    parts: &mut Vec<ProfileDiff>,
) -> Result<(), StoreError> {
    let selection = Selection { service: service.to_owned(), labels: Vec::new() };
    let length = range.end_unix_ns - range.start_unix_ns;
    match store.unit_windows(&selection, range, length) {
        Ok(windows) => {
            let grouping = Grouping { window_ns: length, ..Grouping::default() };
            parts.push(ProfileDiff::new(&[], &windows, &grouping));
            Ok(())
        }
        Err(StoreError::TooLarge { .. }) if length >= 2 * SPAN_MIN_NS => {
            let middle = range.start_unix_ns + length / 2;
            read(store, service, TimeRange { end_unix_ns: middle, ..range }, parts)?;
            read(store, service, TimeRange { start_unix_ns: middle, ..range }, parts)
        }
        Err(error) => Err(error),
    }
}

// The short windows must reach back to where a restart begins to read.
const _: () = assert!(FINE_SLOTS_MAX as u64 > WINDOWS_BETWEEN_WRITES);

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
