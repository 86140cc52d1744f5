//! Finds room for the pages, rows and rules of tables, and writes them there.

use std::ops::Range;

use profiler_common::abi::row::{
    CHUNK_ROWS, CHUNKS_MAX, PAGE_ROWS_MAX, PAGES_MAX, Page, RULE_UNSUPPORTED, row, row_offset,
    row_rule,
};

use super::Table;
use super::arena::Arena;
use super::rules::RuleBook;
use super::upload::Upload;

/// Bytes of a row.
pub(super) const ROW_BYTES: u64 = size_of::<u32>() as u64;

/// Where a table lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Placement {
    /// Its first entry in the page arena.
    pub first_page: u32,
    /// Its number of pages.
    pub pages: u32,
    rows: Vec<RowRange>,
}

/// Rows that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowRange {
    chunk: u16,
    first: u32,
    rows: u32,
}

/// Why a table has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no room now.
    NoRoom,
    /// The table is none: its pages do not fit its rows.
    Malformed,
}

/// Room that a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Size {
    /// Entries of the page arena.
    pub pages: u64,
    /// Rows.
    pub rows: u64,
}

impl Size {
    /// The room that a table takes.
    pub(super) fn of(table: &Table) -> Self {
        Self { pages: table.pages.len().saturating_sub(1) as u64, rows: table.rows.len() as u64 }
    }
}

impl Placement {
    /// The room that it takes.
    pub(super) fn size(&self) -> Size {
        let rows = self.rows.iter().map(|range| u64::from(range.rows)).sum();
        Size { pages: u64::from(self.pages), rows }
    }
}

/// Room for pages and rows.
#[derive(Debug)]
pub(super) struct Room {
    chunks: Vec<Arena>,
    chunks_max: usize,
    pages: Arena,
    rules: RuleBook,
}

impl Room {
    /// Room for `bytes_max` bytes of rows; what is taken of it grows as it is needed.
    pub(super) fn new(bytes_max: u64, upload: &mut dyn Upload) -> Self {
        let chunks = (bytes_max / ROW_BYTES) / CHUNK_ROWS as u64;
        Self {
            chunks: Vec::new(),
            chunks_max: usize::try_from(chunks).unwrap_or(CHUNKS_MAX).clamp(1, CHUNKS_MAX),
            pages: Arena::new(PAGES_MAX as u32),
            rules: RuleBook::new(upload),
        }
    }

    /// Writes a table to where there is room for it.
    pub(super) fn place(
        &mut self,
        table: &Table,
        upload: &mut dyn Upload,
        now_ms: u64,
    ) -> Result<Placement, Refused> {
        check(table)?;
        let pages = table.pages.len().saturating_sub(1) as u32;
        let first_page = self.pages.take(pages, now_ms).ok_or(Refused::NoRoom)?;
        let mut placement = Placement { first_page, pages, rows: Vec::new() };
        let mut entries = vec![Page::default(); pages as usize];
        let numbers = self.rules.numbers_of(&table.rules, upload);
        let mut writer = Writer { table, numbers: &numbers, upload, entries: &mut entries, now_ms };
        match self.place_rows(0..pages as usize, &mut writer, &mut placement.rows) {
            Ok(()) => {
                upload.write_pages(first_page, &entries);
                Ok(placement)
            }
            Err(refused) => {
                self.release(&placement, now_ms);
                Err(refused)
            }
        }
    }

    /// Gives up the room of a table.
    pub(super) fn release(&mut self, placement: &Placement, now_ms: u64) {
        self.pages.give_back(placement.first_page, placement.pages, now_ms);
        for range in &placement.rows {
            if let Some(chunk) = self.chunks.get_mut(usize::from(range.chunk)) {
                chunk.give_back(range.first, range.rows, now_ms);
            }
        }
    }

