//! Measures what syscall tracing adds to each call: `cargo xtask bench syscalls` runs it.
//!
//! A child process makes `getppid` calls in a loop, the cheapest call there is, so that what tracing adds shows best.
//! Each round runs the loop once without tracing, once under two empty raw tracepoints (the floor), once under two that
//! only read the clock (the least that can tell a latency), once under ours, and once under bpftrace's histogram of the
//! same thing; medians over the rounds are compared.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::RawTracePoint;
use flamewatch_agent::kernel::{Kernel, LoadOptions};
use profiler_common::abi::settings::Scope;

/// Built by `cargo xtask ebpf` beside the agent's object; the agent does not embed it.
static FLOOR: &[u8] = aya::include_bytes_aligned!("../../profiler-ebpf/prebuilt/floor.bpf.o");

const ROUNDS: usize = 9;

/// Calls of one loop: some hundredths of a second, short enough that some loops run undisturbed on a busy host.
const CALLS: u32 = 100_000;

/// Loops of one measurement; the fastest counts.
const LOOPS: usize = 20;

/// What bpftrace does to measure the same thing.
const BPFTRACE: &str = "tracepoint:raw_syscalls:sys_enter { @start[tid] = nsecs; } \
    tracepoint:raw_syscalls:sys_exit /@start[tid]/ { \
    @latency[pid, args->id] = hist(nsecs - @start[tid]); delete(@start[tid]); } \
    BEGIN { printf(\"ready\\n\"); }";

/// bpftrace looks tracepoints up in tracefs, which containers often lack: it gets one of its own, that nobody else sees.
const BPFTRACE_SHELL: &str = "mount -t debugfs none /sys/kernel/debug; \
    mount -t tracefs none /sys/kernel/tracing; exec bpftrace -e \"$0\"";

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("loop") {
        return call_in_a_loop();
    }
    let (mut none, mut floor, mut clock) = (vec![], vec![], vec![]);
    let (mut ours, mut theirs) = (vec![], vec![]);
    let mut why_not = None;
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        none.push(nanoseconds_per_call()?);
        floor.push(under_pair("floor_enter", "floor_exit")?);
        clock.push(under_pair("clock_enter", "clock_exit")?);
        ours.push(under_ours()?);
        if why_not.is_none() {
            match under_bpftrace() {
                Ok(value) => theirs.push(value),
                Err(error) => why_not = Some(error),
            }
        }
    }
    let (none, floor, ours) = (median(none), median(floor), median(ours));
    println!("{:<34}{:>12}{:>14}{:>10}", "getppid", "ns per call", "added ns", "x floor");
    let row = |name: &str, value: f64| {
        let times = (value - none) / (floor - none);
        println!("{name:<34}{value:>12.1}{:>14.1}{times:>10.2}", value - none);
    };
    row("no tracing", none);
    row("two empty raw tracepoints (floor)", floor);
    row("two that read the clock", median(clock));
    row("flamewatch", ours);
    match why_not {
        None => row("bpftrace hist()", median(theirs)),
        Some(error) => println!("bpftrace hist(): skipped: {error:#}"),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads the number from here")]
fn call_in_a_loop() -> Result<()> {
    let fastest = (0..LOOPS).map(|_| loop_ns()).min().context("no loop was run")?;
    println!("{}", fastest as f64 / f64::from(CALLS));
    Ok(())
}

fn loop_ns() -> i64 {
    let start = cpu_time_ns();
    for _ in 0..CALLS {
        std::hint::black_box(rustix::process::getppid());
    }
    cpu_time_ns() - start
}

/// CPU time of this thread, which holds what tracing adds and nothing of what else runs on this host.
fn cpu_time_ns() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn nanoseconds_per_call() -> Result<f64> {
    let this = std::env::current_exe().context("failed to find this program")?;
    let output = Command::new(this).arg("loop").output().context("failed to run the loop")?;
    ensure!(output.status.success(), "the loop ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn under_pair(enter: &str, exit: &str) -> Result<f64> {
    let mut floor = aya::Ebpf::load(FLOOR).context("failed to load the programs of the floor")?;
    for (program, tracepoint) in [(enter, "sys_enter"), (exit, "sys_exit")] {
        let program: &mut RawTracePoint =
            floor.program_mut(program).context("the object lacks the program")?.try_into()?;
        program.load()?;
        program.attach(tracepoint)?;
    }
    nanoseconds_per_call()
}

fn under_ours() -> Result<f64> {
    let kernel = Kernel::load(&LoadOptions {
        frequency_hz: 19,
        scope: Scope::All,
        targets: Vec::new(),
        cgroup_id: 0,
        cpu_samples: false,
        syscalls: true,
        kernel_log: false,
    })?;
    ensure!(kernel.degraded().is_empty(), "{}", kernel.degraded().join("; "));
    nanoseconds_per_call()
}

fn under_bpftrace() -> Result<f64> {
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", BPFTRACE_SHELL, BPFTRACE])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to run bpftrace")?;
    let mut tracer = Tracer(child);
    let output = tracer.0.stdout.take().context("bpftrace has no output")?;
    let mut lines = std::io::BufReader::new(output).lines();
    let ready = lines.by_ref().map_while(std::result::Result::ok).any(|line| line == "ready");
    ensure!(ready, "bpftrace ended before it was ready");
    std::thread::sleep(Duration::from_millis(200));
    nanoseconds_per_call()
}

/// Ends bpftrace whatever happens.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // An error means that it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
