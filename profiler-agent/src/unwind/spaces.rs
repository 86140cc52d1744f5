//! Which process has which mappings with which tables, as the kernel reads it.
//!
//! Every change is written to a new region of the mapping arena under a new number; what the kernel reads is never
//! changed under its eyes. Children that the kernel gave a copy of their parent's space keep reading the old region, so
//! it stays as it is for a while, and is void before anything that it names is used for something else.

use std::collections::{HashMap, VecDeque};

use profiler_common::abi::row::{
    MAPPING_ROWS_MAX, MappingRow, REUSE_DELAY_MS, SPACE_MAPPINGS_MAX, Space,
};

use super::arena::Arena;
use super::upload::{Only, Upload};
use crate::process::ProcessKey;

/// Numbers of spaces leave out the multiples of this: no address of a mapping can be taken for the number of a space.
const MAPPING_GRANULE: u32 = 4096;

/// Header and mappings of one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    header: u32,
    mappings: u32,
}

/// A process that gets a space.
pub(super) struct Owner<'o> {
    /// The process.
    pub key: ProcessKey,
    /// Tells whether it still runs the program that its mappings were read of.
    pub is_same: &'o dyn Fn() -> bool,
}

/// How an installation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installed {
    /// The process has the space.
    Done,
    /// There is no room for it now.
    NoRoom,
    /// The process runs another program by now, or none.
    Outdated,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SpaceTallies {
    /// Spaces that found no room.
    pub no_room: u64,
    /// Mappings beyond the limit of one process.
    pub mappings_left_out: u64,
}

/// All spaces.
#[derive(Debug)]
pub(super) struct Spaces {
    arena: Arena,
    last_id: u32,
    regions: HashMap<ProcessKey, Region>,
    /// Which process has a number last.
    latest: HashMap<u32, ProcessKey>,
    /// Regions that only copies name, and since when.
    retired: VecDeque<(u64, Region)>,
    tallies: SpaceTallies,
}

impl Spaces {
    /// No space.
    pub(super) fn new() -> Self {
        Self {
            arena: Arena::new(MAPPING_ROWS_MAX as u32),
            last_id: 0,
            regions: HashMap::new(),
            latest: HashMap::new(),
            retired: VecDeque::new(),
            tallies: SpaceTallies::default(),
        }
    }

    /// Gives a process these mappings, sorted by address, in place of what it has.
    ///
    /// The process is looked at while the kernel would already notice another program, so that none gets the mappings of
    /// an earlier one.
    pub(super) fn install(
        &mut self,
        upload: &mut dyn Upload,
        owner: &Owner<'_>,
        rows: &[MappingRow],
        now_ms: u64,
    ) -> Installed {
        let key = owner.key;
        let left_out = rows.len().saturating_sub(SPACE_MAPPINGS_MAX);
        self.tallies.mappings_left_out += left_out as u64;
        let rows = &rows[..rows.len() - left_out];
        let mappings = rows.len() as u32;
        let Some(header) = self.arena.take(mappings + 1, now_ms) else {
            self.tallies.no_room += 1;
            return Installed::NoRoom;
        };
        let region = Region { header, mappings };
        let id = self.next_id();
        let space = Space { start_ns: key.start_ns, id, header, mappings, reserved: 0 };
        upload.write_mappings(header + 1, rows);
        upload.write_mappings(header, &[MappingRow { start: id.into(), ..MappingRow::default() }]);
        let known = self.latest.get(&key.tgid) == Some(&key) && self.regions.contains_key(&key);
        let set = if known {
            upload.set_space(key.tgid, space, Only::Replace)
        } else {
            Self::set_first(upload, owner, space)
        };
        self.retire(key, now_ms);
        match &set {
            Ok(true) => {
                self.regions.insert(key, region);
                self.latest.insert(key.tgid, key);
                return Installed::Done;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(key.tgid, "failed to give a process its mappings: {error:#}");
                self.tallies.no_room += 1;
            }
        }
        self.void(upload, region, now_ms);
        if set.is_ok() { Installed::Outdated } else { Installed::NoRoom }
    }

    /// Forgets the space of a process from which the kernel took it.
    pub(super) fn retire(&mut self, key: ProcessKey, now_ms: u64) {
        if let Some(region) = self.regions.remove(&key) {
            self.retired.push_back((now_ms, region));
        }
        if self.latest.get(&key.tgid) == Some(&key) {
            self.latest.remove(&key.tgid);
        }
    }

    /// Takes the space of a process away.
    pub(super) fn remove(&mut self, upload: &mut dyn Upload, key: ProcessKey, now_ms: u64) {
        // A later process with the same number may have one by now.
        if self.latest.get(&key.tgid) == Some(&key) {
            upload.remove_space(key.tgid);
        }
        self.retire(key, now_ms);
    }

    /// Gives up regions that were retired long enough ago.
    pub(super) fn settle(&mut self, upload: &mut dyn Upload, now_ms: u64) {
        while let Some((since, region)) = self.retired.front().copied() {
            if since.saturating_add(REUSE_DELAY_MS) > now_ms {
                break;
            }
            self.retired.pop_front();
            self.void(upload, region, now_ms);
        }
    }

    /// Makes everything void that only copies name: a table that it may name is given up.
    pub(super) fn void_retired(&mut self, upload: &mut dyn Upload, now_ms: u64) {
        while let Some((_, region)) = self.retired.pop_front() {
            self.void(upload, region, now_ms);
        }
    }

    /// Whether the process has a space, as far as is known.
    pub(super) fn has(&self, key: ProcessKey) -> bool {
        self.regions.contains_key(&key)
    }

    /// Number of spaces.
    pub(super) fn len(&self) -> usize {
        self.regions.len()
    }

    /// What was counted.
    pub(super) fn tallies(&self) -> SpaceTallies {
        self.tallies
    }

    /// Gives a process its first space. Between the empty one and the real one the process is looked at: one that ran
    /// another program before was outdated, and one that does so later loses the empty one, which is then not replaced.
    fn set_first(upload: &mut dyn Upload, owner: &Owner<'_>, space: Space) -> anyhow::Result<bool> {
        let tgid = owner.key.tgid;
        let empty = Space { id: space.id - 1, mappings: 0, ..space };
        upload.set_space(tgid, empty, Only::Set)?;
        if !(owner.is_same)() {
            upload.remove_space(tgid);
            return Ok(false);
        }
        upload.set_space(tgid, space, Only::Replace)
    }

    /// Returns a number that was never used; the one before it was not used either.
    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(2);
        if self.last_id.is_multiple_of(MAPPING_GRANULE) {
            self.last_id += 2;
        }
        self.last_id
    }

    fn void(&mut self, upload: &mut dyn Upload, region: Region, now_ms: u64) {
        upload.write_mappings(region.header, &[MappingRow::default()]);
        self.arena.give_back(region.header, region.mappings + 1, now_ms);
    }
}
