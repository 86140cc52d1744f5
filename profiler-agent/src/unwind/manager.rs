//! Sees to it that sampled processes have tables: reads their mappings, asks for what is missing, and installs it.
//!
//! Everything follows from samples. A process gets its space in the drain that shows its first sample, with the tables
//! that there are; it gets another one as each further table is made, when its mappings change, and when it runs another
//! program. Processes that are never sampled cost nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use profiler_common::abi::row::{FIRST_PAGE_PENDING, MappingRow, SPACES_MAX};
use profiler_common::abi::sample::WalkEnd;

use super::builder::{Builder, Finished};
use super::placement::{Refused, Size};
use super::spaces::{Installed, Owner, Spaces};
use super::table::Table;
use super::tables::{Found, TableId, Tables};
use super::tracked::{Bound, Tracked};
use super::upload::Upload;
use crate::drain::{ProcessSign, SignKind, Walk};
use crate::process::{self, Executable, MappingKind, ProcessKey, ProcessTable, Status};
use crate::symbolize;

/// Most processes that are followed; the kernel has room for as many spaces.
const TRACKED_MAX: usize = SPACES_MAX as usize;

/// Most processes whose mappings are read again in one drain only because time went by: at about 0.1 ms each, 1 % of a
/// CPU.
const ROUTINE_READS_MAX: u32 = 10;

/// How long the space of a process stays after its end: its children may still use it.
const EXITED_KEPT_MS: u64 = 10_000;

/// Time between two looks for processes that are gone and tables that nobody uses.
const SWEEP_MS: u64 = 60_000;

/// How long a finished table waits for room that was just given up.
const ROOM_WAIT_MS: u64 = 5_000;

/// What the tables may take, and where they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnwindOptions {
    /// Most bytes of rows in the kernel; whole MiB, at least one.
    pub bytes_max: u64,
    /// Folder in which tables are kept by build id; without one they are made anew each time.
    pub cache: Option<PathBuf>,
}

/// A table that waits for room.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: TableId,
    pub table: Table,
    pub since_ms: u64,
}

/// Keeps the tables in the kernel as the processes need them.
pub struct Unwinder {
    pub(super) upload: Box<dyn Upload>,
    pub(super) tables: Tables,
    pub(super) spaces: Spaces,
    pub(super) tracked: HashMap<ProcessKey, Tracked>,
    /// Whether a process still runs the program that its mappings were read of.
    pub(super) is_same: fn(ProcessKey, Status) -> bool,
    builder: Builder,
    vdso: Option<Arc<Executable>>,
    waiting: Vec<Waiting>,
    /// Processes that were sampled, or gave a sign, since the last drain.
    awake: Vec<ProcessKey>,
    swept_ms: u64,
    pub(super) built: u64,
    pub(super) loaded: u64,
    pub(super) build_seconds: f64,
    pub(super) left_out: LeftOut,
}

/// What has no table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LeftOut {
    /// Samples of processes beyond the limit.
    pub processes: u64,
    /// Mappings of executables beyond the limit.
    pub executables: u64,
    /// Mappings whose file could not be opened.
    pub unopened: u64,
}

impl std::fmt::Debug for Unwinder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Unwinder")
            .field("tables", &self.tables)
            .field("spaces", &self.spaces)
            .finish_non_exhaustive()
    }
}

