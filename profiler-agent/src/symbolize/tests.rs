//! Naming of real addresses: of this program, its libraries, the vDSO, the kernel, and programs that vanish.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::drain::{ProcessSign, RawSample, SignKind};
use crate::normalize::locate;
use crate::process::{MappingKind, ProcessTable, TableOptions, parse_mappings};

const NAMES: Options = Options { lines: false, ..Options::CAPTURE };

fn observed(tgid: u32) -> (ProcessTable, ProcessKey) {
    let key = ProcessKey { tgid, start_ns: 0 };
    let mut table = ProcessTable::new(TableOptions::default());
    let comm = "test".to_owned();
    let (kind, program) = (SignKind::Sample, String::new());
    table.observe(&ProcessSign { key, kind, comm, program, cgroup_id: 0 });
    (table, key)
}

fn sample(process: ProcessKey, user: &[u64], kernel: &[u64], walk_end: WalkEnd) -> RawSample {
    let (user, kernel) = (user.into(), kernel.into());
    RawSample { process, comm: "t".to_owned(), cgroup_id: 0, kernel, user, walk_end, count: 1 }
}

fn named_own(user: &[u64], options: Options) -> Vec<Frame> {
    let (table, key) = observed(std::process::id());
    let located = locate(&sample(key, user, &[], WalkEnd::Root), &table);
    Symbolizer::new(options).name(&located)
}

#[inline(never)]
fn outer_function(number: u64) -> u64 {
    inlined_function(number)
}

#[inline(always)]
fn inlined_function(number: u64) -> u64 {
    std::hint::black_box(number.wrapping_mul(31).rotate_left(7))
}

#[test]
fn our_own_function_and_what_is_inlined_into_it_are_named() {
    let start = outer_function as fn(u64) -> u64 as usize as u64;
    // Somewhere in its first bytes stands the inlined code.
    let stacks: Vec<_> = (0..48).map(|offset| named_own(&[start + offset], NAMES)).collect();
    assert_eq!(stacks[0][0].kind, FrameKind::Native);
    let name = "flamewatch_agent::symbolize::tests::outer_function";
    assert_eq!(stacks[0][0].function, name);
    assert_eq!((stacks[0][0].file.as_str(), stacks[0][0].line), ("", 0));
    let inlined = stacks.iter().find(|stack| {
        stack.len() > 1
            && stack[0].function == name
            && stack[1].kind == FrameKind::Inlined
            && stack[1].function.ends_with("inlined_function")
    });
    assert!(inlined.is_some(), "{stacks:#?}");
}

#[test]
fn lines_are_given_when_asked_for() {
    let start = outer_function as fn(u64) -> u64 as usize as u64;
    let frames = named_own(&[start], Options { inlined: false, ..Options::CAPTURE });
    assert!(frames[0].file.ends_with("symbolize/tests.rs"), "{frames:?}");
    assert!(frames[0].line > 0);
}

#[test]
fn return_addresses_are_named_by_the_call_before_them() {
    let start = outer_function as fn(u64) -> u64 as usize as u64;
    let frames = named_own(&[start, start + 1], NAMES);
    assert!(frames.iter().all(|frame| frame.function.contains("outer_function")));
    // The first byte of a function is no call that anything returns behind.
    let frames = named_own(&[start, start], NAMES);
    assert!(!frames[0].function.contains("outer_function"), "{frames:?}");
}

#[test]
fn a_function_of_the_c_library_is_named() {
    let address = libc::getppid as *const () as usize as u64;
    let frames = named_own(&[address], NAMES);
    assert!(frames[0].function.contains("getppid"), "{frames:?}");
    assert!(frames[0].module.starts_with("libc"), "{frames:?}");
}

#[test]
fn the_vdso_is_named() {
    let maps = parse_mappings(&std::fs::read("/proc/self/maps").unwrap());
    let vdso = maps.iter().find(|mapping| mapping.kind == MappingKind::Vdso).unwrap();
    let found = (vdso.start..vdso.end).step_by(16).any(|address| {
        let frames = named_own(&[address], NAMES);
        assert_eq!(frames[0].module, "[vdso]");
        frames[0].function.contains("clock_gettime")
    });
    assert!(found);
}

#[test]
fn kernel_frames_stand_behind_user_frames() {
    let (table, key) = observed(std::process::id());
    let start = outer_function as fn(u64) -> u64 as usize as u64;
    let kernel = [0xffff_ffff_8100_0010, 0xffff_ffff_8100_0020];
    let located = locate(&sample(key, &[start], &kernel, WalkEnd::Truncated), &table);
    let frames = Symbolizer::new(Options { inlined: false, ..NAMES }).name(&located);
    let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
    use FrameKind::{Kernel, Marker, Native};
    assert_eq!(kinds, [Marker, Native, Kernel, Kernel]);
    assert_eq!(frames[0].function, "[truncated: too deep]");
}

