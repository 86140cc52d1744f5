//! What must work on every kernel that we promise.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flamewatch_agent::drain::{Drain, SignKind};
use flamewatch_agent::kernel::{Kernel, LoadOptions, program_costs};
use profiler_common::abi::settings::Scope;
use serde_json::json;

use crate::agent::Agent;
use crate::captured::Stacks;
use crate::children::{self, CHILDREN, PARENT_CALLS, PRIORITY_ERRORS};
use crate::say;

/// One thing that must work.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Lines of `flamewatch-agent check` without which it cannot work.
    pub(crate) needs: &'static [&'static str],
    /// Does it, and says in a few words what was seen.
    pub(crate) run: fn(&Agent) -> Result<String>,
}

/// All of them, the most basic first.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "load",
        needs: &["kernel version", "BPF ring buffer", "locked memory"],
        run: load,
    },
    Scenario { name: "sample", needs: &["perf events"], run: sample },
    Scenario { name: "unwind", needs: &["perf events", "unwind tables"], run: unwind },
    Scenario { name: "syscalls", needs: &["raw tracepoints"], run: syscalls },
    Scenario {
        name: "processes",
        needs: &["raw tracepoints", "kernel types (BTF)"],
        run: processes,
    },
];

/// Seconds for which a program is sampled: enough for hundreds of samples, and for tables to be built on a slow machine.
const SECONDS: &str = "4";

/// Samples expected at least: a tenth of what 99 Hz gives, since the machine may be busy with others.
const SAMPLES_MIN: u64 = 40;

/// The least share of samples that must be found where the program spends its time: on a busy machine its start takes a
/// part of the few seconds too.
const SHARE_MIN: f64 = 0.6;

/// The least share of stacks that must be whole once there are tables: all but those that hit the start and the end.
const WHOLE_SHARE_MIN: f64 = 0.97;

/// The marker of a stack whose program has no tables so far.
const NO_TABLES_YET: &str = "[truncated: no tables yet]";

/// How long an event may take to arrive.
const EVENTS_LIMIT: Duration = Duration::from_secs(10);

/// What the agent asks for in `run`.
fn options(scope: Scope) -> LoadOptions {
    LoadOptions {
        frequency_hz: 99,
        scope,
        targets: vec![std::process::id()],
        cgroup_id: 0,
        cpu_samples: true,
        syscalls: true,
        kernel_log: false,
    }
}

/// Every program of the object is accepted, each for itself and all together, attached.
fn load(_: &Agent) -> Result<String> {
    let costs = program_costs(&options(Scope::All))?;
    for (name, cost) in &costs {
        match cost {
            Ok(cost) => say(&json!({
                "line": "program",
                "name": name,
                "verified_instructions": cost.verified_instructions,
                "translated_bytes": cost.translated_bytes,
                "load_us": cost.load.as_micros() as u64,
            })),
            Err(error) => say(&json!({"line": "refused", "name": name, "why": last_lines(error)})),
        }
    }
    let refused: Vec<&str> =
        costs.iter().filter(|(_, cost)| cost.is_err()).map(|(name, _)| name.as_str()).collect();
    ensure!(refused.is_empty(), "refused: {}", refused.join(", "));
    let started = Instant::now();
    let kernel = Kernel::load(&options(Scope::All))?;
    ensure!(kernel.degraded().is_empty(), "{}", kernel.degraded().join("; "));
    Ok(format!(
        "{} programs, loaded and attached in {} ms",
        costs.len(),
        started.elapsed().as_millis()
    ))
}

