//! Unwinds a program without frame pointers on the running kernel. Needs root and a C compiler; says so when it cannot
//! run.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flamewatch_agent::clock::monotonic_ms;
use flamewatch_agent::drain::{Drain, RawSample, Shown};
use flamewatch_agent::kernel::{Kernel, LoadError, LoadOptions};
use flamewatch_agent::process::{ProcessTable, TableOptions};
use flamewatch_agent::unwind::{UnwindOptions, UnwindReport, Unwinder};
use profiler_common::abi::sample::WalkEnd;
use profiler_common::abi::settings::Scope;

/// How long a busy host may take to show what is wanted.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whole stacks that are looked at.
const WHOLE_WANTED: u32 = 100;

/// Calls of the recursion below `main`.
const DEPTH: usize = 40;

/// Most bytes of the code of `descend`.
const DESCEND_BYTES: u64 = 256;

const PROGRAM: &str = r#"
#include <stdio.h>
static volatile unsigned long sink;
__attribute__((noinline)) static unsigned long work(void) {
    for (unsigned long i = 0; i < 100000000; i++) sink += i;
    return sink;
}
__attribute__((noinline)) static unsigned long descend(int depth) {
    char room[64];
    snprintf(room, sizeof room, "%d", depth);
    unsigned long below = depth > 1 ? descend(depth - 1) : work();
    return below + room[0];
}
int main(void) {
    printf("%p\n", (void *)descend);
    fflush(stdout);
    for (;;) sink = descend(40);
}
"#;

/// Compiles and starts the program; gives the address of `descend`.
fn start(folder: &Path) -> Option<(Child, u64)> {
    let source = folder.join("program.c");
    let program = folder.join("program");
    std::fs::write(&source, PROGRAM).expect("the folder is ours");
    let compiled = Command::new("cc")
        .args(["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-o"])
        .args([&program, &source])
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return None;
    }
    let mut child = Command::new(program).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
    let address = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16);
    let address = address.expect("it prints an address");
    Some((child, address))
}

struct Sampled {
    samples: Vec<RawSample>,
    report: UnwindReport,
}

/// Samples a process until as many stacks as are wanted are whole.
fn sample(tgid: u32, options: &UnwindOptions, wanted: u32) -> Option<Sampled> {
    let load = LoadOptions {
        frequency_hz: 199,
        scope: Scope::Targets,
        targets: vec![tgid],
        cgroup_id: 0,
        cpu_samples: true,
        syscalls: false,
        kernel_log: false,
    };
    let mut kernel = match Kernel::load(&load) {
        Ok(kernel) => kernel,
        Err(error @ LoadError::NotPermitted { .. }) => {
            eprintln!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error:?}"),
    };
    assert!(kernel.degraded().is_empty(), "{:?}", kernel.degraded());
    let tables = kernel.unwind_tables().expect("they are not named as degraded");
    let mut unwinder = Unwinder::start(tables, options).expect("a thread can be started");
    let mut table = ProcessTable::new(TableOptions::default());
    let mut drain = Drain::new();
    let started = Instant::now();
    let mut whole = 0;
    while whole < wanted && started.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50));
        let now = monotonic_ms();
        drain.drain_watched(&mut kernel, &mut |shown| match shown {
            Shown::Process(sign) => {
                table.observe(sign);
                unwinder.observe(sign, now);
            }
            Shown::Walk(walk) => {
                whole += u32::from(walk.end == WalkEnd::Root);
                unwinder.sampled(walk, now);
            }
        });
        unwinder.work(&mut table, now).expect("the thread runs");
    }
    Some(Sampled { samples: drain.take_window().samples, report: unwinder.report() })
}

/// How many frames of a stack return into `descend`.
fn descents(sample: &RawSample, descend: u64) -> usize {
    let inside = |address: &&u64| (descend..descend + DESCEND_BYTES).contains(*address);
    sample.user.iter().filter(inside).count()
}

#[test]
fn a_program_without_frame_pointers_is_unwound_to_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut child, descend)) = start(folder.path()) else { return };
    let cache = folder.path().join("tables");
    let options = UnwindOptions { bytes_max: 32 << 20, cache: Some(cache) };
    let first = sample(child.id(), &options, WHOLE_WANTED);
    let second = first.as_ref().and_then(|_| sample(child.id(), &options, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    let (Some(first), Some(second)) = (first, second) else { return };

    let count = |sampled: &Sampled, keep: &dyn Fn(&RawSample) -> bool| -> u64 {
        let kept = sampled.samples.iter().filter(|sample| keep(sample));
        kept.map(|sample| sample.count).sum()
    };
    let whole = count(&first, &|sample| sample.walk_end == WalkEnd::Root);
    let ends: Vec<_> = first.samples.iter().map(|sample| (sample.walk_end, sample.count)).collect();
    assert!(whole >= u64::from(WHOLE_WANTED), "{ends:?}; {:?}", first.report);
    // Not a single whole stack lacks a call: `main`, `__libc_start_main` and `_start` stand below the recursion.
    let complete = count(&first, &|sample| {
        sample.walk_end == WalkEnd::Root
            && sample.user.len() > DEPTH + 3
            && descents(sample, descend) == DEPTH
    });
    assert!(complete * 100 > whole * 98, "{complete} of {whole} whole stacks have all calls");
    assert!(first.report.built > 0 && first.report.loaded == 0, "{:?}", first.report);
    // A second agent finds the tables on disk.
    assert_eq!(second.report.built, 0, "{:?}", second.report);
    assert!(second.report.loaded > 0);
    assert!(count(&second, &|sample| sample.walk_end == WalkEnd::Root) > 0);
}
