//! Reads what each unit did in each window, and names the stacks of all windows once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use profiler_common::profile::Frame;
use rusqlite::{Connection, params};

use super::block::{Content, Unpacker};
use super::dictionary::Names;
use super::read::{Runner, Series, find_series, limit, parse_labels};
use super::{SqliteStore, failed, signed, unsigned};
use crate::store::{
    Dictionary, Selection, StoreError, TimeRange, UnitWindow, WindowProfile, cancel,
};

/// Most rows of units and windows in one answer: a day of minutes of 70 units.
const UNIT_WINDOWS_MAX: usize = 100_000;

/// Most (window, unit, stack) counts in one answer; 10 million take about 300 MB.
const COUNTS_MAX: usize = 10_000_000;

/// Counts whose memory a syscall's histogram takes, about 1 KB.
const COUNTS_OF_SYSCALL: usize = 30;

/// Most frames in all stacks of one answer, each stack counted once; 100 million take 400 MB.
const STACK_FRAMES_MAX: usize = 100_000_000;

#[derive(Default)]
struct Row {
    machine: Arc<str>,
    cpu_ns: u64,
    content: Content,
}

impl SqliteStore {
    pub(super) fn unit_windows(
        &self,
        selection: &Selection,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        let window_ns = window_ns.max(1);
        let reader = self.readers.take()?;
        let mut rows = Rows {
            rows: BTreeMap::new(),
            since: HashMap::new(),
            unpacker: Unpacker::new()?,
            counts: 0,
        };
        for series in find_series(&reader, selection)? {
            rows.add(&reader, &series, range, window_ns)?;
        }
        let mut namer = Namer {
            names: &self.names,
            connection: &reader,
            stacks: HashMap::new(),
            frames: HashMap::new(),
            named_stacks: Vec::new(),
            named_frames: Vec::new(),
            stack_frames: 0,
        };
        let mut numbered = Vec::with_capacity(rows.rows.len());
        for row in rows.rows.values_mut() {
            let stacks = std::mem::take(&mut row.content.stacks).into_iter();
            let counts: Result<Vec<(u32, u64)>, StoreError> =
                stacks.map(|(id, count)| Ok((namer.stack(id)?, count))).collect();
            numbered.push(counts?);
        }
        let dictionary = Arc::new(Dictionary::new(namer.named_frames, namer.named_stacks));
        let window =
            |(((start, runner), row), counts): (((u64, Arc<Runner>), Row), _)| UnitWindow {
                host: runner.host.clone(),
                unit: runner.unit.clone(),
                version: runner.version.clone(),
                machine: row.machine.to_string(),
                since_unix_ns: rows.since.get(&runner).copied().unwrap_or(start),
                start_unix_ns: start,
                cpu_ns: row.cpu_ns,
                profile: WindowProfile::new(Arc::clone(&dictionary), counts),
                quality: row.content.quality,
                lost: row.content.lost,
                syscalls: row.content.syscalls.into_values().collect(),
            };
        Ok(rows.rows.into_iter().zip(numbered).map(window).collect())
    }
}

/// Windows of units, as far as they were read.
struct Rows {
    rows: BTreeMap<(u64, Arc<Runner>), Row>,
    /// Start of the first window that is kept.
    since: HashMap<Arc<Runner>, u64>,
    unpacker: Unpacker,
    /// What is held in memory, in counts.
    counts: usize,
}

impl Rows {
    fn add(
        &mut self,
        reader: &Connection,
        series: &Series,
        range: TimeRange,
        window_ns: u64,
    ) -> Result<(), StoreError> {
        let read = failed("read profiles");
        let machine: Arc<str> = machine_of(&series.labels)?.into();
        let runner = Arc::new(series.runner.clone());
        // A unit has several series when its labels differ, as those of its executables do: the first of all counts.
        if let Some(first) = first_start(reader, series.id).map_err(read)? {
            let since = self.since.entry(Arc::clone(&runner)).or_insert(first);
            *since = first.min(*since);
        }
        let mut find = reader
            .prepare_cached(
                "SELECT start_unix_ns, cpu_ns, data FROM block WHERE series = ?1 \
                 AND start_unix_ns >= ?2 AND start_unix_ns < ?3 ORDER BY start_unix_ns",
            )
            .map_err(read)?;
        let mut blocks = find
            .query(params![series.id, signed(range.start_unix_ns), signed(range.end_unix_ns)])
            .map_err(read)?;
        while let Some(block) = blocks.next().map_err(read)? {
            let start = unsigned(block.get(0).map_err(read)?) / window_ns * window_ns;
            let row = self
                .rows
                .entry((start, Arc::clone(&runner)))
                .or_insert_with(|| Row { machine: Arc::clone(&machine), ..Row::default() });
            let cpu_ns: i64 = block.get(1).map_err(read)?;
            row.cpu_ns = row.cpu_ns.saturating_add(unsigned(cpu_ns));
            let data = block.get_ref(2).map_err(read)?.as_blob();
            let data = data.map_err(|_text| StoreError::Damaged("a block is not a blob"))?;
            let before = size(&row.content);
            self.unpacker.unpack_into(data, &mut row.content)?;
            self.counts += size(&row.content) - before;
            cancel::check()?;
            limit(self.rows.len(), UNIT_WINDOWS_MAX, "windows of units")?;
            limit(self.counts, COUNTS_MAX, "stack counts")?;
        }
        Ok(())
    }
}

/// Names stacks and frames, each once for all windows of an answer.
struct Namer<'n> {
    names: &'n Names,
    connection: &'n Connection,
    stacks: HashMap<i64, u32>,
    frames: HashMap<i64, u32>,
    named_stacks: Vec<Box<[u32]>>,
    named_frames: Vec<Frame>,
    stack_frames: usize,
}

impl Namer<'_> {
    /// Number of a stack in the dictionary.
    fn stack(&mut self, id: i64) -> Result<u32, StoreError> {
        if let Some(known) = self.stacks.get(&id) {
            return Ok(*known);
        }
        let frames = self.names.stack(self.connection, id)?;
        self.stack_frames += frames.len();
        limit(self.stack_frames, STACK_FRAMES_MAX, "frames in all stacks")?;
        let stack: Result<Box<[u32]>, StoreError> =
            frames.iter().map(|frame| self.frame(*frame)).collect();
        let number = number(self.named_stacks.len());
        self.named_stacks.push(stack?);
        self.stacks.insert(id, number);
        Ok(number)
    }

    fn frame(&mut self, id: i64) -> Result<u32, StoreError> {
        if let Some(known) = self.frames.get(&id) {
            return Ok(*known);
        }
        let frame = self.names.frame(self.connection, id)?;
        let number = number(self.named_frames.len());
        self.named_frames.push(Frame::clone(&frame));
        self.frames.insert(id, number);
        Ok(number)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 names fit in memory")
}

/// Start of the first block of a series, from the index.
fn first_start(connection: &Connection, series: i64) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT min(start_unix_ns) FROM block WHERE series = ?1")?
        .query_row([series], |row| row.get::<_, Option<i64>>(0))
        .map(|start| start.map(unsigned))
}

/// CPU model and kernel of the host of a series.
fn machine_of(labels: &str) -> Result<String, StoreError> {
    let mut labels = parse_labels(labels)?;
    let parts = ["cpu_model", "kernel"].map(|key| labels.remove(key).unwrap_or_default());
    let named: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    Ok(named.join(", "))
}

/// What is held in memory, in counts.
fn size(content: &Content) -> usize {
    content.stacks.len() + COUNTS_OF_SYSCALL * content.syscalls.len()
}
