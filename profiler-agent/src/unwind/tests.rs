//! The manager against the kernel's lookups on maps in memory: whatever happens, each address finds the rule of its table.

use std::collections::BTreeMap;
use std::sync::Arc;

use profiler_common::abi::row::{
    CHUNK_ROWS, PAGE_BYTES, REUSE_DELAY_MS, RULES_FIXED, Rule, Space, cfa, row,
};
use profiler_common::abi::sample::WalkEnd;
use proptest::prelude::*;

use super::manager::Waiting;
use super::tables::{Found, TableId};
use super::tracked::{Bound, Tracked};
use super::upload::memory::SharedMemory;
use super::*;
use crate::drain::{ProcessSign, SignKind};
use crate::process::{Executable, ProcessKey, Status, read_status};

const CHUNK_BYTES: u64 = (CHUNK_ROWS * size_of::<u32>()) as u64;

/// Executables of the test; not all of their tables fit.
const TABLES: usize = 6;

/// Processes of the test.
const PROCESSES: u32 = 5;

/// The rule of a table at an offset.
fn expected_rule(table: usize, offset: u64) -> Rule {
    let cfa_offset =
        (table as i32 + 1) * 100_000 + (offset / PAGE_BYTES) as i32 * 100 + (offset % 7) as i32;
    Rule { cfa: cfa::REGISTER, cfa_offset, ..Rule::NONE }
}

/// A table with a rule for each byte of its pages.
fn table(number: usize) -> Table {
    let pages = 1 + number as u64 % 2;
    let bytes = pages * (PAGE_BYTES - 1);
    let segments = vec![Segment { file_offset: 0, address: 0, bytes: pages * PAGE_BYTES }];
    let mut table =
        Table { segments, pages: vec![0], rules: vec![Rule::NONE; 4], ..Table::default() };
    for page in 0..pages {
        for rest in 0..7 {
            let offset = (0..7).map(|at| page * PAGE_BYTES + at).find(|offset| offset % 7 == rest);
            table.rules.push(expected_rule(number, offset.unwrap()));
        }
        table.rows.extend((0..bytes / pages).map(|at| {
            let rest = (page * PAGE_BYTES + at) % 7;
            row(at as u16, RULES_FIXED + (page * 7 + rest) as u16)
        }));
        table.pages.push(table.rows.len() as u32);
    }
    table
}

fn code_bytes(number: usize) -> u64 {
    (1 + number as u64 % 2) * PAGE_BYTES
}

/// Where a process has an executable mapped.
fn mapped_at(tgid: u32, number: usize) -> u64 {
    0x1_0000_0000 * u64::from(tgid) + 0x100_0000 * (number as u64 + 1)
}

fn key(tgid: u32) -> ProcessKey {
    ProcessKey { tgid, start_ns: tgid.into() }
}

/// What each address of a space should find: start of a mapping, its executable, and whether its table was there.
type Layout = Vec<(u64, usize, bool)>;

struct World {
    memory: SharedMemory,
    unwinder: Unwinder,
    status: Status,
    tables: Vec<Table>,
    ids: Vec<TableId>,
    executables: Vec<Arc<Executable>>,
    layouts: BTreeMap<u32, Vec<usize>>,
    /// Walks that began with a space while its header was right.
    walks: Vec<(u64, Space, Layout)>,
    now: u64,
}

impl World {
    fn new(chunks: u64) -> Self {
        let memory = SharedMemory::new(chunks as usize);
        let options = UnwindOptions { bytes_max: chunks * CHUNK_BYTES, cache: None };
        let mut unwinder = Unwinder::start(Box::new(memory.clone()), &options).unwrap();
        unwinder.is_same = |_, _| true;
        let file = |_| Executable::new(tempfile::tempfile().unwrap(), "x").unwrap();
        let executables: Vec<Arc<Executable>> = (0..TABLES).map(file).map(Arc::new).collect();
        let ids = executables.iter().map(|file| unwinder.tables.want(file).unwrap()).collect();
        let own = ProcessKey { tgid: std::process::id(), start_ns: 0 };
        Self {
            memory,
            unwinder,
            status: read_status(own).unwrap(),
            tables: (0..TABLES).map(table).collect(),
            ids,
            executables,
            layouts: BTreeMap::new(),
            walks: Vec::new(),
            now: 0,
        }
    }