#[test]
fn stacks_without_addresses_say_why() {
    let (table, key) = observed(std::process::id());
    let mut symbolizer = Symbolizer::new(NAMES);
    let mut names = |user: &[u64], walk_end| {
        let located = locate(&sample(key, user, &[0xffff_ffff_8100_0010], walk_end), &table);
        let frames = symbolizer.name(&located);
        let user = frames.into_iter().filter(|frame| frame.kind != FrameKind::Kernel);
        user.map(|frame| frame.function).collect::<Vec<_>>()
    };
    assert_eq!(names(&[], WalkEnd::Unreadable), ["[truncated: unreadable]"]);
    assert!(names(&[], WalkEnd::NoUserStack).is_empty());
    assert_eq!(names(&[1, 2, 3], WalkEnd::Root), [UNMAPPED]);
}

/// Compiles a program that prints the address of its function `busy_work` and waits.
fn compile(folder: &Path, options: &[&str]) -> std::path::PathBuf {
    let source = folder.join("program.c");
    let program = folder.join("program");
    let text = "#include <stdio.h>\n#include <unistd.h>\n\
        int busy_work(int x) { return x * 3 + 1; }\n\
        int main(int count, char **arguments) {\n\
        printf(\"%lx\\n\", (unsigned long)busy_work); fflush(stdout); getchar();\n\
        return busy_work(count) == 0; }\n";
    std::fs::write(&source, text).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-O1", "-fno-inline", "-Wl,--build-id"]).args(options);
    let status = compiler.arg("-o").arg(&program).arg(&source).status();
    assert!(status.expect("a C compiler is installed").success());
    program
}

/// Starts it and reads the address.
fn start(program: &Path) -> (Child, u64) {
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    (child, u64::from_str_radix(line.trim(), 16).unwrap())
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_program_is_named_after_it_was_deleted_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), &[]);
    let (child, address) = start(&program);
    std::fs::remove_file(&program).unwrap();
    let (table, key) = observed(child.id());
    end(child);
    let located = locate(&sample(key, &[address], &[], WalkEnd::Root), &table);
    let frames = Symbolizer::new(NAMES).name(&located);
    assert_eq!((frames[0].function.as_str(), frames[0].module.as_str()), ("busy_work", "program"));
}

#[test]
fn a_stripped_program_keeps_module_offset_and_build_id() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), &["-s"]);
    let (child, address) = start(&program);
    let (table, key) = observed(child.id());
    let located = locate(&sample(key, &[address], &[], WalkEnd::Root), &table);
    end(child);
    let frames = Symbolizer::new(NAMES).name(&located);
    assert!(frames[0].function.starts_with("program+0x"), "{frames:?}");
    assert_eq!(frames[0].build_id.len(), 40);
    assert_eq!(table.identity(key).version, frames[0].build_id[..12]);
}

#[test]
fn packed_debug_information_is_read_and_a_bomb_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), &["-gz=zlib"]);
    let packed = Executable::new(std::fs::File::open(&program).unwrap(), "program").unwrap();
    let layout = layout::Layout::read(&packed, NAMES);
    assert!(layout.debug && layout.symbols);
    assert!(!layout::Layout::read(&packed, Options::RESIDENT).debug);
    // A gigabyte of zeros in a megabyte, put in place of the debug information.
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
    let mut section = [1u32, 0, 64, 0, 1, 0].map(u32::to_le_bytes).concat();
    section.extend(encoder.finish().unwrap());
    let bomb = folder.path().join("bomb");
    std::fs::write(&bomb, section).unwrap();
    let mut command = Command::new("objcopy");
    command.arg("--add-section").arg(format!(".debug_bomb={}", bomb.display())).arg(&program);
    if !command.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no objcopy");
        return;
    }
    let mut bytes = std::fs::read(&program).unwrap();
    mark_compressed(&mut bytes, bytes_at_end(&bomb));
    std::fs::write(&program, bytes).unwrap();
    let bomb = Executable::new(std::fs::File::open(&program).unwrap(), "program").unwrap();
    let layout = layout::Layout::read(&bomb, NAMES);
    assert!(!layout.debug && layout.symbols, "{layout:?}");
}

