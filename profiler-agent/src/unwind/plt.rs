//! Rules for code that no compiler described: procedure linkage tables, and what signal handlers return to.

use std::io;

use profiler_common::abi::row::{DWARF_RSP, Rule, cfa, rbp};

use super::elf::{Headers, SectionHeader, Source};
use super::table::Segment;

/// Sections of jumps to other libraries.
const SECTIONS: [&[u8]; 4] = [b".plt", b".plt.got", b".plt.sec", b".iplt"];

/// Bytes of one jump with what stands around it, and of the code before the first one.
const ENTRY_BYTES: usize = 16;

/// `push` of a word in memory, with which the code before the first jump begins.
const PUSH_MEMORY: [u8; 2] = [0xff, 0x35];
/// Bytes of that instruction.
const PUSH_MEMORY_BYTES: u64 = 6;
/// `jmp` through a word in memory; with its operand it takes as many bytes.
const JUMP_THROUGH_MEMORY: [u8; 2] = [0xff, 0x25];
/// `endbr64`.
const LANDING: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `push` of a constant, and its bytes.
const PUSH: u8 = 0x68;
const PUSH_BYTES: u8 = 5;

/// Most bytes of code that are searched for a trampoline. Go and static C libraries have theirs in the first megabytes.
const SEARCHED_BYTES_MAX: u64 = 32 << 20;

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// Most trampolines of one file; a C library has one.
const TRAMPOLINES_MAX: usize = 16;

/// `mov $15, %rax; syscall` and `mov $15, %eax; syscall`: 15 is `rt_sigreturn`.
const TRAMPOLINES: [&[u8]; 2] =
    [&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05], &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]];
/// What both end with.
const TRAMPOLINE_END: [u8; 6] = [15, 0, 0, 0, 0x0f, 0x05];

/// A stretch of code with one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// First address.
    pub start: u64,
    /// Address after the last one.
    pub end: u64,
    /// Its rule.
    pub rule: Rule,
}

/// The procedure linkage tables of a file.
pub(super) fn linkage_tables<S: Source + ?Sized>(
    source: &S,
    headers: &Headers,
) -> io::Result<Vec<Stretch>> {
    let mut stretches = Vec::new();
    let sections = SECTIONS.iter().filter_map(|name| headers.section(name));
    for section in sections.filter(SectionHeader::is_code) {
        let head = source.read(section.offset, 2 * ENTRY_BYTES as u64)?;
        let Some(end) = section.address.checked_add(section.bytes) else { continue };
        stretches.extend(linkage_table(&head, section.address, end));
    }
    Ok(stretches)
}

/// The rules of one table by how it begins.
fn linkage_table(head: &[u8], start: u64, end: u64) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut entries = (start, head);
    if head.starts_with(&PUSH_MEMORY) && head.len() >= ENTRY_BYTES {
        // The jumps come here after they pushed their number.
        let pushed = start.saturating_add(PUSH_MEMORY_BYTES);
        let first = start.saturating_add(ENTRY_BYTES as u64);
        stretches.push(Stretch { start, end: pushed, rule: above(16) });
        stretches.push(Stretch { start: pushed, end: first, rule: above(24) });
        entries = (first, &head[ENTRY_BYTES..]);
    }
    let (start, head) = entries;
    let rule = match pushed_from(head) {
        Some(at) => Rule { cfa: cfa::PLT, cfa_offset: i32::from(at), ..Rule::NONE },
        None => above(8),
    };
    stretches.push(Stretch { start, end, rule });
    stretches.retain(|stretch| stretch.start < stretch.end && stretch.end <= end);
    stretches
}

/// CFA = rsp + `offset`.
pub(super) fn above(offset: i32) -> Rule {
    Rule { cfa: cfa::REGISTER | DWARF_RSP, rbp: rbp::SAME, rbp_offset: 0, cfa_offset: offset }
}

/// Offset in an entry from which it has pushed its number; `None` for one that only jumps.
fn pushed_from(entry: &[u8]) -> Option<u8> {
    let push = match entry.strip_prefix(&LANDING) {
        Some(_) => LANDING.len(),
        None if entry.starts_with(&JUMP_THROUGH_MEMORY) => PUSH_MEMORY_BYTES as usize,
        None => return None,
    };
    (entry.get(push) == Some(&PUSH)).then_some(push as u8 + PUSH_BYTES)
}

