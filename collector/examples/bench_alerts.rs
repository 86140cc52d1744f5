//! Measures how long 500 services take to be evaluated, against the length of a window; `cargo xtask bench alerts` runs
//! it.
//!
//! A real store holds 20 minutes of three units of each service, in batches of 10 s as agents send them. The hardest case
//! is that all services were released within the last minutes, so that both sides of each are read and compared.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use flamewatch_collector::alert::{AlertBook, AlertOptions, Evaluator};
use flamewatch_collector::detect::Policy;
use flamewatch_collector::detect::temporal::TemporalOptions;
use flamewatch_collector::store::{SqliteStore, Store, StoreOptions};
use profiler_common::wire::{PROTOCOL_VERSION, v1};

const SERVICES: u32 = 500;
const UNITS: u64 = 3;
/// Functions of a service.
const FUNCTIONS: u64 = 400;
/// Different stacks of a service.
const STACKS: u64 = 300;
/// Frames of a stack.
const DEPTH: u64 = 18;
/// Samples of a unit in a batch: half a core at 49 Hz.
const SAMPLES: u64 = 245;
const WINDOW_SECONDS: u64 = 60;
const BATCH_NS: u64 = 10 * 1_000_000_000;
const WINDOWS: u64 = 20;
const BATCHES_OF_WINDOW: u64 = 6;
/// Windows before the release.
const RELEASED_AFTER: u64 = 10;
/// A whole number of windows of ten minutes.
const T0: u64 = 1_700_000_400 * 1_000_000_000;

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("flamewatch-bench-{}", std::process::id()));
    fs::create_dir(&folder).context("failed to make a folder")?;
    let measured = measure(&folder.join("store.db"));
    fs::remove_dir_all(&folder).context("failed to remove the folder")?;
    measured
}

fn measure(path: &Path) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, StoreOptions::default())?);
    let started = Instant::now();
    // All but the newest window; that one comes between the two evaluations.
    fill(&*store, 0..(WINDOWS - 1) * BATCHES_OF_WINDOW)?;
    let bytes = store.stats()?.bytes_on_disk;
    println!(
        "{SERVICES} services, {UNITS} units each, {} windows, {STACKS} stacks of {DEPTH} frames; written in {:.0} s, {} MB",
        WINDOWS,
        started.elapsed().as_secs_f64(),
        bytes >> 20
    );
    let options = AlertOptions::default();
    let book = Arc::new(AlertBook::load(&*store)?);
    let evaluator = Evaluator::new(
        Arc::clone(&store),
        Arc::clone(&book),
        Policy::default(),
        TemporalOptions::default(),
        options,
    )?;
    let before_kb = forget_peak();
    run(&evaluator, WINDOWS - 1, "all released, first look, history read")?;
    fill(&*store, (WINDOWS - 1) * BATCHES_OF_WINDOW..WINDOWS * BATCHES_OF_WINDOW)?;
    run(&evaluator, WINDOWS, "all released, next look")?;
    run(&evaluator, WINDOWS, "nothing new")?;
    println!(
        "  memory, from {} MB at most {} MB; self tests {}, false alarms {}",
        before_kb >> 10,
        status_kb("VmHWM") >> 10,
        book.self_tests().total.tests,
        book.self_tests().total.firing
    );
    Ok(())
}

/// Evaluates once at the end of a window.
fn run(evaluator: &Evaluator, windows: u64, what: &str) -> Result<()> {
    let now = T0 + windows * BATCHES_OF_WINDOW * BATCH_NS;
    let started = Instant::now();
    let alerts = evaluator.evaluate_once(now)?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "  {what:40} {seconds:7.2} s   {:6.3} of a window   {} alerts",
        seconds / WINDOW_SECONDS as f64,
        alerts.len()
    );
    Ok(())
}

fn fill(store: &dyn Store, batches: std::ops::Range<u64>) -> Result<()> {
    for number in batches {
        for unit in 0..UNITS {
            store.write_whole(&batch(number, unit)).context("failed to write a batch")?;
        }
    }
    Ok(())
}

/// One batch of one host, with one unit of every service.
fn batch(number: u64, unit: u64) -> v1::Batch {
    let version = if number / BATCHES_OF_WINDOW < RELEASED_AFTER { "1" } else { "2" };
    let mut batch = v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: format!("agent-{unit}"),
        epoch: 1,
        sequence: number + 1,
        host: format!("host-{unit}"),
        start_unix_ns: T0 + number * BATCH_NS,
        end_unix_ns: T0 + (number + 1) * BATCH_NS,
        ..v1::Batch::default()
    };
    let mut strings = vec![String::new(), version.to_owned(), format!("pod-{unit}")];
    for function in 0..FUNCTIONS {
        strings.push(format!("crate::module{}::Type::function_{function}", function % 20));
    }
    let first_name = strings.len() as u32;
    strings.extend((0..SERVICES).map(|service| format!("service-{service:03}")));
    let mut noise = Noise(number * 31 + unit + 1);
    for service in 0..SERVICES {
        // Each service has functions of its own, as each is a program of its own.
        let first_frame = batch.frames.len() as u32;
        batch.frames.extend((0..FUNCTIONS as u32).map(|function| v1::Frame {
            kind: v1::FrameKind::Native.into(),
            function: 3 + function,
            module: first_name + service,
            ..v1::Frame::default()
        }));
        let mut profile = v1::ServiceProfile {
            service: first_name + service,
            version: 1,
            unit: 2,
            period_ns: 20_408_163,
            ..v1::ServiceProfile::default()
        };
        let mut counts = vec![0u64; STACKS as usize];
        for _ in 0..SAMPLES {
            // A few stacks have most samples, as in real profiles.
            let at = noise.next() % STACKS * (noise.next() % STACKS) / STACKS;
            counts[at as usize] += 1;
        }
        for (stack, count) in (0u64..).zip(counts).filter(|(_, count)| *count > 0) {
            profile.stacks.push(batch.stacks.len() as u32);
            profile.counts.push(count);
            let frame = |depth| first_frame + (frame_at(stack, depth) % FUNCTIONS) as u32;
            batch.stacks.push(v1::Stack { frames: (0..DEPTH).map(frame).collect() });
        }
        batch.services.push(profile);
    }
    batch.strings = strings;
    batch
}

/// A tree: the deeper a frame, the more stacks differ in it.
const fn frame_at(stack: u64, depth: u64) -> u64 {
    let branch = if depth < 4 { 0 } else { stack >> (8 - depth.saturating_sub(4) % 9) };
    branch * 7 + depth * 13
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
struct Noise(u64);

impl Noise {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 1
    }
}

/// Makes the kernel forget how much memory this process had at most; returns what it has now, in KB.
fn forget_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel lets a process clear its own peak");
    status_kb("VmRSS")
}

fn status_kb(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
    let digits = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
    digits.parse().expect("a number of kB")
}
