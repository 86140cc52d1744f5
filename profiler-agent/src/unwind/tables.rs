//! Every executable that a sampled process maps, and how far its table has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Table;
use super::placement::{Placement, ROW_BYTES, Refused, Room, Size};
use super::upload::Upload;
use crate::process::{Executable, FileId};

/// Most executables that are known at once; a host with more leaves the others to frame pointers.
const TABLES_MAX: usize = 4096;

/// A table that a sample went through this recently is not given up for another one.
const EVICTION_IDLE_MS: u64 = 10_000;

/// How long a table that found no room waits before it is tried again, at first and at most.
const NO_ROOM_WAIT_MS: (u64, u64) = (10_000, 300_000);

/// A sample that goes through an executable counts this often as much as one in a process that only maps it.
const HIT_WEIGHT: u64 = 16;

/// Number of a table while it is known.
pub(super) type TableId = u32;

/// What tells executables apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    BuildId(String),
    File(FileId),
}

/// How far a table has come.
#[derive(Debug)]
enum State {
    /// It shall be built.
    Wanted,
    /// The builder has it, or it waits for room.
    Building,
    /// The kernel has it.
    Resident(Placement),
    /// It was given up for another one; the next sample that goes through it wants it back.
    Evicted,
    /// It found no room, and is not tried again before that time.
    NoRoom { until_ms: u64, wait_ms: u64 },
    /// The executable has none.
    Failed,
}