impl Unwinder {
    /// Starts the thread that makes tables.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(mut upload: Box<dyn Upload>, options: &UnwindOptions) -> std::io::Result<Self> {
        let vdso =
            symbolize::open_vdso().inspect_err(|error| tracing::debug!(%error, "no vDSO")).ok();
        Ok(Self {
            tables: Tables::new(options.bytes_max, &mut *upload),
            upload,
            spaces: Spaces::new(),
            tracked: HashMap::new(),
            is_same: |key, status| process::read_status(key) == Some(status),
            builder: Builder::start(options.cache.as_deref())?,
            vdso,
            waiting: Vec::new(),
            awake: Vec::new(),
            swept_ms: 0,
            built: 0,
            loaded: 0,
            build_seconds: 0.0,
            left_out: LeftOut::default(),
        })
    }

    /// Learns that a process runs another program, or ended.
    pub fn observe(&mut self, sign: &ProcessSign, now_ms: u64) {
        let Some(tracked) = self.tracked.get_mut(&sign.key) else { return };
        match sign.kind {
            SignKind::Exec => {
                // The process table read its mappings anew when it got this sign.
                tracked.run_another(now_ms);
                self.spaces.retire(sign.key, now_ms);
                self.awake.push(sign.key);
            }
            SignKind::Exit => tracked.exited_ms = Some(now_ms),
            SignKind::Sample => {}
        }
    }

    /// Learns how the walk of a sample went.
    pub fn sampled(&mut self, walk: &Walk<'_>, now_ms: u64) {
        if matches!(walk.end, WalkEnd::NoUserStack | WalkEnd::Compat32) {
            return;
        }
        let full = self.tracked.len() >= TRACKED_MAX;
        let tracked = match self.tracked.entry(walk.process) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if !full => new.insert(Tracked::new(now_ms)),
            Entry::Vacant(_) => {
                self.left_out.processes += 1;
                return;
            }
        };
        if tracked.samples == 0 {
            self.awake.push(walk.process);
        }
        let mut last = None;
        for address in walk.rule_addresses() {
            let table = tracked.find(address).and_then(|bound| bound.table);
            if table != last
                && let Some(id) = table
                && self.tables.hit(id, now_ms)
            {
                tracked.bind = true;
            }
            last = table;
        }
        let pending = last.is_some_and(|id| self.tables.is_pending(id));
        tracked.note(walk, pending, now_ms);
    }

    /// Does what the last drain made necessary.
    ///
    /// # Errors
    ///
    /// When the thread that makes tables ended.
    pub fn work(&mut self, processes: &mut ProcessTable, now_ms: u64) -> anyhow::Result<()> {
        self.spaces.settle(&mut *self.upload, now_ms);
        let arrived = self.take_finished(now_ms)?;
        let mut awake = std::mem::take(&mut self.awake);
        if !arrived.is_empty() {
            awake.extend(self.wake_users(&arrived));
        }
        let mut routine_reads = ROUTINE_READS_MAX;
        for key in awake {
            self.follow(key, processes, &mut routine_reads, now_ms);
        }
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_MS {
            self.swept_ms = now_ms;
            self.sweep(now_ms);
        }
        self.drop_exited(now_ms);
        self.feed_builder()
    }

    /// Reads, binds and installs one process, each as far as it is due.
    fn follow(
        &mut self,
        key: ProcessKey,
        processes: &mut ProcessTable,
        routine_reads: &mut u32,
        now_ms: u64,
    ) {
        let Some(tracked) = self.tracked.get_mut(&key) else { return };
        let samples = std::mem::take(&mut tracked.samples);
        let routine = tracked.is_routine_due(now_ms) && *routine_reads > 0;
        if tracked.exited_ms.is_none() && (routine || tracked.is_urgent_due(now_ms)) {
            *routine_reads -= u32::from(routine);
            if std::mem::take(&mut tracked.lost) && self.spaces.has(key) {
                tracked.dirty = true;
                self.spaces.retire(key, now_ms);
            }
            let changed = processes.refresh(key);
            tracked.was_read(changed, now_ms);
        }
        if tracked.bind {
            self.bind(key, processes);
        }
        let Some(tracked) = self.tracked.get(&key) else { return };
        for id in tracked.tables() {
            if self.tables.is_open(id) {
                self.tables.add_weight(id, u64::from(samples));
            }
        }
        if tracked.dirty && tracked.exited_ms.is_none() {
            self.install(key, now_ms);
        }
    }

    /// Finds the tables of what a process has mapped.
    fn bind(&mut self, key: ProcessKey, processes: &mut ProcessTable) {
        let Some(tracked) = self.tracked.get_mut(&key) else { return };
        tracked.bind = false;
        let Some(image) = processes.mapped(key) else {
            tracked.ask_again();
            return;
        };
        let mut bound = Vec::with_capacity(image.files.len());
        let mut left_out = self.left_out;
        for (mapping, file) in &image.files {
            let is_file = matches!(mapping.kind, MappingKind::File | MappingKind::Deleted);
            left_out.unopened += u64::from(is_file && file.is_none());
            let executable = match mapping.kind {
                MappingKind::Vdso => self.vdso.as_ref(),
                _ => file.as_ref().filter(|file| file.is_elf),
            };
            let table = executable.and_then(|executable| self.tables.want(executable));
            left_out.executables += u64::from(executable.is_some() && table.is_none());
            bound.push(Bound {
                start: mapping.start,
                end: mapping.end,
                offset: mapping.offset,
                table,
            });
        }
        if tracked.set(image.status, bound) {
            self.left_out = left_out;
        }
    }

    /// Writes the space of a process.
    pub(super) fn install(&mut self, key: ProcessKey, now_ms: u64) {
        let Some(tracked) = self.tracked.get_mut(&key) else { return };
        let Some(status) = tracked.status else {
            tracked.dirty = false;
            return;
        };
        let rows = rows(tracked.bound(), &self.tables);
        // A thread of the kernel, or a process that is ending.
        if rows.is_empty() {
            tracked.dirty = false;
            return;
        }
        let owner = Owner { key, is_same: &|| (self.is_same)(key, status) };
        match self.spaces.install(&mut *self.upload, &owner, &rows, now_ms) {
            Installed::Done => tracked.installed(now_ms),
            // Better none than a wrong one. It is tried again when the process is sampled again.
            Installed::NoRoom if tracked.stale => {
                self.spaces.remove(&mut *self.upload, key, now_ms)
            }
            Installed::NoRoom => {}
            Installed::Outdated => tracked.start_over(now_ms),
        }
    }

    /// Gives finished tables to the kernel, and returns of which executables more is known now.
    pub(super) fn take_finished(&mut self, now_ms: u64) -> anyhow::Result<Vec<TableId>> {
        let mut arrived = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            self.place(waiting, &mut arrived, now_ms);
        }
        while let Some(Finished { id, table, cached, seconds }) = self.builder.take()? {
            self.build_seconds += seconds;
            match table {
                Ok(table) => {
                    *(if cached { &mut self.loaded } else { &mut self.built }) += 1;
                    self.place(Waiting { id, table, since_ms: now_ms }, &mut arrived, now_ms);
                }
                Err(reason) => {
                    self.tables.fail(id, reason);
                    arrived.push(id);
                }
            }
        }
        Ok(arrived)
    }

    /// Places a table; gives up colder ones for it.
    pub(super) fn place(&mut self, waiting: Waiting, arrived: &mut Vec<TableId>, now_ms: u64) {
        let Waiting { id, table, since_ms } = waiting;
        let size = Size::of(&table);
        match self.tables.place(id, &table, &mut *self.upload, now_ms) {
            Ok(()) => arrived.push(id),
            Err(Refused::Malformed) => {
                self.tables.fail(id, "malformed");
                arrived.push(id);
            }
            Err(Refused::NoRoom) => {
                let in_time = now_ms.saturating_sub(since_ms) < ROOM_WAIT_MS;
                if in_time && self.make_room(id, size, now_ms) {
                    self.waiting.push(Waiting { id, table, since_ms });
                } else {
                    self.tables.set_no_room(id, size, now_ms);
                }
            }
        }
    }

    /// Gives up tables for another one; returns whether there will be room for it.
    fn make_room(&mut self, id: TableId, size: Size, now_ms: u64) -> bool {
        loop {
            match self.tables.victim(id, size, now_ms) {
                Ok(None) => return true,
                Ok(Some(victim)) => self.evict(victim, now_ms),
                Err(_no_room) => return false,
            }
        }
    }

    /// Takes a table away from all processes and gives up its room.
    fn evict(&mut self, victim: TableId, now_ms: u64) {
        let users: Vec<ProcessKey> = self.wake_users(&[victim]);
        self.tables.evict(victim, now_ms);
        for key in users {
            self.install(key, now_ms);
            // Whatever happened: nobody keeps a space that names the table.
            if self.tracked.get(&key).is_some_and(|tracked| tracked.dirty) {
                self.spaces.remove(&mut *self.upload, key, now_ms);
            }
        }
        self.spaces.void_retired(&mut *self.upload, now_ms);
    }

    /// Marks the processes that map one of the tables as to be installed anew.
    pub(super) fn wake_users(&mut self, tables: &[TableId]) -> Vec<ProcessKey> {
        let mut users = Vec::new();
        for (key, tracked) in &mut self.tracked {
            if tracked.tables().any(|id| tables.contains(&id)) {
                tracked.dirty = true;
                users.push(*key);
            }
        }
        users
    }

    fn feed_builder(&mut self) -> anyhow::Result<()> {
        while self.waiting.is_empty() && self.builder.has_room() {
            let Some((id, executable)) = self.tables.next_job() else { break };
            self.builder.ask(id, executable)?;
        }
        Ok(())
    }

    /// Gives up the spaces of processes that ended a while ago.
    pub(super) fn drop_exited(&mut self, now_ms: u64) {
        let spaces = &mut self.spaces;
        self.tracked.retain(|key, tracked| {
            let over = tracked
                .exited_ms
                .is_some_and(|exited_ms| now_ms.saturating_sub(exited_ms) >= EXITED_KEPT_MS);
            if over {
                // The kernel took it from the process already; another one may have the number by now.
                spaces.retire(*key, now_ms);
            }
            !over
        });
    }

    /// Looks for processes whose end was not reported, and forgets tables that nobody uses.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for (key, tracked) in &mut self.tracked {
            let idle = now_ms.saturating_sub(tracked.seen_ms) >= SWEEP_MS;
            if idle && tracked.exited_ms.is_none() && !process::is_alive(*key) {
                tracked.exited_ms = Some(now_ms);
                self.spaces.remove(&mut *self.upload, *key, now_ms);
            }
        }
        self.spaces.void_retired(&mut *self.upload, now_ms);
        let mut used: Vec<TableId> = self.tracked.values().flat_map(Tracked::tables).collect();
        used.sort_unstable();
        used.dedup();
        self.tables.forget_unused(&|id| used.binary_search(&id).is_ok(), now_ms);
    }
}

/// Mappings as the kernel reads them. Neighbours without a table become one: code that is made at run time lies in
/// many.
fn rows(bound: &[Bound], tables: &Tables) -> Vec<MappingRow> {
    let mut rows: Vec<MappingRow> = Vec::with_capacity(bound.len());
    for bound in bound {
        let found = bound.table.map(|id| tables.find(id, bound.start, bound.offset));
        let (first_page, pages, bias) = match found {
            Some(Found::Placed { placement, bias }) => {
                (placement.first_page, placement.pages, bias)
            }
            Some(Found::Pending) => (FIRST_PAGE_PENDING, 0, 0),
            None | Some(Found::Nothing) => (0, 0, 0),
        };
        match rows.last_mut() {
            Some(last)
                if (last.pages, pages) == (0, 0)
                    && last.first_page == first_page
                    && last.end == bound.start =>
            {
                last.end = bound.end;
            }
            _ => rows.push(MappingRow {
                start: bound.start,
                end: bound.end,
                bias,
                first_page,
                pages,
            }),
        }
    }
    rows
}
