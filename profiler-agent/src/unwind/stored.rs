//! A table as bytes on disk, and back. The bytes are as little trusted as any others.
//!
//! All numbers are little-endian: magic, version, checksum (XXH3) of what follows; base, and how many segments, pages, rows
//! and rules there are; then those.

use profiler_common::abi::row::{
    PAGE_BYTES, PAGE_ROWS_MAX, PAGES_MAX, RULES_FIXED, Rule, cfa, rbp, row_offset, row_rule,
};
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::Cursor;
use super::table::{Segment, Table};
use super::writer::{ROWS_MAX, fixed_rules};

/// First bytes of every file.
const MAGIC: [u8; 8] = *b"FWunwind";

/// Changes whenever the same executable would give another table, or the same table other bytes.
const VERSION: u32 = 2;

/// Most segments of code; linkers make one or two.
const SEGMENTS_MAX: usize = 256;

/// Bytes of magic, version and checksum, and of what stands before the lists.
const PREFIX_BYTES: usize = 8 + 4 + 8;
const COUNTS_BYTES: usize = 8 + 4 * 4;

/// Bytes of one segment, page or row, and rule.
const SEGMENT_BYTES: usize = 24;
const WORD_BYTES: usize = 4;
const RULE_BYTES: usize = 8;

/// Most bytes of one file.
pub(super) const STORED_BYTES_MAX: usize = PREFIX_BYTES
    + COUNTS_BYTES
    + SEGMENTS_MAX * SEGMENT_BYTES
    + (PAGES_MAX + 1 + ROWS_MAX) * WORD_BYTES
    + (1 << 16) * RULE_BYTES;

impl Table {
    /// Writes the table as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + COUNTS_BYTES + self.bytes());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(self.base.to_le_bytes());
        let counts = [self.segments.len(), self.pages.len(), self.rows.len(), self.rules.len()];
        bytes.extend(counts.iter().flat_map(|count| (*count as u32).to_le_bytes()));
        for segment in &self.segments {
            let fields = [segment.file_offset, segment.address, segment.bytes];
            bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        }
        bytes.extend(self.pages.iter().flat_map(|page| page.to_le_bytes()));
        bytes.extend(self.rows.iter().flat_map(|row| row.to_le_bytes()));
        for rule in &self.rules {
            bytes.extend([rule.cfa, rule.rbp]);
            bytes.extend(rule.rbp_offset.to_le_bytes());
            bytes.extend(rule.cfa_offset.to_le_bytes());
        }
        Self::with_checksum(bytes)
    }

    /// Gives the bytes of a table the checksum that fits them; bytes without room for one stay as they are.
    #[must_use]
    pub fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some((prefix, rest)) = bytes.split_at_mut_checked(PREFIX_BYTES) {
            prefix[PREFIX_BYTES - 8..].copy_from_slice(&xxh3_64(rest).to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for bytes that are damaged, of another version, or no valid table.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut at = Cursor::new(bytes);
        if at.take(MAGIC.len() as u64)? != MAGIC || at.u32()? != VERSION {
            return None;
        }
        let checksum = at.u64()?;
        if checksum != xxh3_64(at.rest()) {
            return None;
        }
        let table = read_lists(at)?;
        table.is_valid().then_some(table)
    }

    /// Whether every index is inside its list, and all is in order.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let Self { segments, base, pages, rows, rules } = self;
        if *self == Self::default() {
            return true;
        }
        segments.len() <= SEGMENTS_MAX
            && base % PAGE_BYTES == 0
            && (1..=PAGES_MAX + 1).contains(&pages.len())
            && pages.first() == Some(&0)
            && pages.last().is_some_and(|last| *last as usize == rows.len())
            && rows.len() <= ROWS_MAX
            && rules.len() <= 1 << 16
            && rules.get(..usize::from(RULES_FIXED)) == Some(&fixed_rules()[..])
            && rules.iter().all(is_rule)
            && rows.iter().all(|row| usize::from(row_rule(*row)) < rules.len())
            && pages.array_windows().all(|[first, next]| {
                let rows = rows.get(*first as usize..*next as usize);
                rows.is_some_and(is_page)
            })
    }
}

/// Whether these can be the rows of one page: none, or from offset 0 on in order.
fn is_page(rows: &[u32]) -> bool {
    rows.len() <= PAGE_ROWS_MAX
        && rows.first().is_none_or(|first| row_offset(*first) == 0)
        && rows.array_windows().all(|[row, next]| row_offset(*row) < row_offset(*next))
}

