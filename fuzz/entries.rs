//! Where bytes from outside enter the agent. Each function must end, without a panic, whatever the bytes are.
//!
//! The fuzz targets and the test that replays their corpus share this file.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use flamewatch_agent::process::{Executable, parse_mappings};
use flamewatch_agent::symbolize::function_in_perf_map;
use flamewatch_agent::unwind::{Table, compact};

/// Takes bytes from outside.
type Entry = fn(&[u8]);

/// Every target with its entry.
pub(crate) const ENTRIES: [(&str, Entry); 6] = [
    ("eh_frame", eh_frame),
    ("eh_frame_mutated", eh_frame_mutated),
    ("table_cache", table_cache),
    ("perf_map", perf_map),
    ("maps", maps),
    ("elf_head", elf_head),
];

/// Gives bytes to the entry of a target.
pub(crate) fn run(target: &str, bytes: &[u8]) {
    let entry = ENTRIES.iter().find(|(name, _)| *name == target);
    entry.expect("every target has an entry").1(bytes);
}

/// A whole executable becomes a valid table or none.
fn eh_frame(bytes: &[u8]) {
    if let Ok(table) = compact::build(bytes) {
        check(&table);
    }
}

/// Anything as the unwind information of a small program becomes a valid table.
fn eh_frame_mutated(bytes: &[u8]) {
    // How much is which section is up to the input too.
    let (cuts, bytes) = bytes.split_at(bytes.len().min(2));
    let part = |index: usize| {
        let share = cuts.get(index).map_or(255, |share| usize::from(*share));
        bytes.len() * share / 255
    };
    let (first, second) = (part(0).min(part(1)), part(0).max(part(1)));
    let sections = [&bytes[..first], &bytes[first..second], &bytes[second..]];
    let table = compact::build(&*program(sections)).expect("the headers are right");
    check(&table);
}

/// A file of the cache becomes a valid table or none; one with the right checksum too.
fn table_cache(bytes: &[u8]) {
    for bytes in [bytes, &Table::with_checksum(bytes.to_vec())] {
        if let Some(table) = Table::from_bytes(bytes) {
            check(&table);
            assert_eq!(Table::from_bytes(&table.to_bytes()), Some(table));
        }
    }
}

/// A perf map gives names, or none.
fn perf_map(bytes: &[u8]) {
    for address in [0, 0x1000, u64::MAX] {
        let name = function_in_perf_map(bytes, address);
        assert!(name.is_none_or(|name| !name.is_empty()));
    }
}

/// The text of `/proc/PID/maps` gives sorted mappings.
fn maps(bytes: &[u8]) {
    let mappings = parse_mappings(bytes);
    assert!(mappings.is_sorted_by_key(|mapping| mapping.start));
    assert!(mappings.iter().all(|mapping| mapping.start < mapping.end));
}

/// The head of a file gives a build id of hex digits, or none.
fn elf_head(bytes: &[u8]) {
    thread_local! {
        static FILE: RefCell<File> = RefCell::new(tempfile::tempfile().expect("there is room"));
    }
    FILE.with_borrow_mut(|file| {
        let written = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        written.and_then(|_| file.write_all(bytes)).expect("there is room");
        let file = file.try_clone().expect("few files are open");
        let executable = Executable::new(file, "fuzzed").expect("the file can be read");
        assert!(executable.build_id.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(executable.build_id.len() % 2, 0);
    });
}

fn check(table: &Table) {
    assert!(table.is_valid());
    for segment in &table.segments {
        let page = segment.file_offset & !0xfff;
        assert!(table.bias(0x7fff_0000_0000, page).is_some());
    }
}

/// Bytes of the headers of the program below, and of its code behind them.
const HEAD_BYTES: usize = 0x1000;
const CODE_BYTES: usize = 0x1000;
const FRAMES_OFFSET: usize = HEAD_BYTES + CODE_BYTES;

/// Its sections, behind an empty one and before their names.
const SECTIONS: [&str; 3] = [".eh_frame", ".debug_frame", ".gopclntab"];

/// A program whose code is empty and whose unwind information is this; addresses are offsets in the file.
fn program(sections: [&[u8]; 3]) -> Vec<u8> {
    let names: String = SECTIONS.iter().map(|name| format!("\0{name}")).collect::<String>() + "\0";
    let names_offset = FRAMES_OFFSET + sections.iter().map(|bytes| bytes.len()).sum::<usize>();
    let size = names_offset + names.len();
    let mut head = Vec::with_capacity(size);
    head.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    head.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    // Entry, program headers, section headers.
    words(&mut head, &[0x1000, 64, 64 + 56]);
    // Flags; bytes of this header; bytes and number of the others; which section has the names.
    head.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 5, 0, 4, 0]);
    // One segment, readable and executable.
    head.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    words(&mut head, &[0, 0, 0, size as u64, size as u64, 0x1000]);
    head.extend([0; 64]);
    let mut offset = FRAMES_OFFSET;
    for (name, bytes) in SECTIONS.iter().zip(sections) {
        let name = names.find(name).expect("it is one of them");
        section(&mut head, name as u8, offset, bytes.len());
        offset += bytes.len();
    }
    section(&mut head, 0, names_offset, names.len());
    head.resize(FRAMES_OFFSET, 0xcc);
    [&head[..], &sections.concat(), names.as_bytes()].concat()
}

fn section(head: &mut Vec<u8>, name: u8, offset: usize, bytes: usize) {
    head.extend([name, 0, 0, 0, 1, 0, 0, 0]);
    words(head, &[2, offset as u64, offset as u64, bytes as u64, 0, 1, 0]);
}

fn words(head: &mut Vec<u8>, words: &[u64]) {
    head.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