    fn map(&mut self, tgid: u32, set: u8) {
        let numbers: Vec<usize> = (0..TABLES).filter(|number| set & 1 << number != 0).collect();
        let bound = numbers.iter().map(|number| Bound {
            start: mapped_at(tgid, *number),
            end: mapped_at(tgid, *number) + code_bytes(*number),
            offset: 0,
            table: Some(self.ids[*number]),
        });
        let (bound, now) = (bound.collect(), self.now);
        let tracked = self.unwinder.tracked.entry(key(tgid)).or_insert_with(|| Tracked::new(now));
        tracked.set(self.status, bound);
        if tracked.dirty {
            self.unwinder.install(key(tgid), now);
        }
        if !numbers.is_empty() {
            self.layouts.insert(tgid, numbers);
        }
    }

    fn sign(&mut self, tgid: u32, kind: SignKind) {
        self.memory.kernel_removes(tgid);
        let sign = ProcessSign {
            key: key(tgid),
            kind,
            comm: String::new(),
            program: String::new(),
            cgroup_id: 0,
        };
        self.unwinder.observe(&sign, self.now);
        self.layouts.remove(&tgid);
    }

    /// A sample goes through an executable; its table is made if it is wanted.
    fn use_table(&mut self, number: usize) {
        let id = self.ids[number];
        if self.unwinder.tables.hit(id, self.now) {
            self.unwinder.tables.want(&self.executables[number]);
        }
        while let Some((id, _)) = self.unwinder.tables.next_job() {
            let number = self.ids.iter().position(|known| *known == id).unwrap();
            let table = self.tables[number].clone();
            let mut arrived = Vec::new();
            let waiting = Waiting { id, table, since_ms: self.now };
            self.unwinder.place(waiting, &mut arrived, self.now);
            self.install_arrived(&arrived);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.unwinder.spaces.settle(&mut *self.unwinder.upload, self.now);
        let arrived = self.unwinder.take_finished(self.now).unwrap();
        self.install_arrived(&arrived);
        self.unwinder.drop_exited(self.now);
        let now = self.now;
        self.walks.retain(|(began, ..)| began + REUSE_DELAY_MS > now);
    }

    fn install_arrived(&mut self, arrived: &[TableId]) {
        for key in self.unwinder.wake_users(arrived) {
            if self.unwinder.tracked[&key].exited_ms.is_none() {
                self.unwinder.install(key, self.now);
            }
        }
    }

    fn is_resident(&self, number: usize) -> bool {
        matches!(self.unwinder.tables.find(self.ids[number], 0, 0), Found::Placed { .. })
    }

    /// Checks every process that has a space, and every walk that is under way.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for (tgid, numbers) in &self.layouts {
            prop_assert!(self.memory.rule(*tgid, 1).is_err());
            if !self.unwinder.spaces.has(key(*tgid)) {
                continue;
            }
            let layout: Layout = numbers
                .iter()
                .map(|number| (mapped_at(*tgid, *number), *number, self.is_resident(*number)))
                .collect();
            check_layout(&layout, |pc| self.memory.rule(*tgid, pc))?;
            self.walks.push((self.now, self.memory.space(*tgid).unwrap(), layout));
        }
        for (_, space, layout) in &self.walks {
            check_layout(layout, |pc| self.memory.rule_in(*space, pc))?;
        }
        Ok(())
    }
}