/// Whether the walk knows such a rule.
fn is_rule(rule: &Rule) -> bool {
    let is_known = match rule.cfa & cfa::FORM_MASK {
        0 => rule.cfa <= cfa::PLT,
        cfa::REGISTER | cfa::DEREF => true,
        cfa::RETURN_IN_REGISTER => (0..16).contains(&rule.rbp_offset),
        _ => false,
    };
    is_known && rule.rbp <= rbp::UNDEFINED
}

/// Reads the lists with their counts; all bytes must be used.
fn read_lists(mut at: Cursor<'_>) -> Option<Table> {
    let base = at.u64()?;
    let [segments, pages, rows, rules] = [at.u32()?, at.u32()?, at.u32()?, at.u32()?];
    let mut list = |count: u32, bytes: usize| at.take(u64::from(count) * bytes as u64);
    let segments = list(segments, SEGMENT_BYTES)?.as_chunks::<SEGMENT_BYTES>().0;
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes.as_chunks::<WORD_BYTES>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    };
    let (pages, rows) = (words(list(pages, WORD_BYTES)?), words(list(rows, WORD_BYTES)?));
    let rules = list(rules, RULE_BYTES)?.as_chunks::<RULE_BYTES>().0;
    let segments = segments.iter().map(|segment| {
        let mut at = Cursor::new(segment);
        Some(Segment { file_offset: at.u64()?, address: at.u64()?, bytes: at.u64()? })
    });
    let rules = rules.iter().map(|[cfa, rbp, r0, r1, c0, c1, c2, c3]| Rule {
        cfa: *cfa,
        rbp: *rbp,
        rbp_offset: i16::from_le_bytes([*r0, *r1]),
        cfa_offset: i32::from_le_bytes([*c0, *c1, *c2, *c3]),
    });
    let table = Table {
        segments: segments.collect::<Option<_>>()?,
        base,
        pages,
        rows,
        rules: rules.collect(),
    };
    at.is_empty().then_some(table)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::unwind::compact;

    /// The table of this test, which has everything.
    static OWN: LazyLock<Table> = LazyLock::new(|| {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        compact::build(&bytes[..]).unwrap()
    });

    #[test]
    fn a_table_survives_its_bytes() {
        let table = Table::default();
        assert_eq!(Table::from_bytes(&table.to_bytes()), Some(table));
        assert_eq!(Table::from_bytes(&OWN.to_bytes()).as_ref(), Some(&*OWN));
    }

    #[test]
    fn a_table_that_would_lead_the_walk_astray_is_not_valid() {
        let small = || Table {
            segments: Vec::new(),
            base: 0,
            pages: vec![0, 2, 2],
            rows: vec![4, 9 << 16],
            rules: [&fixed_rules()[..], &[Rule { cfa: cfa::REGISTER, ..Rule::NONE }]].concat(),
        };
        assert!(small().is_valid());
        let damages: [fn(&mut Table); 12] = [
            |table| table.base = 1,
            |table| table.pages = vec![],
            |table| table.pages = vec![1, 2],
            |table| table.pages = vec![0, 1],
            |table| table.pages = vec![0, 3, 2],
            |table| table.rows[0] = 5,
            |table| table.rows[0] = 1 << 16,
            |table| table.rows[1] = 0,
            |table| table.rules.truncate(3),
            |table| table.rules[1] = Rule::NONE,
            |table| table.rules[4].cfa = 0x40,
            |table| table.rules[4].rbp = 9,
        ];
        for (index, damage) in damages.iter().enumerate() {
            let mut table = small();
            damage(&mut table);
            assert!(!table.is_valid(), "damage {index}");
            assert_eq!(Table::from_bytes(&table.to_bytes()), None, "damage {index}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_changed_byte_anywhere_is_noticed(position: usize, change in 1u8..) {
            let mut bytes = OWN.to_bytes();
            let position = position % bytes.len();
            bytes[position] ^= change;
            prop_assert_eq!(Table::from_bytes(&bytes), None);
        }

        #[test]
        fn lies_with_the_right_checksum_give_a_valid_table_or_none(
            changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..4),
            length in 0usize..400,
        ) {
            let small = Table { rows: OWN.rows[..40].to_vec(), pages: vec![0, 40], ..Table::clone(&OWN) };
            let mut bytes = small.to_bytes();
            for (position, byte) in changes {
                bytes[PREFIX_BYTES + position] = byte;
            }
            if length % 4 == 0 {
                bytes.truncate(PREFIX_BYTES + length);
            }
            if let Some(table) = Table::from_bytes(&Table::with_checksum(bytes)) {
                prop_assert!(table.is_valid());
            }
        }
    }
}
