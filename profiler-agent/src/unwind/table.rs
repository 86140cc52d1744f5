//! The table of one executable: rows that say from which address on which rule holds.

use profiler_common::abi::row::Rule;

/// How the frames of one executable are unwound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Its executable segments.
    pub segments: Vec<Segment>,
    /// Address of the first page as the linker gave it, a multiple of `PAGE_BYTES`.
    pub base: u64,
    /// First row of each page, and at last the number of rows. A page without rows has no rules.
    pub pages: Vec<u32>,
    /// Rows as the kernel reads them, but with indices into `rules`.
    pub rows: Vec<u32>,
    /// The rules; the first `RULES_FIXED` are the fixed ones.
    pub rules: Vec<Rule>,
}

/// A segment of an executable that holds code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Address of its start as the linker gave it.
    pub address: u64,
    /// Its size in the file.
    pub bytes: u64,
}

/// Smallest page of memory; mappings start at multiples of it.
const MEMORY_PAGE_BYTES: u64 = 4096;

impl Table {
    /// Returns what to subtract, wrapping, from an address in a mapping to get its offset from `base`; `None` when the
    /// mapping starts outside of all executable segments.
    #[must_use]
    pub fn bias(&self, mapping_start: u64, mapping_file_offset: u64) -> Option<u64> {
        // Segments may share a page of the file: the one that begins on the page is meant before one that ends there.
        let begins = |segment: &&Segment| segment.first_page() == mapping_file_offset;
        let holds = |segment: &&Segment| {
            segment.first_page() <= mapping_file_offset
                && mapping_file_offset < segment.file_offset.saturating_add(segment.bytes)
        };
        let segment =
            self.segments.iter().find(begins).or_else(|| self.segments.iter().find(holds))?;
        let linked =
            segment.address.wrapping_add(mapping_file_offset.wrapping_sub(segment.file_offset));
        Some(mapping_start.wrapping_sub(linked).wrapping_add(self.base))
    }

    /// Memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.segments)
            + size_of_val(&*self.pages)
            + size_of_val(&*self.rows)
            + size_of_val(&*self.rules)
    }
}

impl Segment {
    /// Offset in the file of the page that it begins on.
    fn first_page(&self) -> u64 {
        self.file_offset & !(MEMORY_PAGE_BYTES - 1)
    }
}