fn check_layout(
    layout: &Layout,
    find: impl Fn(u64) -> Result<Rule, WalkEnd>,
) -> Result<(), TestCaseError> {
    for (start, number, resident) in layout {
        let bytes = code_bytes(*number);
        for offset in [0, 1, 4095, PAGE_BYTES - 2, bytes - PAGE_BYTES + 77, bytes - 2] {
            let expected =
                if *resident { Ok(expected_rule(*number, offset)) } else { Err(WalkEnd::NoTables) };
            prop_assert_eq!(find(start + offset), expected, "table {} at {}", number, offset);
        }
        prop_assert_eq!(find(start - 1), Err(WalkEnd::Unmapped));
        prop_assert_eq!(find(start + bytes), Err(WalkEnd::Unmapped));
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum Step {
    Map(u32, u8),
    Exec(u32),
    Exit(u32),
    Fork(u32),
    Use(usize),
    Pass(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..=PROCESSES, 1u8..1 << TABLES).prop_map(|(tgid, set)| Step::Map(tgid, set)),
        1 => (1..=PROCESSES).prop_map(Step::Exec),
        1 => (1..=PROCESSES).prop_map(Step::Exit),
        1 => (1..=PROCESSES).prop_map(Step::Fork),
        5 => (0..TABLES).prop_map(Step::Use),
        4 => prop_oneof![0u64..1500, 8_000u64..15_000].prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_an_address_finds_the_rule_of_its_table(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new(2);
        // A child of a process, never sampled, and what its parent had mapped then.
        let mut child: Option<(u32, Vec<usize>)> = None;
        for step in steps {
            match step {
                Step::Map(tgid, set) => world.map(tgid, set),
                Step::Exec(tgid) => world.sign(tgid, SignKind::Exec),
                Step::Exit(tgid) => {
                    world.sign(tgid, SignKind::Exit);
                    // Its number is not given to another process while anything of it is kept.
                    world.pass(20_000);
                }
                Step::Fork(tgid) => {
                    if let Some(numbers) = world.layouts.get(&tgid).cloned() {
                        world.memory.kernel_copies(tgid, 1000);
                        child = Some((tgid, numbers));
                    }
                }
                Step::Use(number) => world.use_table(number),
                Step::Pass(ms) => world.pass(ms),
                Step::Sweep => world.unwinder.spaces.void_retired(&mut *world.unwinder.upload, world.now),
            }
            world.check()?;
            if let Some((parent, numbers)) = &child {
                for number in numbers {
                    let found = world.memory.rule(1000, mapped_at(*parent, *number) + 5);
                    prop_assert!(found.is_err() || found == Ok(expected_rule(*number, 5)), "a child finds {:?}", found);
                }
            }
        }
    }
}

#[test]
fn a_full_budget_evicts_the_coldest_table_and_gives_it_back_when_it_is_used() {
    let mut world = World::new(1);
    world.map(1, 0b11_1111);
    // Tables 0, 2 and 4 take a quarter of the room each, the others half of it.
    for number in [0, 2, 1] {
        world.pass(1);
        world.use_table(number);
    }
    assert!([0, 2, 1].iter().all(|number| world.is_resident(*number)));
    world.pass(1);
    world.use_table(4);
    assert!(!world.is_resident(4), "no table is given up that was used just now");
    world.pass(20_000);
    world.use_table(2);
    world.use_table(4);
    for _ in 0..20 {
        world.pass(100);
    }
    let resident: Vec<usize> = (0..TABLES).filter(|number| world.is_resident(*number)).collect();
    assert_eq!(resident, [1, 2, 4], "table 0 was used longest ago");
    assert_eq!(world.unwinder.report().evicted, 1);
    world.check().unwrap();
    world.pass(20_000);
    world.use_table(0);
    for _ in 0..20 {
        world.pass(100);
    }
    assert!(world.is_resident(0));
    world.check().unwrap();
}

#[test]
fn a_process_that_ran_another_program_meanwhile_gets_no_space_of_the_old_one() {
    let mut world = World::new(1);
    world.unwinder.is_same = |_, _| false;
    world.map(1, 0b1);
    assert_eq!(world.memory.space(1), None);
    world.unwinder.is_same = |_, _| true;
    world.map(1, 0b1);
    assert!(world.memory.space(1).is_some());
    // The kernel took the space away, and the sign of that is not read yet.
    world.memory.kernel_removes(1);
    world.map(1, 0b11);
    assert_eq!(world.memory.space(1), None);
}

#[test]
fn processes_beyond_the_room_for_mappings_are_counted() {
    let mut world = World::new(1);
    for tgid in 1..40_000 {
        world.map(tgid, 0b1);
    }
    let report = world.unwinder.report();
    assert_eq!(report.spaces, 32_768);
    assert!(report.refused.contains(&("no room for mappings", 39_999 - 32_768)));
}
