//! Unwind tables as the kernel program reads them: spaces, mappings, pages, rows and rules.
//!
//! How a program counter finds its rule, each arrow one lookup:
//!
//! ```text
//! tgid → Space → MappingRow (binary search) → Page (index) → row (binary search) → Rule (index)
//! ```
//!
//! All but the spaces are arenas: one large value that the agent maps into its memory, shares out, and writes to while
//! the kernel reads. What is freed there is not used again before [`REUSE_DELAY_MS`] went by.

/// Code is cut into pages of 64 KiB, so that a row needs only 16 bits of the address.
pub const PAGE_SHIFT: u32 = 16;

/// Bytes of code of one page.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// Rows of one chunk: 1 MiB. Chunks are made when they are needed.
pub const CHUNK_ROWS: usize = 1 << 18;

/// Most chunks: 64 MiB of rows, about 17 million. The agent's budget is usually smaller.
pub const CHUNKS_MAX: usize = 64;

/// Most rows of a page; one for nearly every byte.
pub const PAGE_ROWS_MAX: usize = u16::MAX as usize;

/// Entries of the page arena: 4 GiB of code.
pub const PAGES_MAX: usize = 1 << 16;

/// Entries of the mapping arena: 4,000 processes with 15 executable mappings and a header each; 2 MiB.
pub const MAPPING_ROWS_MAX: usize = 1 << 16;

/// Most executable mappings of one process that are unwound by tables; browsers have about 300.
pub const SPACE_MAPPINGS_MAX: usize = 1023;

/// Entries of the rule arena; a host with thousands of programs has some thousand different rules.
pub const RULES_MAX: usize = 1 << 16;

/// Most processes with tables.
pub const SPACES_MAX: u32 = 16_384;

/// Entries of the cache from address to rule, for each CPU: 64 KiB. An address may be in one of two neighbours.
pub const RULE_CACHE_ENTRIES: usize = 1 << 12;

/// Time after which nobody in the kernel can still read what was freed. A walk takes microseconds, and is not
/// preempted.
pub const REUSE_DELAY_MS: u64 = 1000;

/// Binary search steps that find one of [`SPACE_MAPPINGS_MAX`] mappings.
pub const MAPPING_STEPS: u32 = 10;

/// Binary search steps that find one of [`PAGE_ROWS_MAX`] rows.
pub const ROW_STEPS: u32 = 16;

const _: () = assert!(SPACE_MAPPINGS_MAX < 1 << MAPPING_STEPS);
const _: () = assert!(PAGE_ROWS_MAX < 1 << ROW_STEPS);

/// The tables of one process: value of the map `SPACES`, whose key is the tgid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Space {
    /// Start of the process, as in a sample; 0 fits any.
    pub start_ns: u64,
    /// Number of this space; it changes whenever its mappings do, and none is used twice.
    pub id: u32,
    /// Index of the header in the mapping arena; the mappings stand behind it, sorted by address.
    pub header: u32,
    /// Number of mappings.
    pub mappings: u32,
    /// Unused, zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Space>() == 24);

/// One executable mapping of a process, or the header before its mappings.
///
/// A header holds the number of its space in `start` and zeros in the other fields: a space whose header has another
/// number is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct MappingRow {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
    /// What is subtracted from an address, wrapping, to get the offset from the first page of the table.
    pub bias: u64,
    /// First entry of the table in the page arena; [`FIRST_PAGE_PENDING`] where the table is not made yet.
    pub first_page: u32,
    /// Number of pages of the table; 0 where the mapping has no table.
    pub pages: u32,
}

const _: () = assert!(size_of::<MappingRow>() == 32);

/// Value of [`MappingRow::first_page`] for code whose table is not made yet. A walk ends there: the frame pointer of
/// code that has a table is likely to be something else.
pub const FIRST_PAGE_PENDING: u32 = u32::MAX;

/// The rows of one page of code; entry of the page arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Page {
    /// Index of the first row in its chunk; all rows of a page are in one chunk.
    pub first_row: u32,
    /// Which chunk.
    pub chunk: u16,
    /// Number of rows, sorted by address; the first one begins at offset 0. A page without rows has no rules.
    pub rows: u16,
}

const _: () = assert!(size_of::<Page>() == 8);

/// One row: from an offset in its page on, a rule holds until the next row. Rows compare as their numbers.
#[must_use]
pub const fn row(offset: u16, rule: u16) -> u32 {
    (offset as u32) << 16 | rule as u32
}

/// Offset in its page from which a row holds.
#[must_use]
pub const fn row_offset(row: u32) -> u16 {
    (row >> 16) as u16
}

/// Index of the rule of a row in the rule arena.
#[must_use]
pub const fn row_rule(row: u32) -> u16 {
    row as u16
}

/// How to get from a frame to its caller. The return address lies right below the canonical frame address (CFA),
/// unless the rule says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Rule {
    /// How the CFA is computed; see [`cfa`].
    pub cfa: u8,
    /// Where the caller's rbp is; see [`rbp`].
    pub rbp: u8,
    /// Operand of `rbp`.
    pub rbp_offset: i16,
    /// Operand of `cfa`.
    pub cfa_offset: i32,
}

