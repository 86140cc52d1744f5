//! The rules of a program's `main` where no compiler described it.
//!
//! Rust with `panic=abort` leaves out the description of the one function that it makes itself: the C `main`, which every
//! stack of the main thread goes through. The code that the loader starts hands its address to the C library.

use std::io;

use super::elf::{Headers, Source};
use super::plt::{Stretch, above};

/// Offset in the ELF header of the address at which the program starts.
const ENTRY_OFFSET: u64 = 24;

/// Bytes of the code there; the C library's takes 38.
const START_BYTES: u64 = 64;

/// `lea main(%rip), %rdi` without its distance, and all its bytes.
const LOAD_MAIN: [u8; 3] = [0x48, 0x8d, 0x3d];
const LOAD_MAIN_BYTES: u64 = 7;

/// Longest `main` that is looked at; the one of Rust takes about 40 bytes.
const MAIN_BYTES_MAX: u64 = 128;

/// `push %rax`, with which such a `main` begins, and `pop %rcx; ret`, with which it ends.
const BEGIN: u8 = 0x50;
const END: [u8; 2] = [0x59, 0xc3];

/// The rules of a `main` that has the form of Rust's, from its start to its end.
pub(super) fn main<S: Source + ?Sized>(source: &S, headers: &Headers) -> io::Result<Vec<Stretch>> {
    let entry = source.read(ENTRY_OFFSET, 8)?;
    let Some(entry) = entry.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Ok(Vec::new());
    };
    let start = code(source, headers, entry, START_BYTES)?;
    let Some(address) = loaded(&start, entry) else { return Ok(Vec::new()) };
    Ok(rules(&code(source, headers, address, MAIN_BYTES_MAX)?, address))
}

fn code<S: Source + ?Sized>(
    source: &S,
    headers: &Headers,
    address: u64,
    limit: u64,
) -> io::Result<Vec<u8>> {
    let Some((offset, left)) = headers.offset_of(address) else { return Ok(Vec::new()) };
    Ok(source.read(offset, left.min(limit))?.into_owned())
}

/// The address that the code at `entry` loads for the C library.
fn loaded(start: &[u8], entry: u64) -> Option<u64> {
    let at = start.windows(LOAD_MAIN.len()).position(|window| window == LOAD_MAIN)?;
    let distance = start.get(at + LOAD_MAIN.len()..)?.first_chunk()?;
    let next = entry.wrapping_add(at as u64 + LOAD_MAIN_BYTES);
    Some(next.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
}

/// The rules of such a `main`: before the push, behind it, and behind the pop.
fn rules(code: &[u8], address: u64) -> Vec<Stretch> {
    let end = code.windows(END.len()).position(|window| window == END);
    let Some(pop) = end.filter(|_| code.first() == Some(&BEGIN)) else { return Vec::new() };
    let [pushed, popped] = [1, pop as u64 + 1].map(|at| address.saturating_add(at));
    let end = popped.saturating_add(1);
    vec![
        Stretch { start: address, end: pushed, rule: above(8) },
        Stretch { start: pushed, end: popped, rule: above(16) },
        Stretch { start: popped, end, rule: above(8) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_code_tells_where_main_is() {
        let start = [0x31, 0xed, 0x48, 0x8d, 0x3d, 0x10, 0, 0, 0, 0xff, 0x15];
        assert_eq!(loaded(&start, 0x1000), Some(0x1019));
        let back = [0x48, 0x8d, 0x3d, 0xf9, 0xff, 0xff, 0xff];
        assert_eq!(loaded(&back, 0x1000), Some(0x1000));
        for cut in 0..back.len() {
            assert_eq!(loaded(&back[..cut], 0x1000), None);
        }
    }

    #[test]
    fn a_main_that_pushes_one_word_has_three_rules_and_any_other_none() {
        let rules_of = |code: &[u8]| {
            let found = rules(code, 0x40).into_iter();
            found.map(|s| (s.start, s.end, s.rule.cfa_offset)).collect::<Vec<_>>()
        };
        let code = [0x50, 0x48, 0x89, 0xf1, 0xff, 0x15, 1, 2, 3, 4, 0x59, 0xc3, 0xcc];
        assert_eq!(rules_of(&code), [(0x40, 0x41, 8), (0x41, 0x4b, 16), (0x4b, 0x4c, 8)]);
        assert!(rules_of(&code[1..]).is_empty() && rules_of(&code[..11]).is_empty());
    }
}
