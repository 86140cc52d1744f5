//! What is known about one sampled process, and what is due for it.

use profiler_common::abi::sample::WalkEnd;

use super::tables::TableId;
use crate::drain::Walk;
use crate::process::Status;

/// Time between two readings of mappings that nothing asked for, at first and at most: they find a library that was
/// unloaded and another one loaded in its place.
const ROUTINE_MS: (u64, u64) = (10_000, 80_000);

/// Time between two readings of mappings after samples that lay outside of them, at first and at most.
const URGENT_MS: (u64, u64) = (1_000, 60_000);

/// What a drain takes at most, usually: a space is installed some time after the drain began.
const DRAIN_MS: u64 = 50;

const NANOS_PER_MILLISECOND: u64 = 1_000_000;

/// A mapping and its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
    /// Offset in the file at `start`.
    pub offset: u64,
    /// The table of the file; `None` for memory that no ELF file backs.
    pub table: Option<TableId>,
}

/// One sampled process.
#[derive(Debug)]
pub(super) struct Tracked {
    /// The process just before its mappings were read.
    pub status: Option<Status>,
    /// Whether the mappings were read and not yet looked at.
    pub bind: bool,
    /// Whether the kernel's space is not what it should be.
    pub dirty: bool,
    /// When it ended.
    pub exited_ms: Option<u64>,
    /// When it was last sampled.
    pub seen_ms: u64,
    /// Samples since the last drain.
    pub samples: u32,
    /// Whether a sample found no space where there should be one.
    pub lost: bool,
    /// Whether the kernel's space shows mappings that the process no longer has.
    pub stale: bool,
    bound: Vec<Bound>,
    /// Whether the next sample makes the mappings be read: the loader may not have been through when they were.
    early: bool,
    /// Whether a sample says that the mappings are not those that the kernel has.
    urgent: bool,
    urgent_at_ms: u64,
    urgent_wait_ms: u64,
    routine_at_ms: u64,
    routine_wait_ms: u64,
    /// When its mappings were read or installed; earlier samples tell nothing about them.
    changed_ms: u64,
}

impl Tracked {
    /// A process whose mappings the process table has just read.
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            status: None,
            bind: true,
            dirty: false,
            exited_ms: None,
            seen_ms: now_ms,
            samples: 0,
            lost: false,
            stale: false,
            bound: Vec::new(),
            early: false,
            urgent: false,
            urgent_at_ms: 0,
            urgent_wait_ms: URGENT_MS.0,
            routine_at_ms: now_ms.saturating_add(ROUTINE_MS.0),
            routine_wait_ms: ROUTINE_MS.0,
            changed_ms: now_ms,
        }
    }

    /// Begins anew with another program, whose mappings the process table has just read.
    pub(super) fn run_another(&mut self, now_ms: u64) {
        *self = Self { exited_ms: self.exited_ms, early: true, ..Self::new(now_ms) };
    }

    /// Begins anew: the mappings that were read are no longer those of the process.
    pub(super) fn start_over(&mut self, now_ms: u64) {
        *self = Self { exited_ms: self.exited_ms, urgent: true, ..Self::new(now_ms) };
    }

    /// Has the mappings read when the next sample shows that the process lives.
    pub(super) fn ask_again(&mut self) {
        self.urgent = true;
    }

    /// Learns how the walk of a sample ended that was taken at that time, and whether the code at its end still waits for
    /// a table.
    pub(super) fn note(&mut self, walk: &Walk<'_>, pending: bool, now_ms: u64) {
        self.samples = self.samples.saturating_add(1);
        self.seen_ms = now_ms;
        let taken_ms = walk.time_ns / NANOS_PER_MILLISECOND;
        let later = taken_ms > self.changed_ms.saturating_add(DRAIN_MS);
        match walk.end {
            WalkEnd::Unmapped if later => self.urgent = true,
            WalkEnd::NoTables if later && !pending => (self.urgent, self.lost) = (true, true),
            _ => self.urgent |= std::mem::take(&mut self.early),
        }
    }

    /// Whether the mappings shall be read because a sample lay outside of them.
    pub(super) fn is_urgent_due(&self, now_ms: u64) -> bool {
        self.urgent && self.urgent_at_ms <= now_ms
    }

    /// Whether the mappings shall be read because they were not for long.
    pub(super) fn is_routine_due(&self, now_ms: u64) -> bool {
        self.routine_at_ms <= now_ms
    }

    /// Notes that the mappings were read.
    pub(super) fn was_read(&mut self, changed: bool, now_ms: u64) {
        let next = |wait_ms: u64, (least, most): (u64, u64)| {
            if changed { least } else { (wait_ms * 2).min(most) }
        };
        if std::mem::take(&mut self.urgent) {
            self.urgent_wait_ms = next(self.urgent_wait_ms, URGENT_MS);
            self.urgent_at_ms = now_ms.saturating_add(self.urgent_wait_ms);
        }
        self.routine_wait_ms = next(self.routine_wait_ms, ROUTINE_MS);
        self.routine_at_ms = now_ms.saturating_add(self.routine_wait_ms);
        self.changed_ms = now_ms;
        self.bind |= changed;
    }

    /// Notes what is mapped; returns whether that is new.
    pub(super) fn set(&mut self, status: Status, bound: Vec<Bound>) -> bool {
        let new = self.status != Some(status) || self.bound != bound;
        self.status = Some(status);
        self.bound = bound;
        self.dirty |= new;
        self.stale |= new;
        new
    }

    /// Notes that the kernel has the space.
    pub(super) fn installed(&mut self, now_ms: u64) {
        (self.dirty, self.stale, self.lost) = (false, false, false);
        self.changed_ms = now_ms;
    }

    /// The mapping that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<&Bound> {
        let index = self.bound.partition_point(|bound| bound.start <= address).checked_sub(1)?;
        self.bound.get(index).filter(|bound| address < bound.end)
    }

    /// All mappings, sorted by address.
    pub(super) fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// The tables of its mappings; one that is mapped twice comes twice.
    pub(super) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.bound.iter().filter_map(|bound| bound.table)
    }
}