    /// What is not in use; some of it may still have to rest.
    pub(super) fn left(&self) -> Size {
        let taken: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.taken())).sum();
        Size {
            pages: PAGES_MAX as u64 - u64::from(self.pages.taken()),
            rows: self.chunks_max as u64 * CHUNK_ROWS as u64 - taken,
        }
    }

    /// Whether room was given up that cannot be used yet.
    pub(super) fn is_settling(&self) -> bool {
        self.pages.is_settling() || self.chunks.iter().any(Arena::is_settling)
    }

    /// Number of chunks that the kernel holds.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The rules of all tables.
    pub(super) fn rules(&self) -> &RuleBook {
        &self.rules
    }

    /// Places the rows of some pages together, or else in halves.
    fn place_rows(
        &mut self,
        pages: Range<usize>,
        writer: &mut Writer<'_>,
        placed: &mut Vec<RowRange>,
    ) -> Result<(), Refused> {
        if pages.is_empty() || writer.rows_of(&pages).is_empty() {
            return Ok(());
        }
        let rows = writer.rows_of(&pages);
        // Fits: a table has at most as many rows as all chunks.
        let length = rows.len() as u32;
        let single = pages.len() == 1;
        if let Some((chunk, first)) = self.take_rows(length, single, writer) {
            let range = RowRange { chunk, first, rows: length };
            placed.push(range);
            return writer.write(pages, range);
        }
        if single {
            return Err(Refused::NoRoom);
        }
        let middle = pages.start + pages.len() / 2;
        self.place_rows(pages.start..middle, writer, placed)?;
        self.place_rows(middle..pages.end, writer, placed)
    }

    /// Takes rows in a chunk; adds one when there is none with room and what is asked for fills much of it, or must lie
    /// together.
    fn take_rows(
        &mut self,
        rows: u32,
        together: bool,
        writer: &mut Writer<'_>,
    ) -> Option<(u16, u32)> {
        if rows as usize > CHUNK_ROWS {
            return None;
        }
        for (number, chunk) in self.chunks.iter_mut().enumerate() {
            if let Some(first) = chunk.take(rows, writer.now_ms) {
                return Some((number as u16, first));
            }
        }
        let worth_a_chunk = together || rows as usize >= CHUNK_ROWS / 4;
        if !worth_a_chunk || self.chunks.len() >= self.chunks_max {
            return None;
        }
        if let Err(error) = writer.upload.add_chunk() {
            tracing::warn!(
                "no more memory for unwind tables than {} MiB: {error:#}",
                self.chunks.len()
            );
            self.chunks_max = self.chunks.len();
            return None;
        }
        let mut chunk = Arena::new(CHUNK_ROWS as u32);
        let first = chunk.take(rows, writer.now_ms)?;
        self.chunks.push(chunk);
        Some(((self.chunks.len() - 1) as u16, first))
    }
}

/// A table on its way.
struct Writer<'w> {
    table: &'w Table,
    /// Number in the rule arena of each of its rules.
    numbers: &'w [u16],
    upload: &'w mut dyn Upload,
    entries: &'w mut [Page],
    now_ms: u64,
}

impl Writer<'_> {
    fn rows_of(&self, pages: &Range<usize>) -> Range<usize> {
        self.table.pages[pages.start] as usize..self.table.pages[pages.end] as usize
    }

    fn write(&mut self, pages: Range<usize>, range: RowRange) -> Result<(), Refused> {
        let source = self.rows_of(&pages);
        let origin = source.start as u32;
        let rows: Vec<u32> =
            self.table.rows[source].iter().map(|local| self.global(*local)).collect();
        if let Err(error) = self.upload.write_rows(range.chunk, range.first, &rows) {
            tracing::warn!("failed to write an unwind table: {error:#}");
            return Err(Refused::NoRoom);
        }
        for page in pages {
            let rows = self.rows_of(&(page..page + 1));
            // Fits: both are checked by `check`.
            self.entries[page] = Page {
                first_row: range.first + (rows.start as u32 - origin),
                chunk: range.chunk,
                rows: rows.len() as u16,
            };
        }
        Ok(())
    }

    fn global(&self, local: u32) -> u32 {
        let rule = self.numbers.get(usize::from(row_rule(local))).copied();
        row(row_offset(local), rule.unwrap_or(RULE_UNSUPPORTED))
    }
}

