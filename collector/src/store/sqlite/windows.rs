//! Reads what each unit did in each window, and names the stacks of all windows once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use profiler_common::profile::Frame;
use rusqlite::Connection;

use super::SqliteStore;
use super::block::Content;
use super::dictionary::Names;
use super::level::Level;
use super::lives::ends_of;
use super::parts::Parts;
use super::read::{Runner, Series, find_series, limit, parse_labels};
use crate::store::{Dictionary, Selection, StoreError, TimeRange, UnitWindow, WindowProfile};

/// Most rows of units and windows in one answer: a day of minutes of 70 units.
const UNIT_WINDOWS_MAX: usize = 100_000;

/// Most (window, unit, stack) counts in one answer; 10 million take about 300 MB.
const COUNTS_MAX: usize = 10_000_000;

/// Counts whose memory a syscall's histogram takes, about 1 KB.
const COUNTS_OF_SYSCALL: usize = 30;

/// Most frames in all stacks of one answer, each stack counted once; 100 million take 400 MB.
const STACK_FRAMES_MAX: usize = 100_000_000;

const ALWAYS: TimeRange = TimeRange { start_unix_ns: 0, end_unix_ns: u64::MAX };

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
        let mut rows = Rows::default();
        let mut parts = Parts::new(&reader, range, Level::within(window_ns))?;
        for series in find_series(&reader, selection)? {
            rows.add(&mut parts, &series, window_ns)?;
        }
        let mut namer = Namer::new(&self.names, &reader);
        let mut numbered = Vec::with_capacity(rows.rows.len());
        for row in rows.rows.values_mut() {
            let stacks = std::mem::take(&mut row.content.stacks);
            let counts: Result<Vec<(u32, u64)>, StoreError> =
                stacks.iter().map(|(id, count)| Ok((namer.stack(id)?, count))).collect();
            numbered.push(counts?);
        }
        let dictionary = namer.into_dictionary();
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
#[derive(Default)]
struct Rows {
    rows: BTreeMap<(u64, Arc<Runner>), Row>,
    /// Start of the first window that is kept.
    since: HashMap<Arc<Runner>, u64>,
    /// What is held in memory, in counts.
    counts: usize,
}

impl Rows {
    fn add(
        &mut self,
        parts: &mut Parts<'_>,
        series: &Series,
        window_ns: u64,
    ) -> Result<(), StoreError> {
        let machine: Arc<str> = machine_of(&series.labels)?.into();
        let runner = Arc::new(series.runner.clone());
        // A unit has several series when its labels differ, as those of its executables do: the first of all counts.
        if let Some((first, _)) = ends_of(parts.connection, series.id, ALWAYS)? {
            let since = self.since.entry(Arc::clone(&runner)).or_insert(first);
            *since = first.min(*since);
        }
        parts.of_series(series.id, |window| {
            let start = window.start_unix_ns / window_ns * window_ns;
            let row = self
                .rows
                .entry((start, Arc::clone(&runner)))
                .or_insert_with(|| Row { machine: Arc::clone(&machine), ..Row::default() });
            row.cpu_ns = row.cpu_ns.saturating_add(window.cpu_ns);
            let before = size(&row.content);
            row.content.merge(&window.content);
            self.counts += size(&row.content) - before;
            limit(self.rows.len(), UNIT_WINDOWS_MAX, "windows of units")?;
            limit(self.counts, COUNTS_MAX, "stack counts")
        })
    }
}

/// Names stacks and frames, each once for all windows of an answer.
pub(super) struct Namer<'n> {
    names: &'n Names,
    connection: &'n Connection,
    stacks: HashMap<i64, u32>,
    frames: HashMap<i64, u32>,
    named_stacks: Vec<Box<[u32]>>,
    named_frames: Vec<Frame>,
    stack_frames: usize,
}

impl<'n> Namer<'n> {
    pub(super) fn new(names: &'n Names, connection: &'n Connection) -> Self {
        Self {
            names,
            connection,
            stacks: HashMap::new(),
            frames: HashMap::new(),
            named_stacks: Vec::new(),
            named_frames: Vec::new(),
            stack_frames: 0,
        }
    }

    /// What the numbers mean.
    pub(super) fn into_dictionary(self) -> Arc<Dictionary> {
        Arc::new(Dictionary::new(self.named_frames, self.named_stacks))
    }

    /// Number of a stack in the dictionary.
    pub(super) fn stack(&mut self, id: i64) -> Result<u32, StoreError> {
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
