//! Tables of real files against another reader of the same bytes, and tables of bytes that lie.

use std::fs::File;
use std::path::{Path, PathBuf};

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, FrameDescriptionEntry, LittleEndian, Register,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};
use profiler_common::abi::row::{PAGE_BYTES, PAGE_SHIFT, Rule, cfa, rbp, row_offset, row_rule};
use proptest::prelude::*;

use super::compact::{BuildError, build};
use super::elf::{Headers, Source};
use super::expression::{self, Expression};
use super::table::Table;
use crate::process::Executable;

/// The rule of an address as the linker gave it.
fn rule_at(table: &Table, address: u64) -> Rule {
    let offset = address.wrapping_sub(table.base);
    let page = (offset >> PAGE_SHIFT) as usize;
    let Some([first, next]) = table.pages.get(page..page + 2) else { return Rule::NONE };
    let rows = &table.rows[*first as usize..*next as usize];
    let within = (offset & (PAGE_BYTES - 1)) as u16;
    match rows.partition_point(|row| row_offset(*row) <= within).checked_sub(1) {
        Some(index) => table.rules[usize::from(row_rule(rows[index]))],
        None => Rule::NONE,
    }
}

fn expression<'e>(
    frames: &'e EhFrame<gimli::EndianSlice<'e, LittleEndian>>,
    at: &UnwindExpression<usize>,
) -> Option<Expression> {
    expression::parse(at.get(frames).unwrap().0.slice())
}

/// The rule that a row of the other reader stands for.
fn expected<'e>(
    frames: &'e EhFrame<gimli::EndianSlice<'e, LittleEndian>>,
    row: &UnwindTableRow<usize>,
) -> Rule {
    let return_in = match row.register(Register(16)) {
        Some(RegisterRule::Offset(-8)) => None,
        Some(RegisterRule::Undefined) => return Rule::ROOT,
        Some(RegisterRule::Register(Register(number))) => Some(number),
        Some(RegisterRule::Expression(at))
            if expression(frames, &at) == Some(Expression::Register(7, 168)) =>
        {
            return Rule::SIGNAL;
        }
        _ => return Rule::UNSUPPORTED,
    };
    let form = if return_in.is_some() { cfa::RETURN_IN_REGISTER } else { cfa::REGISTER };
    let (cfa, cfa_offset) = match row.cfa() {
        CfaRule::RegisterAndOffset { register: Register(number @ 0..16), offset } => {
            (form | *number as u8, i32::try_from(*offset).unwrap())
        }
        CfaRule::RegisterAndOffset { .. } => return Rule::UNSUPPORTED,
        CfaRule::Expression(at) => match expression(frames, at) {
            Some(Expression::Plt(at)) => (cfa::PLT, at.into()),
            Some(Expression::Deref(register, o, a)) => {
                (cfa::DEREF | register, cfa::deref(o.try_into().unwrap(), a.try_into().unwrap()))
            }
            _ => return Rule::UNSUPPORTED,
        },
    };
    let (rbp, rbp_offset) = match row.register(Register(6)) {
        None | Some(RegisterRule::SameValue) => (rbp::SAME, 0),
        Some(RegisterRule::Offset(offset)) => (rbp::AT_CFA, offset.try_into().unwrap()),
        Some(RegisterRule::Expression(at)) => match expression(frames, &at) {
            Some(Expression::Register(6, offset)) => (rbp::AT_RBP, offset.try_into().unwrap()),
            Some(Expression::Register(7, offset)) => (rbp::AT_RSP, offset.try_into().unwrap()),
            _ => (rbp::UNDEFINED, 0),
        },
        _ => (rbp::UNDEFINED, 0),
    };
    match return_in {
        // As in `longjmp`, where every register is in another one.
        Some(_) if rbp != rbp::SAME => Rule::UNSUPPORTED,
        Some(register) => Rule { cfa, rbp, rbp_offset: register as i16, cfa_offset },
        None => Rule { cfa, rbp, rbp_offset, cfa_offset },
    }
}