#[test]
fn debug_information_that_was_split_off_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), &["-Wl,--build-id=none"]);
    let split = folder.path().join("program.debug");
    let objcopy = |arguments: &[&str]| {
        let mut command = Command::new("objcopy");
        command.args(arguments).current_dir(folder.path());
        command.status().is_ok_and(|status| status.success())
    };
    if !objcopy(&["--only-keep-debug", "program", "program.debug"]) {
        eprintln!("skipped: no objcopy");
        return;
    }
    assert!(objcopy(&["--strip-all", "--add-gnu-debuglink=program.debug", "program"]));
    let (child, address) = start(&program);
    let (table, key) = observed(child.id());
    let located = locate(&sample(key, &[address], &[], WalkEnd::Root), &table);
    end(child);
    let name = || Symbolizer::new(Options::CAPTURE).name(&located).remove(0);
    let frame = name();
    assert_eq!((frame.function.as_str(), frame.module.as_str()), ("busy_work", "program"));
    assert!(frame.file.ends_with("program.c") && frame.line == 3, "{frame:?}");
    // One that was made by somebody else is not believed, and a pipe in its place is not waited for.
    std::fs::OpenOptions::new().append(true).open(&split).unwrap().write_all(b"x").unwrap();
    assert!(name().function.starts_with("program+0x"));
    std::fs::remove_file(&split).unwrap();
    assert!(Command::new("mkfifo").arg(&split).status().unwrap().success());
    assert!(name().function.starts_with("program+0x"));
}

fn bytes_at_end(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// Sets the flag of packed sections on the section of that size.
fn mark_compressed(elf: &mut [u8], size: u64) {
    let table = u64::from_le_bytes(elf[40..48].try_into().unwrap()) as usize;
    let header = elf[table..].chunks_exact_mut(64);
    let header = header.into_iter().find(|header| header[32..40] == size.to_le_bytes()).unwrap();
    header[8..16].copy_from_slice(&0x800u64.to_le_bytes());
}

#[test]
fn code_of_a_runtime_is_named_by_its_perf_map() {
    let process = ProcessKey { tgid: std::process::id(), start_ns: 0 };
    // Another test writes the map of this process, so this one stands for a number of its own.
    let namespace_tgid = u32::MAX;
    let path = format!("/tmp/perf-{namespace_tgid}.map");
    std::fs::write(&path, "5000 100 js:handle\n").unwrap();
    let anonymous = |address| Located::Anonymous { address, offset: 0x42, namespace_tgid };
    let user = vec![anonymous(0x5010), anonymous(0x6000)];
    let walk_end = WalkEnd::Root;
    let located = LocatedSample { process, user, kernel: Vec::new(), walk_end, count: 1 };
    let frames = Symbolizer::new(NAMES).name(&located);
    std::fs::remove_file(&path).unwrap();
    let names: Vec<_> = frames.iter().map(|frame| frame.function.as_str()).collect();
    assert_eq!(names, ["[jit]+0x42", "js:handle"]);
    assert!(frames.iter().all(|frame| frame.kind == FrameKind::Jit));
}

#[test]
fn damaged_executables_never_stop_the_agent() {
    let original = std::fs::read("/bin/true").unwrap();
    let mut symbolizer = Symbolizer::new(Options::CAPTURE);
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..200 {
        let mut bytes = original.clone();
        for _ in 0..1 + round % 40 {
            // Headers are hit more often than their share of the file.
            let length = if round % 2 == 0 { bytes.len() as u64 } else { 1024 };
            let position = (random() % length) as usize;
            bytes[position] = random() as u8;
        }
        if round % 20 == 19 {
            bytes.truncate((random() % original.len() as u64) as usize);
            bytes.iter_mut().skip(16).for_each(|byte| *byte = random() as u8);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let executable = Arc::new(Executable::new(file, "damaged").unwrap());
        for _ in 0..8 {
            let offset = random() % (original.len() as u64 + 4096);
            let mut frames = Vec::new();
            symbolizer.add_native(&executable, offset, &mut frames);
            assert!(!frames.is_empty());
        }
    }
}

#[test]
fn a_file_that_lost_its_end_is_not_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    std::fs::copy("/proc/self/exe", &path).unwrap();
    let open = || Executable::new(std::fs::File::open(&path).unwrap(), "copy").unwrap();
    let copy = Arc::new(open());
    let mut names = NativeNames::new(NAMES);
    let named = (0x1000..).step_by(0x1000).find(|offset| !names.find(&copy, *offset).is_empty());
    let offset = named.expect("this program has symbols");
    // What the parser has mapped already is gone: touching it would end this test by a signal.
    std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert!(names.find(&copy, offset).is_empty());
    assert!(!copy.is_whole());
}
