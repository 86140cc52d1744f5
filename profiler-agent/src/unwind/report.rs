//! What the manager counted, for metrics and for people.

use profiler_common::abi::row::{
    CHUNK_ROWS, MAPPING_ROWS_MAX, MappingRow, PAGES_MAX, Page, RULES_MAX, Rule,
};

use super::Unwinder;
use super::placement::ROW_BYTES;

/// How the tables stand, and what was counted since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UnwindReport {
    /// Tables that the kernel has.
    pub tables: u64,
    /// Bytes of their rows.
    pub table_bytes: u64,
    /// Tables that shall be made or are being made.
    pub wanted: u64,
    /// Processes with tables.
    pub spaces: u64,
    /// Different rules.
    pub rules: u64,
    /// Bytes of the kernel's memory for all of it.
    pub kernel_bytes: u64,
    /// Tables made.
    pub built: u64,
    /// Tables loaded from the cache.
    pub loaded: u64,
    /// Time spent on both, in seconds.
    pub build_seconds: f64,
    /// Tables given up for others.
    pub evicted: u64,
    /// What has no table or space, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

impl Unwinder {
    /// Tells how the tables stand.
    #[must_use]
    pub fn report(&self) -> UnwindReport {
        let tallies = self.tables.tallies();
        let room = self.tables.room();
        let spaces = self.spaces.tallies();
        let fixed = MAPPING_ROWS_MAX * size_of::<MappingRow>()
            + PAGES_MAX * size_of::<Page>()
            + RULES_MAX * size_of::<Rule>();
        let chunks = room.chunks() as u64 * CHUNK_ROWS as u64 * ROW_BYTES;
        let refused = tallies.failed.iter().map(|(reason, count)| (*reason, *count)).chain([
            ("no room", tallies.no_room),
            ("rule without number", room.rules().refused()),
            ("no room for mappings", spaces.no_room),
            ("too many mappings", spaces.mappings_left_out),
            ("too many executables", self.left_out.executables),
            ("too many processes", self.left_out.processes),
            ("not opened", self.left_out.unopened),
        ]);
        UnwindReport {
            tables: self.tables.resident() as u64,
            table_bytes: self.tables.resident_bytes(),
            wanted: self.tables.wanted() as u64,
            spaces: self.spaces.len() as u64,
            rules: room.rules().len() as u64,
            kernel_bytes: fixed as u64 + chunks,
            built: self.built,
            loaded: self.loaded,
            build_seconds: self.build_seconds,
            evicted: tallies.evicted,
            refused: refused.collect(),
        }
    }
}