/// Compares every row of one function in `every` with the table; gives the number of rows.
fn assert_same_rows(path: &Path, every: usize) -> usize {
    let file = Executable::new(File::open(path).unwrap(), "x").unwrap();
    let table = build(&file).unwrap();
    assert!(table.is_valid());
    let headers = Headers::read(&file).unwrap();
    let section = headers.section(b".eh_frame").unwrap();
    let bytes = section.read(&file, u64::MAX).unwrap().unwrap();
    let mut frames = EhFrame::new(&bytes, LittleEndian);
    frames.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let mut context = UnwindContext::new();
    let mut functions = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().unwrap() {
        if let CieOrFde::Fde(partial) = entry {
            functions.push(partial.parse(EhFrame::cie_from_offset).unwrap());
        }
    }
    functions.retain(|function| function.initial_address() != 0 && function.len() > 0);
    functions.sort_by_key(FrameDescriptionEntry::initial_address);
    functions.dedup_by_key(|function| function.initial_address());
    let mut compared = 0;
    for (index, function) in functions.iter().enumerate().step_by(every) {
        let next =
            functions.get(index + 1).map_or(u64::MAX, FrameDescriptionEntry::initial_address);
        let end = next.min(function.initial_address() + function.len());
        let mut rows = function.rows(&frames, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            let (start, end) = (row.start_address(), row.end_address().min(end));
            if start < end {
                let expected = expected(&frames, row);
                assert_eq!(rule_at(&table, start), expected, "{path:?} {start:#x}");
                assert_eq!(rule_at(&table, end - 1), expected, "{path:?} {end:#x} - 1");
                compared += 1;
            }
        }
        if function.initial_address() + function.len() < next.min(next & !0xf) {
            // Nothing speaks for what no function covers, but linkage tables and trampolines.
            let after = rule_at(&table, function.initial_address() + function.len());
            assert!(matches!(after.cfa, cfa::NONE | cfa::PLT | cfa::SIGNAL | 0x17), "{after:?}");
        }
    }
    compared
}

/// A file that most machines have, or none.
fn system_file(candidates: &[&str]) -> Option<PathBuf> {
    let found = candidates.iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: none of {candidates:?}");
    }
    found
}

#[test]
fn the_rows_of_this_program_are_those_that_another_reader_finds() {
    assert!(assert_same_rows("/proc/self/exe".as_ref(), 1) > 1000);
}

#[test]
fn the_rows_of_system_libraries_are_those_that_another_reader_finds() {
    let folders = |name: &str| {
        ["/lib/x86_64-linux-gnu", "/lib64", "/usr/lib"].map(|folder| format!("{folder}/{name}"))
    };
    for name in ["libc.so.6", "ld-linux-x86-64.so.2", "libcrypto.so.3", "libstdc++.so.6"] {
        let candidates = folders(name);
        let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
        if let Some(path) = system_file(&candidates) {
            assert!(assert_same_rows(&path, 1) > 1000, "{path:?}");
        }
    }
}

#[test]
fn the_rows_of_a_compiler_are_those_that_another_reader_finds() {
    let Some(home) = std::env::var_os("HOME") else { return };
    let toolchains = Path::new(&home).join(".rustup/toolchains");
    let libraries = std::fs::read_dir(toolchains).into_iter().flatten().flatten();
    let files = libraries.flat_map(|toolchain| std::fs::read_dir(toolchain.path().join("lib")));
    let mut files = files.flatten().flatten().map(|file| file.path());
    let is_driver = |path: &PathBuf| path.to_string_lossy().contains("librustc_driver");
    let Some(driver) = files.find(is_driver) else {
        eprintln!("skipped: no compiler of rustup");
        return;
    };
    assert!(assert_same_rows(&driver, 16) > 10_000);
}

#[test]
fn the_c_library_has_its_special_frames() {
    let Some(path) = system_file(&["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"]) else {
        return;
    };
    let table = build(&*std::fs::read(path).unwrap()).unwrap();
    let has = |fits: &dyn Fn(&Rule) -> bool| {
        table.rows.iter().any(|row| fits(&table.rules[usize::from(row_rule(*row))]))
    };
    assert!(has(&|rule| *rule == Rule::SIGNAL), "__restore_rt");
    assert!(has(&|rule| *rule == Rule::ROOT), "clone3 and start_thread");
    assert!(has(&|rule| rule.cfa & cfa::FORM_MASK == cfa::RETURN_IN_REGISTER), "vfork");
    assert!(has(&|rule| rule.cfa == cfa::PLT), "linkage table");
}