const _: () = assert!(size_of::<Rule>() == 8);

impl Rule {
    /// No table says how; the frame pointer may.
    pub const NONE: Self = Self { cfa: cfa::NONE, rbp: rbp::SAME, rbp_offset: 0, cfa_offset: 0 };
    /// The return address is undefined: this is the outermost frame.
    pub const ROOT: Self = Self { cfa: cfa::ROOT, ..Self::NONE };
    /// A table says how, in a way that rules cannot express.
    pub const UNSUPPORTED: Self = Self { cfa: cfa::UNSUPPORTED, ..Self::NONE };
    /// The frame that a signal handler returns to.
    pub const SIGNAL: Self = Self { cfa: cfa::SIGNAL, ..Self::NONE };
}

/// Index of [`Rule::NONE`] in the rule arena.
pub const RULE_NONE: u16 = 0;
/// Index of [`Rule::ROOT`].
pub const RULE_ROOT: u16 = 1;
/// Index of [`Rule::UNSUPPORTED`].
pub const RULE_UNSUPPORTED: u16 = 2;
/// Index of [`Rule::SIGNAL`].
pub const RULE_SIGNAL: u16 = 3;
/// First index that the agent gives to other rules.
pub const RULES_FIXED: u16 = 4;

/// Values of [`Rule::cfa`]. Registers are numbered as in DWARF for x86-64.
pub mod cfa {
    /// See [`Rule::NONE`](super::Rule::NONE).
    pub const NONE: u8 = 0;
    /// See [`Rule::ROOT`](super::Rule::ROOT).
    pub const ROOT: u8 = 1;
    /// See [`Rule::UNSUPPORTED`](super::Rule::UNSUPPORTED).
    pub const UNSUPPORTED: u8 = 2;
    /// See [`Rule::SIGNAL`](super::Rule::SIGNAL).
    pub const SIGNAL: u8 = 3;
    /// Entries of a procedure linkage table: CFA = rsp + 8, and 8 more when the low 4 bits of the program counter are at
    /// least `cfa_offset`.
    pub const PLT: u8 = 4;
    /// CFA = register + `cfa_offset`; the register is in the low 4 bits.
    pub const REGISTER: u8 = 0x10;
    /// CFA = *(register + o) + a; the register is in the low 4 bits, see [`deref_offsets`].
    pub const DEREF: u8 = 0x20;
    /// CFA = register + `cfa_offset`, and the return address is in the register whose number is in `rbp_offset`; rbp is
    /// unchanged. The CFA's register is in the low 4 bits.
    pub const RETURN_IN_REGISTER: u8 = 0x30;
    /// Selects the form from a value that also holds a register.
    pub const FORM_MASK: u8 = 0xf0;

    /// Packs both offsets of [`DEREF`] into `cfa_offset`.
    #[must_use]
    pub const fn deref(o: i16, a: i16) -> i32 {
        (a as i32) << 16 | o as u16 as i32
    }

    /// Unpacks the offsets of [`DEREF`]: (o, a).
    #[must_use]
    pub const fn deref_offsets(packed: i32) -> (i16, i16) {
        (packed as i16, (packed >> 16) as i16)
    }
}

/// Values of [`Rule::rbp`].
pub mod rbp {
    /// The caller's rbp is this frame's.
    pub const SAME: u8 = 0;
    /// It is saved at CFA + `rbp_offset`.
    pub const AT_CFA: u8 = 1;
    /// It is saved at rbp + `rbp_offset`.
    pub const AT_RBP: u8 = 2;
    /// It is saved at rsp + `rbp_offset`.
    pub const AT_RSP: u8 = 3;
    /// It is lost.
    pub const UNDEFINED: u8 = 4;
}

/// DWARF number of rbp on x86-64.
pub const DWARF_RBP: u8 = 6;
/// DWARF number of rsp on x86-64.
pub const DWARF_RSP: u8 = 7;

/// An entry of the cache from address to rule. A space's number changes with its mappings, so no entry goes stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct CachedRule {
    /// The program counter that was looked up.
    pub pc: u64,
    /// Number of the space.
    pub space: u32,
    /// Index of the rule in the rule arena.
    pub rule: u32,
}

const _: () = assert!(size_of::<CachedRule>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_back_what_it_was_made_of_and_compares_by_offset() {
        let (low, high) = (row(7, u16::MAX), row(8, 0));
        assert_eq!((row_offset(low), row_rule(low)), (7, u16::MAX));
        assert!(low < high);
    }

    #[test]
    fn both_offsets_survive_packing() {
        for (o, a) in [(0, 0), (-1, 1), (i16::MIN, i16::MAX), (72, -8), (i16::MAX, i16::MIN)] {
            assert_eq!(cfa::deref_offsets(cfa::deref(o, a)), (o, a));
        }
    }
}