/// What is behind a mapping of an executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'t> {
    /// The table, and what to subtract from addresses.
    Placed { placement: &'t Placement, bias: u64 },
    /// A table that is not in the kernel now, and may come.
    Pending,
    /// No table, and none will come.
    Nothing,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    state: State,
    /// Segments and base only.
    shape: Table,
    /// Held while the table has to be built.
    executable: Option<Arc<Executable>>,
    /// When a sample last went through it; 0 for never.
    hit_ms: u64,
    /// Samples that speak for building it next.
    weight: u64,
    /// Room that it is known to take.
    size: Size,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tallies {
    /// Tables given up for others.
    pub evicted: u64,
    /// Tables that found no room.
    pub no_room: u64,
    /// Executables without a table, by reason.
    pub failed: BTreeMap<&'static str, u64>,
}

/// All tables.
#[derive(Debug)]
pub(super) struct Tables {
    entries: Vec<Option<Entry>>,
    by_key: HashMap<Key, TableId>,
    room: Room,
    tallies: Tallies,
}

impl Tables {
    /// No table yet, and room for so many bytes of rows.
    pub(super) fn new(bytes_max: u64, upload: &mut dyn Upload) -> Self {
        Self {
            entries: Vec::new(),
            by_key: HashMap::new(),
            room: Room::new(bytes_max, upload),
            tallies: Tallies::default(),
        }
    }

    /// The table of an executable; one that is not known yet is wanted from now on. `None` when too many are known.
    pub(super) fn want(&mut self, executable: &Arc<Executable>) -> Option<TableId> {
        let key = if executable.build_id.is_empty() {
            Key::File(executable.id)
        } else {
            Key::BuildId(executable.build_id.clone())
        };
        if let Some(id) = self.by_key.get(&key).copied() {
            if let Some(entry) = self.entry_mut(id)
                && matches!(entry.state, State::Wanted)
            {
                entry.executable.get_or_insert_with(|| Arc::clone(executable));
            }
            return Some(id);
        }
        let entry = Entry {
            key: key.clone(),
            state: State::Wanted,
            shape: Table::default(),
            executable: Some(Arc::clone(executable)),
            hit_ms: 0,
            weight: 0,
            size: Size::default(),
        };
        let id = self.insert(entry)?;
        self.by_key.insert(key, id);
        Some(id)
    }

    /// Notes that samples were taken in a process that maps the executable.
    pub(super) fn add_weight(&mut self, id: TableId, samples: u64) {
        if let Some(entry) = self.entry_mut(id) {
            entry.weight = entry.weight.saturating_add(samples);
        }
    }

    /// Notes that a sample went through the executable. Returns whether the table lacks an opened file to be built from.
    pub(super) fn hit(&mut self, id: TableId, now_ms: u64) -> bool {
        let Some(entry) = self.entry_mut(id) else { return false };
        entry.hit_ms = now_ms;
        match entry.state {
            State::Resident(_) | State::Building | State::Failed => return false,
            State::Wanted => {}
            State::Evicted => entry.state = State::Wanted,
            State::NoRoom { until_ms, .. } if now_ms < until_ms => return false,
            State::NoRoom { .. } => {}
        }
        entry.weight = entry.weight.saturating_add(HIT_WEIGHT);
        if matches!(entry.state, State::NoRoom { .. }) && self.could_fit(id, now_ms) {
            self.set_state(id, State::Wanted);
        }
        self.entry(id)
            .is_some_and(|entry| matches!(entry.state, State::Wanted) && entry.executable.is_none())
    }

    /// Takes the table that should be built next.
    pub(super) fn next_job(&mut self) -> Option<(TableId, Arc<Executable>)> {
        let ready =
            |entry: &&Entry| matches!(entry.state, State::Wanted) && entry.executable.is_some();
        let (_, id) = (0..)
            .zip(&self.entries)
            .filter_map(|(id, entry)| Some((entry.as_ref().filter(ready)?.weight, id)))
            .max_by_key(|(weight, id)| (*weight, std::cmp::Reverse(*id)))?;
        let entry = self.entry_mut(id)?;
        entry.state = State::Building;
        Some((id, entry.executable.take()?))
    }

    /// Notes that an executable has no table.
    pub(super) fn fail(&mut self, id: TableId, reason: &'static str) {
        *self.tallies.failed.entry(reason).or_default() += 1;
        self.set_state(id, State::Failed);
    }

    /// Gives a table that was built to the kernel.
    pub(super) fn place(
        &mut self,
        id: TableId,
        table: &Table,
        upload: &mut dyn Upload,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let placement = self.room.place(table, upload, now_ms)?;
        match self.entry_mut(id) {
            Some(entry) => {
                entry.shape = Table {
                    segments: table.segments.clone(),
                    base: table.base,
                    ..Table::default()
                };
                entry.size = placement.size();
                entry.weight = 0;
                entry.state = State::Resident(placement);
            }
            None => self.room.release(&placement, now_ms),
        }
        Ok(())
    }

    /// Tells which table to give up so that one of that size fits: `Ok(None)` when there is room already or soon, `Err`
    /// when no table may be given up for it.
    pub(super) fn victim(
        &self,
        id: TableId,
        size: Size,
        now_ms: u64,
    ) -> Result<Option<TableId>, Refused> {
        let left = self.room.left();
        if left.rows >= size.rows && left.pages >= size.pages && self.room.is_settling() {
            return Ok(None);
        }
        let demand_ms = self.entry(id).map_or(0, |entry| entry.hit_ms);
        let idle = self.idle(demand_ms, now_ms);
        let gained = idle.iter().fold(left, |gained, (_, _, size)| Size {
            rows: gained.rows + size.rows,
            pages: gained.pages + size.pages,
        });
        if gained.rows < size.rows || gained.pages < size.pages {
            return Err(Refused::NoRoom);
        }
        idle.into_iter().min().map(|(_, id, _)| Some(id)).ok_or(Refused::NoRoom)
    }

    /// Gives a table up for another one. No space may name it any more.
    pub(super) fn evict(&mut self, id: TableId, now_ms: u64) {
        if let Some(State::Resident(placement)) = self.set_state(id, State::Evicted) {
            self.tallies.evicted += 1;
            self.room.release(&placement, now_ms);
        }
    }

    /// Notes that a table found no room.
    pub(super) fn set_no_room(&mut self, id: TableId, size: Size, now_ms: u64) {
        self.tallies.no_room += 1;
        let Some(entry) = self.entry_mut(id) else { return };
        entry.size = size;
        entry.executable = None;
        let wait_ms = NO_ROOM_WAIT_MS.0;
        entry.state = State::NoRoom { until_ms: now_ms.saturating_add(wait_ms), wait_ms };
    }

    /// What the kernel shall find behind a mapping of an executable.
    pub(super) fn find(&self, id: TableId, start: u64, offset: u64) -> Found<'_> {
        match self.entry(id).map(|entry| (&entry.state, &entry.shape)) {
            Some((State::Resident(placement), shape)) => match shape.bias(start, offset) {
                Some(bias) => Found::Placed { placement, bias },
                None => Found::Nothing,
            },
            None | Some((State::Failed, _)) => Found::Nothing,
            Some(_) => Found::Pending,
        }
    }

    /// Whether there is a table that the kernel does not have.
    pub(super) fn is_pending(&self, id: TableId) -> bool {
        let state = self.entry(id).map(|entry| &entry.state);
        !matches!(state, None | Some(State::Resident(_) | State::Failed))
    }

    /// Whether the table may come later.
    pub(super) fn is_open(&self, id: TableId) -> bool {
        self.entry(id).is_some_and(|entry| matches!(entry.state, State::Wanted))
    }

    /// Forgets executables that nobody maps and whose table the kernel does not have, or all that nobody maps when many
    /// are known.
    pub(super) fn forget_unused(&mut self, is_used: &dyn Fn(TableId) -> bool, now_ms: u64) {
        let crowded = self.by_key.len() > TABLES_MAX / 2;
        for id in 0..self.entries.len() as TableId {
            let Some(entry) = self.entry(id) else { continue };
            let busy = match entry.state {
                State::Building => true,
                State::Resident(_) => !crowded,
                _ => false,
            };
            if busy || is_used(id) {
                continue;
            }
            let Some(entry) = self.entries.get_mut(id as usize).and_then(Option::take) else {
                continue;
            };
            self.by_key.remove(&entry.key);
            if let State::Resident(placement) = entry.state {
                self.room.release(&placement, now_ms);
            }
        }
    }

    /// Number of tables that the kernel has.
    pub(super) fn resident(&self) -> usize {
        self.residents().count()
    }

    /// Bytes of rows of the tables that the kernel has.
    pub(super) fn resident_bytes(&self) -> u64 {
        self.residents().map(|(_, _, size)| size.rows * ROW_BYTES).sum()
    }

    /// Number of tables that shall be built or are being built.
    pub(super) fn wanted(&self) -> usize {
        let open = |entry: &&Entry| matches!(entry.state, State::Wanted | State::Building);
        self.entries.iter().flatten().filter(open).count()
    }

    /// What was counted.
    pub(super) fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Room for tables.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    fn insert(&mut self, entry: Entry) -> Option<TableId> {
        let free = self.entries.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None if self.entries.len() < TABLES_MAX => {
                self.entries.push(None);
                self.entries.len() - 1
            }
            None => return None,
        };
        self.entries[at] = Some(entry);
        Some(at as TableId)
    }

    /// Whether a table that found no room might find it now.
    fn could_fit(&mut self, id: TableId, now_ms: u64) -> bool {
        let Some(size) = self.entry(id).map(|entry| entry.size) else { return false };
        let left = self.room.left();
        let fits = left.rows >= size.rows && left.pages >= size.pages;
        let fits = fits || self.victim(id, size, now_ms).is_ok();
        if !fits
            && let Some(entry) = self.entry_mut(id)
            && let State::NoRoom { until_ms, wait_ms } = &mut entry.state
        {
            *wait_ms = (*wait_ms * 2).min(NO_ROOM_WAIT_MS.1);
            *until_ms = now_ms.saturating_add(*wait_ms);
        }
        fits
    }

    /// Resident tables that may be given up for one that was last asked for at that time: when they were used last, and
    /// their size.
    fn idle(&self, demand_ms: u64, now_ms: u64) -> Vec<(u64, TableId, Size)> {
        self.residents()
            .filter(|(hit_ms, ..)| {
                *hit_ms < demand_ms && hit_ms.saturating_add(EVICTION_IDLE_MS) <= now_ms
            })
            .collect()
    }

    fn residents(&self) -> impl Iterator<Item = (u64, TableId, Size)> {
        (0..).zip(&self.entries).filter_map(|(id, entry)| {
            let entry = entry.as_ref()?;
            let State::Resident(placement) = &entry.state else { return None };
            Some((entry.hit_ms, id, placement.size()))
        })
    }

    fn set_state(&mut self, id: TableId, state: State) -> Option<State> {
        Some(std::mem::replace(&mut self.entry_mut(id)?.state, state))
    }

    fn entry(&self, id: TableId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    fn entry_mut(&mut self, id: TableId) -> Option<&mut Entry> {
        self.entries.get_mut(id as usize)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::super::upload::memory::SharedMemory;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn executable() -> Arc<Executable> {
        Arc::new(Executable::new(tempfile::tempfile().unwrap(), "x").unwrap())
    }

    /// A table of one page with that many rows.
    fn table(rows: u32) -> Table {
        Table {
            pages: vec![0, rows],
            rows: (0..rows).map(|at| at << 16).collect(),
            ..Table::default()
        }
    }

    #[test]
    fn what_most_samples_ask_for_is_made_next_and_only_once() {
        let mut tables = Tables::new(MIB, &mut SharedMemory::new(1));
        let [mapped, gone_through, idle] = [executable(), executable(), executable()];
        let ids = [&mapped, &gone_through, &idle].map(|file| tables.want(file).unwrap());
        tables.add_weight(ids[0], 15);
        assert!(!tables.hit(ids[1], 1), "its file is held open");
        let next: Vec<_> = std::iter::from_fn(|| Some(tables.next_job()?.0)).collect();
        assert_eq!(next, [ids[1], ids[0], ids[2]]);
        assert_eq!(tables.want(&mapped), Some(ids[0]), "it is being made");
        assert!(tables.next_job().is_none());
        tables.fail(ids[0], "why");
        assert!(!tables.hit(ids[0], 2));
        assert!(tables.next_job().is_none(), "there is none, however often it is asked for");
        assert_eq!(tables.tallies().failed["why"], 1);
    }

    #[test]
    fn one_that_found_no_room_waits_and_asks_for_its_file_when_there_is_some() {
        let mut memory = SharedMemory::new(1);
        let mut tables = Tables::new(MIB, &mut memory);
        let files: Vec<_> = (0..5).map(|_| executable()).collect();
        let ids: Vec<_> = files.iter().map(|file| tables.want(file).unwrap()).collect();
        while tables.next_job().is_some() {}
        let large = table(60_000);
        for id in &ids[..4] {
            tables.hit(*id, 1_000);
            tables.place(*id, &large, &mut memory, 1_000).unwrap();
        }
        assert_eq!(tables.place(ids[4], &large, &mut memory, 1_000), Err(Refused::NoRoom));
        tables.hit(ids[4], 1_001);
        assert_eq!(tables.victim(ids[4], Size::of(&large), 1_001), Err(Refused::NoRoom));
        tables.set_no_room(ids[4], Size::of(&large), 1_001);
        assert!(!tables.hit(ids[4], 2_000), "it waits");
        for id in &ids[..4] {
            tables.hit(*id, 11_000);
        }
        assert!(!tables.hit(ids[4], 11_001), "all others are in use");
        assert!(!tables.hit(ids[4], 21_001), "it waits longer than the first time");
        assert!(tables.hit(ids[4], 31_001));
        tables.want(&files[4]);
        assert_eq!(tables.next_job().map(|(id, _)| id), Some(ids[4]));
        assert_eq!(tables.victim(ids[4], Size::of(&large), 31_001), Ok(Some(ids[0])));
    }

    #[test]
    fn executables_that_nobody_maps_are_forgotten_unless_their_table_may_be_of_use() {
        let mut memory = SharedMemory::new(1);
        let mut tables = Tables::new(MIB, &mut memory);
        let [used, resident, failed] = [executable(), executable(), executable()];
        let ids = [&used, &resident, &failed].map(|file| tables.want(file).unwrap());
        tables.place(ids[1], &table(3), &mut memory, 0).unwrap();
        tables.fail(ids[2], "why");
        tables.forget_unused(&|id| id == ids[0], 0);
        assert_eq!((tables.by_key.len(), tables.resident()), (2, 1));
        let fresh = tables.want(&executable());
        assert_eq!(fresh, Some(ids[2]), "numbers of what is forgotten are used again");
    }
}