#[test]
fn a_program_without_section_headers_has_the_same_rows() {
    let mut bytes = std::fs::read("/proc/self/exe").unwrap();
    let whole = build(&*bytes).unwrap();
    bytes[0x28..0x30].fill(0);
    let stripped = build(&*bytes).unwrap();
    // Linkage tables are found by their section only.
    let frames = |table: &Table| {
        let rules = table.rows.iter().map(|row| table.rules[usize::from(row_rule(*row))]);
        rules.filter(|rule| *rule != Rule::NONE).count()
    };
    assert!(frames(&stripped) > 1000);
    assert!(frames(&whole).abs_diff(frames(&stripped)) < 20);
}

#[test]
fn the_vdso_has_a_table() {
    let maps = std::fs::read("/proc/self/maps").unwrap();
    let mappings = crate::process::parse_mappings(&maps);
    let is_vdso =
        |mapping: &&crate::process::Mapping| mapping.kind == crate::process::MappingKind::Vdso;
    let vdso = mappings.iter().find(is_vdso).unwrap();
    let mut image = vec![0; (vdso.end - vdso.start) as usize];
    let memory = File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut image, vdso.start).unwrap();
    let table = build(&*image).unwrap();
    assert!(table.rows.len() > 10);
    let bias = table.bias(vdso.start, 0).unwrap();
    assert_eq!(bias, vdso.start - table.segments[0].address + table.base);
}

#[test]
fn what_is_no_program_for_this_machine_has_no_table() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
        assert!(matches!(build(bytes), Err(BuildError::NotElf)));
    }
    let mut other = std::fs::read("/proc/self/exe").unwrap();
    other[18] = 183;
    assert!(matches!(build(&*other), Err(BuildError::NotElf)));
}

#[test]
fn code_in_more_pages_than_fit_is_refused() {
    let mut bytes = std::fs::read("/proc/self/exe").unwrap();
    let headers = 64..64 + 56 * 4;
    for segment in bytes[headers].chunks_mut(56).take(1) {
        segment[..8].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
        segment[16..24].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        segment[32..40].copy_from_slice(&4096_u64.to_le_bytes());
    }
    assert!(matches!(build(&*bytes), Err(BuildError::TooLarge)));
}

/// The C library of the dynamic loader: a real file that is small enough to be damaged many times.
fn small_file() -> Vec<u8> {
    let candidates = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2", "/proc/self/exe"];
    std::fs::read(system_file(&candidates).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn damaged_frames_give_a_valid_table(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut bytes = small_file();
        let headers = Headers::read(&*bytes).unwrap();
        let section = headers.section(b".eh_frame").unwrap();
        let frames = section.offset as usize..(section.offset + section.bytes) as usize;
        for (index, byte) in damage {
            let frames = &mut bytes[frames.clone()];
            let index = index.index(frames.len());
            frames[index] = byte;
        }
        prop_assert!(build(&*bytes).unwrap().is_valid());
    }

    #[test]
    fn damaged_headers_give_a_valid_table_or_none(
        damage in proptest::collection::vec((0usize..1024, any::<u8>()), 1..8),
        sections in proptest::collection::vec((0usize..2048, any::<u8>()), 0..8),
    ) {
        let mut bytes = small_file();
        let count = bytes.len();
        for (position, byte) in damage {
            bytes[position] = byte;
        }
        for (position, byte) in sections {
            bytes[count - 1 - position] = byte;
        }
        if let Ok(table) = build(&*bytes) {
            prop_assert!(table.is_valid());
        }
    }

    #[test]
    fn a_slice_reads_what_there_is(offset: u64, limit: u64, near in 0u64..20) {
        let bytes: Vec<u8> = (0..16).collect();
        prop_assert_eq!(Source::read(&bytes[..], 16 + offset / 2, limit).unwrap().len(), 0);
        let read = Source::read(&bytes[..], near, limit).unwrap();
        prop_assert!(read.len() as u64 <= limit && bytes[near.min(16) as usize..].starts_with(&read));
    }
}