/// Searches code for what signal handlers return to.
pub(super) fn trampolines<S: Source + ?Sized>(
    source: &S,
    segments: &[Segment],
) -> io::Result<Vec<Stretch>> {
    let mut found = Vec::new();
    let mut left = SEARCHED_BYTES_MAX;
    for segment in segments {
        let mut at = 0;
        while at < segment.bytes && left > 0 {
            // What straddles two windows is found in the second one; the shorter form may be in both.
            let overlap = at.min(TRAMPOLINES[0].len() as u64 - 1);
            let count = WINDOW_BYTES.min(segment.bytes - at).min(left);
            let offset = segment.file_offset.saturating_add(at - overlap);
            let window = source.read(offset, count + overlap)?;
            let address = segment.address.wrapping_add(at - overlap);
            found.extend(trampolines_in(&window, address));
            found.dedup();
            if found.len() >= TRAMPOLINES_MAX {
                found.truncate(TRAMPOLINES_MAX);
                return Ok(found);
            }
            at += count;
            left -= count;
        }
    }
    Ok(found)
}

fn trampolines_in(code: &[u8], address: u64) -> impl Iterator<Item = Stretch> {
    let ends = code.windows(TRAMPOLINE_END.len()).enumerate();
    let ends = ends.filter(|(_, window)| *window == TRAMPOLINE_END);
    ends.filter_map(move |(at, _)| {
        let end = at + TRAMPOLINE_END.len();
        let form = TRAMPOLINES.iter().find(|form| code[..end].ends_with(form))?;
        // A handler's return address is looked up one byte before, like every one.
        let start = address.checked_add((end - form.len()) as u64)?.checked_sub(1)?;
        Some(Stretch { start, end: address.checked_add(end as u64)?, rule: Rule::SIGNAL })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_linkage_table_gets_its_rule() {
        let rules = |head: &[u8]| {
            let mut head = head.to_vec();
            head.resize(32, 0x90);
            let stretches = linkage_table(&head, 0x1000, 0x1040);
            stretches
                .iter()
                .map(|s| (s.start, s.end, s.rule.cfa, s.rule.cfa_offset))
                .collect::<Vec<_>>()
        };
        let lazy = [0xff, 0x25, 1, 2, 3, 4, 0x68, 0, 0, 0, 0, 0xe9];
        let with_header = [&[0xff, 0x35, 1, 2, 3, 4, 0xff, 0x25][..], &[0x90; 8], &lazy].concat();
        assert_eq!(
            rules(&with_header),
            [
                (0x1000, 0x1006, 0x17, 16),
                (0x1006, 0x1010, 0x17, 24),
                (0x1010, 0x1040, cfa::PLT, 11)
            ]
        );
        assert_eq!(rules(&lazy), [(0x1000, 0x1040, cfa::PLT, 11)]);
        let landing = [0xf3, 0x0f, 0x1e, 0xfa, 0x68, 0, 0, 0, 0, 0xe9];
        assert_eq!(rules(&landing), [(0x1000, 0x1040, cfa::PLT, 9)]);
        let only_jumps = [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 1, 2, 3, 4];
        assert_eq!(rules(&only_jumps), [(0x1000, 0x1040, 0x17, 8)]);
        assert_eq!(rules(&[0xff, 0x25, 1, 2, 3, 4, 0x66, 0x90]), [(0x1000, 0x1040, 0x17, 8)]);
    }

    #[test]
    fn a_trampoline_is_found_wherever_the_windows_are_cut() {
        for form in TRAMPOLINES {
            for before in WINDOW_BYTES as usize - 12..WINDOW_BYTES as usize + 3 {
                let code = [&vec![0xcc; before][..], form, &[0xcc; 4]].concat();
                let bytes = code.len() as u64;
                let segment = Segment { file_offset: 0, address: 0x40_0000, bytes };
                let found = trampolines(&code[..], &[segment]).unwrap();
                let start = 0x40_0000 + before as u64 - 1;
                let end = start + 1 + form.len() as u64;
                assert_eq!(found, [Stretch { start, end, rule: Rule::SIGNAL }], "{before}");
            }
        }
    }
}
