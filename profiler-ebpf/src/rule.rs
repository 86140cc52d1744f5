//! Finds the rule of an address: in this CPU's cache, or in the tables of the process.

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use profiler_common::abi::row::{
    CHUNK_ROWS, CachedRule, FIRST_PAGE_PENDING, MAPPING_ROWS_MAX, MAPPING_STEPS, MappingRow,
    PAGE_SHIFT, PAGES_MAX, Page, ROW_STEPS, RULE_CACHE_ENTRIES, RULE_NONE, RULES_MAX, Rule,
    SPACE_MAPPINGS_MAX, row_offset, row_rule,
};
use profiler_common::abi::sample::WalkEnd;
use profiler_common::unwind::find_last;

use crate::maps::{CHUNKS, MAPPINGS, PAGES, RULE_CACHES, RULES};

/// What [`find`] gives for an address that lies in no mapping; no index of a rule.
const UNMAPPED: u32 = u32::MAX;

/// What [`find`] gives for an address whose table is not made yet; no index of a rule either.
const PENDING: u32 = u32::MAX - 1;

/// The tables, opened once for a walk.
pub struct Tables {
    cache: *mut [CachedRule; RULE_CACHE_ENTRIES],
    rules: *const [Rule; RULES_MAX],
}

/// Which tables a process has.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SpaceRef {
    pub id: u32,
    pub header: u32,
    pub mappings: u32,
    pub reserved: u32,
}

impl Tables {
    #[inline(always)]
    pub fn open() -> Option<Self> {
        // SAFETY: the helper takes nothing.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        Some(Self { cache: RULE_CACHES.get_ptr_mut(cpu)?, rules: RULES.get_ptr(0)? })
    }

    /// The rule of an address, or why there is none.
    #[inline(always)]
    pub fn rule(&self, space: SpaceRef, pc: u64) -> Result<Rule, WalkEnd> {
        let pair = pair(pc);
        // SAFETY: masked indices lie inside; the cache belongs to this CPU, and a walk is not interrupted by another.
        unsafe {
            let first = &raw mut (*self.cache)[pair & (RULE_CACHE_ENTRIES - 2)];
            let second = first.add(1);
            let index = if (*first).pc == pc && (*first).space == space.id {
                (*first).rule
            } else if (*second).pc == pc && (*second).space == space.id {
                (*second).rule
            } else {
                let found = find(pc, space.id, space.header, space.mappings);
                *second = *first;
                *first = CachedRule { pc, space: space.id, rule: found };
                found
            };
            match index {
                UNMAPPED => Err(WalkEnd::Unmapped),
                PENDING => Err(WalkEnd::NoTables),
                index => Ok((*self.rules)[index as usize & (RULES_MAX - 1)]),
            }
        }
    }
}

/// The pair of entries in which an address is cached; they share a line of the CPU's cache.
#[inline(always)]
fn pair(pc: u64) -> usize {
    // Neighbours far and near get different pairs.
    ((pc ^ pc >> 12 ^ pc >> 24) << 1) as usize
}

/// Finds the index of the rule of an address in the tables, or [`UNMAPPED`], or [`PENDING`].
///
/// A function of its own, which the verifier checks once and not at every frame.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find(pc: u64, space: u32, header: u32, mappings: u32) -> u32 {
    match find_mapping(pc, space, header, mappings) {
        Some(mapping) if mapping.first_page == FIRST_PAGE_PENDING => PENDING,
        Some(mapping) => {
            find_row(pc.wrapping_sub(mapping.bias), &mapping).unwrap_or(RULE_NONE.into())
        }
        None => UNMAPPED,
    }
}

#[inline(always)]
fn find_mapping(pc: u64, space: u32, header: u32, mappings: u32) -> Option<MappingRow> {
    let arena = MAPPINGS.get_ptr(0)?;
    // SAFETY: masked indices lie inside the arena. What the agent writes meanwhile may be torn; the header tells.
    let entry = |at: u32| unsafe { &raw const (*arena)[at as usize & (MAPPING_ROWS_MAX - 1)] };
    // SAFETY: as above.
    let is_current = unsafe { (*entry(header)).start } == u64::from(space);
    if !is_current || mappings == 0 {
        return None;
    }
    let first = header.wrapping_add(1);
    let count = mappings & SPACE_MAPPINGS_MAX as u32;
    // SAFETY: as above.
    let above = |at: u32| unsafe { (*entry(first.wrapping_add(at))).start } > pc;
    let found = entry(first.wrapping_add(find_last(count, MAPPING_STEPS, above)));
    // SAFETY: as above.
    let found = unsafe { *found };
    (found.start <= pc && pc < found.end).then_some(found)
}

#[inline(always)]
fn find_row(relative: u64, mapping: &MappingRow) -> Option<u32> {
    let number = relative >> PAGE_SHIFT;
    if number >= u64::from(mapping.pages) {
        return None;
    }
    let pages = PAGES.get_ptr(0)?;
    let index = mapping.first_page.wrapping_add(number as u32) as usize & (PAGES_MAX - 1);
    // SAFETY: a masked index lies inside the arena.
    let Page { first_row, chunk, rows } = unsafe { (*pages)[index] };
    if rows == 0 {
        return None;
    }
    let chunk = core::ptr::from_ref(CHUNKS.get_value(u32::from(chunk), &0)?);
    // SAFETY: a masked index lies inside the chunk.
    let row = |at: u32| unsafe { (*chunk)[first_row.wrapping_add(at) as usize & (CHUNK_ROWS - 1)] };
    let offset = relative as u16;
    let found = find_last(u32::from(rows), ROW_STEPS, |at| row_offset(row(at)) > offset);
    Some(u32::from(row_rule(row(found))))
}