/// Looks whether the pages of a table are ranges of its rows that fit the kernel's limits.
fn check(table: &Table) -> Result<(), Refused> {
    let last = table.pages.last().copied().unwrap_or_default();
    let sound = |pages: &[u32]| match pages {
        [first, next] => {
            next.checked_sub(*first).is_some_and(|rows| rows as usize <= PAGE_ROWS_MAX)
        }
        _ => false,
    };
    let sorted = table.pages.windows(2).all(sound);
    if last as usize != table.rows.len() || !sorted {
        return Err(Refused::Malformed);
    }
    if table.pages.len() > PAGES_MAX || table.rows.len() > CHUNKS_MAX * CHUNK_ROWS {
        return Err(Refused::NoRoom);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use profiler_common::abi::row::{REUSE_DELAY_MS, Rule, cfa};

    use super::super::upload::memory::SharedMemory;
    use super::*;

    const CHUNK_BYTES: u64 = CHUNK_ROWS as u64 * ROW_BYTES;

    /// A table of pages with that many rows each.
    fn table(pages: &[u32]) -> Table {
        let mut table = Table { rules: vec![Rule::NONE; 5], ..Table::default() };
        table.rules[4] = Rule { cfa: cfa::REGISTER, cfa_offset: pages.len() as i32, ..Rule::NONE };
        table.pages.push(0);
        for rows in pages {
            table.rows.extend((0..*rows).map(|at| row(at as u16, 4)));
            table.pages.push(table.rows.len() as u32);
        }
        table
    }

    #[test]
    fn a_table_larger_than_a_chunk_is_split_between_pages() {
        let mut memory = SharedMemory::new(3);
        let mut room = Room::new(3 * CHUNK_BYTES, &mut memory);
        let large = table(&[60_000; 7]);
        let placement = room.place(&large, &mut memory, 0).unwrap();
        assert_eq!(placement.size(), Size { pages: 7, rows: 420_000 });
        for page in 0..7 {
            let expected: Vec<u32> = (0..60_000).map(|at| row(at as u16, 4)).collect();
            assert!(rows_of(&memory, page) == expected);
        }
    }

    /// The rows that the kernel sees of a page.
    fn rows_of(memory: &SharedMemory, page: usize) -> Vec<u32> {
        let memory = &*memory.0.lock().unwrap();
        let Page { first_row, chunk, rows } = memory.pages[page];
        let (first, rows) = (first_row as usize, usize::from(rows));
        memory.chunks[usize::from(chunk)][first..first + rows].to_vec()
    }

    #[test]
    fn what_finds_no_room_takes_none() {
        let mut memory = SharedMemory::new(1);
        let mut room = Room::new(CHUNK_BYTES, &mut memory);
        let before = room.left();
        assert_eq!(room.place(&table(&[60_000; 5]), &mut memory, 0), Err(Refused::NoRoom));
        assert_eq!(room.left(), before);
        let placement = room.place(&table(&[60_000; 4]), &mut memory, REUSE_DELAY_MS).unwrap();
        assert_eq!(
            room.place(&table(&[60_000]), &mut memory, REUSE_DELAY_MS),
            Err(Refused::NoRoom)
        );
        room.release(&placement, REUSE_DELAY_MS);
        assert!(room.is_settling());
        assert!(room.place(&table(&[60_000]), &mut memory, 2 * REUSE_DELAY_MS).is_ok());
    }

    #[test]
    fn a_kernel_without_memory_ends_the_growth() {
        let mut memory = SharedMemory::new(1);
        let mut room = Room::new(8 * CHUNK_BYTES, &mut memory);
        room.place(&table(&[60_000; 4]), &mut memory, 0).unwrap();
        assert_eq!(room.place(&table(&[60_000]), &mut memory, 0), Err(Refused::NoRoom));
        assert_eq!(room.left().rows, CHUNK_ROWS as u64 - 240_000);
    }

    #[test]
    fn tables_that_lie_are_refused() {
        let mut memory = SharedMemory::new(1);
        let mut room = Room::new(CHUNK_BYTES, &mut memory);
        let mut beyond = table(&[3]);
        beyond.pages[1] = 4;
        let mut backwards = table(&[3, 3]);
        backwards.pages[1] = 7;
        for lie in [beyond, backwards, table(&[65_536])] {
            assert_eq!(room.place(&lie, &mut memory, 0), Err(Refused::Malformed));
        }
        assert_eq!(room.place(&Table::default(), &mut memory, 0), Ok(Placement::default()));
        let mut unknown_rule = table(&[1]);
        unknown_rule.rows[0] = row(0, 99);
        room.place(&unknown_rule, &mut memory, 0).unwrap();
        assert_eq!(memory.0.lock().unwrap().chunks[0][0], row(0, RULE_UNSUPPORTED));
    }
}