/// The verifier says at the end of its log what it did not like.
fn last_lines(error: &anyhow::Error) -> String {
    const LINES: usize = 25;
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// A busy program is sampled from its start and its function named, with tables and before there are any.
fn sample(agent: &Agent) -> Result<String> {
    let file = agent.scratch("sample.folded");
    let program = agent.program("spin");
    agent.capture(&file, &[], &[&program.to_string_lossy(), SECONDS])?;
    Stacks::read(&file)?.ensure_share(&["spin_leaf"], SHARE_MIN, SAMPLES_MIN)
}

/// Stacks of a program without frame pointers reach its root, and hold every function on the way.
fn unwind(agent: &Agent) -> Result<String> {
    let file = agent.scratch("unwind.folded");
    let program = agent.program("chain");
    agent.capture(&file, &[], &[&program.to_string_lossy(), SECONDS])?;
    // How soon tables are there depends on the machine, and an emulated one is slow; what counts is what comes then.
    let (early, later) = Stacks::read(&file)?.part(NO_TABLES_YET);
    let chain: Vec<String> = (1..=10).map(|link| format!("chain_{link}")).collect();
    let mut frames = vec!["_start", "main"];
    frames.extend(chain.iter().map(String::as_str));
    let share = later.ensure_share(&frames, WHOLE_SHARE_MIN, SAMPLES_MIN)?;
    Ok(format!("{share}, and {} before there were tables", early.samples()))
}

/// Every call of a child's children is counted, with its error.
fn syscalls(_: &Agent) -> Result<String> {
    let kernel = Kernel::load(&options(Scope::Targets))?;
    let mut reader = kernel.latency_reader().context("syscalls are not timed")?;
    let status = children::command("parent")?.status().context("failed to start a child")?;
    ensure!(status.success(), "the child ended with {status}");
    let (mut calls, mut errors) = (0, 0);
    for window in reader.take_window(&|_| true) {
        match window.name.as_str() {
            "getppid" => calls += window.histogram.calls(),
            "getpriority" => errors += window.errors.iter().map(|(_, count)| count).sum::<u64>(),
            _ => {}
        }
    }
    let missed = missed_runs()?;
    for (name, seen, truth) in [
        ("getppid", calls, PARENT_CALLS * CHILDREN),
        ("failed getpriority", errors, PRIORITY_ERRORS * CHILDREN),
    ] {
        ensure!(seen <= truth, "{name}: {truth} calls were made, {seen} seen");
        ensure!(
            seen + missed >= truth,
            "{name}: {truth} calls were made, {seen} seen; the kernel left out {missed} runs"
        );
    }
    Ok(format!(
        "{calls} getppid, {errors} failed getpriority, {missed} runs left out by the kernel"
    ))
}

/// How often the kernel left out one of our programs, because the same one was running on that CPU already.
///
/// Before 5.12 the kernel does not say.
fn missed_runs() -> Result<u64> {
    let mut missed = 0;
    for entry in fs::read_dir("/proc/self/fdinfo").context("failed to list open files")? {
        // The descriptor of the listing itself is gone when it is read.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let counts = text.lines().filter_map(|line| line.strip_prefix("recursion_misses:"));
        missed += counts.filter_map(|count| count.trim().parse::<u64>().ok()).sum::<u64>();
    }
    Ok(missed)
}

/// Exec and exit of a child are seen with its number and start, and children of a target become targets.
fn processes(_: &Agent) -> Result<String> {
    let mut kernel = Kernel::load(&options(Scope::Targets))?;
    let mut child = children::command("nothing")?.spawn().context("failed to start a child")?;
    let status = child.wait().context("failed to wait for the child")?;
    ensure!(status.success(), "the child ended with {status}");
    let mut seen = Vec::new();
    let (mut drain, limit) = (Drain::new(), Instant::now() + EVENTS_LIMIT);
    while seen.len() < 2 && Instant::now() < limit {
        drain.drain(&mut kernel, &mut |sign| {
            if sign.key.tgid == child.id() && sign.kind != SignKind::Sample {
                seen.push((sign.kind, sign.key.start_ns));
            }
        });
    }
    let kinds: Vec<SignKind> = seen.iter().map(|(kind, _)| *kind).collect();
    ensure!(kinds == [SignKind::Exec, SignKind::Exit], "seen of the child: {kinds:?}");
    ensure!(seen[0].1 > 0 && seen[0].1 == seen[1].1, "starts of one process: {seen:?}");
    let mut reader = kernel.latency_reader().context("syscalls are not timed")?;
    let followed =
        reader.take_window(&|_| true).iter().any(|window| window.process.tgid == child.id());
    ensure!(followed, "the calls of a child of a target were not seen: fork was missed");
    Ok("exec, exit and fork of a child".to_owned())
}
