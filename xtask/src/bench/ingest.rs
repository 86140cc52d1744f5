//! How many agents a collector bears: rows a second, time to acknowledge, memory, and bytes on the wire and on disk.
//!
//! The agents are `flamewatch-load` of `tests/`, on the same machine: what they take is taken from the collector, and is
//! shown.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::process::{Collector, store_bytes};
use crate::workspace;

/// A rate is held when 99 of 100 batches are acknowledged within this time, and all of them in the end.
const ACKNOWLEDGED_MS_MAX: f64 = 1000.0;

/// The search ends when the next rate to try is less than this factor away.
const SEARCH_FACTOR: f64 = 1.15;

/// Rates tried at most.
const SEARCH_MAX: u32 = 8;

/// Arguments of `cargo xtask bench ingest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Agents, each with 10 services of 200 stack rows every 10 s
    #[arg(long, default_value_t = 1000)]
    agents: u32,
    /// Seconds that are measured, after the warm-up
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds before, for dictionaries and caches to fill
    #[arg(long, default_value_t = 30)]
    warm_up: u64,
    /// Seconds of each rate while the highest one is searched; 0 leaves the search out
    #[arg(long, default_value_t = 20)]
    search_seconds: u64,
}

/// Builds collector and agents for release and measures.
#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = programs()?;
    let parent = workspace::target().join("bench");
    fs::create_dir_all(&parent).context("failed to create the folder of measurements")?;
    let folder = tempfile::tempdir_in(&parent).context("failed to create a folder")?;
    let asked = Asked { agents: args.agents, seconds: args.seconds, warm_up: args.warm_up };
    let held = measure(&programs, folder.path(), asked)?;
    held.print();
    let warm = warm_wire_bytes(&programs, folder.path())?;
    println!("  on the wire a row, warm       {warm:>12.2} B");
    let peers = programs.load(&["peers", "--folder", &folder.path().to_string_lossy()])?;
    print_peers(&held, &peers);
    if args.search_seconds > 0 {
        search(&programs, folder.path(), args)?;
    }
    Ok(())
}

/// What is measured, and what it is measured with.
pub(super) struct Programs {
    pub(super) collector: PathBuf,
    load: PathBuf,
}

/// Builds both for release.
pub(super) fn programs() -> Result<Programs> {
    let build = ["build", "--release", "-p", "collector", "-p", "e2e", "--bins"];
    workspace::run(&mut workspace::cargo(&build))?;
    let folder = workspace::target().join("release");
    Ok(Programs {
        collector: folder.join("flamewatch-collector"),
        load: folder.join("flamewatch-load"),
    })
}

impl Programs {
    /// Runs `flamewatch-load`, which ends with one line of JSON.
    pub(super) fn load(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(&self.load)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .context("failed to run flamewatch-load")?;
        ensure!(output.status.success(), "flamewatch-load ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim()).context("flamewatch-load printed no JSON")
    }
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    agents: u32,
    seconds: u64,
    warm_up: u64,
}

/// What one rate took.
#[derive(Debug)]
struct Held {
    asked: Asked,
    answer: Value,
    rows_per_second: f64,
    p99_ms: f64,
    collector_cpu: f64,
    peak_mib: f64,
    disk_bytes_per_row: f64,
    opened_ms: u128,
}

impl Held {
    fn is_held(&self) -> bool {
        let rows_asked = f64::from(self.asked.agents) * 200.0;
        self.p99_ms < ACKNOWLEDGED_MS_MAX
            && self.rows_per_second > 0.98 * rows_asked
            && self.answer["is_drained"] == true
            && self.answer["acknowledged"]["rejected"] == 0
    }

    fn number(&self, name: &str) -> f64 {
        self.answer[name].as_f64().unwrap_or(f64::NAN)
    }

    #[expect(clippy::print_stdout, reason = "the table is what this command is for")]
    fn print(&self) {
        let Self { asked, answer, .. } = self;
        let acknowledged = &answer["acknowledged"];
        let rows = self.number("rows");
        let cpu = |seconds: f64| 100.0 * seconds / asked.seconds as f64;
        println!(
            "{} agents, 10 services, 200 rows each 10 s, over {} s after {} s of warm-up:",
            asked.agents, asked.seconds, asked.warm_up
        );
        println!("  rows a second                 {:>12.0}", self.rows_per_second);
        println!("  acknowledged, middle          {:>12} ms", acknowledged["p50_ms"]);
        println!("  acknowledged, 99 of 100       {:>12} ms", acknowledged["p99_ms"]);
        println!("  acknowledged, all             {:>12} ms", acknowledged["max_ms"]);
        println!(
            "  sent again, refused           {:>12}, {}",
            acknowledged["retries"], acknowledged["rejected"]
        );
        println!("  collector, most memory        {:>12.0} MiB", self.peak_mib);
        println!("  collector, CPU                {:>12.0} %", self.collector_cpu);
        println!(
            "  agents together, CPU          {:>12.0} %",
            cpu(self.number("generator_cpu_seconds"))
        );
        println!("  on the wire a row             {:>12.2} B", self.number("wire_bytes") / rows);
        println!("  answers a row                 {:>12.2} B", self.number("answer_bytes") / rows);
        println!("  on disk a row                 {:>12.2} B", self.disk_bytes_per_row);
        println!("  the store opens again in      {:>12} ms", self.opened_ms);
    }
}

/// Runs one rate against a new collector and store.
fn measure(programs: &Programs, folder: &Path, asked: Asked) -> Result<Held> {
    let store = folder.join("store.db");
    let log = folder.join("collector.log");
    let collector = Collector::start(&programs.collector, &store, &log)?;
    let cpu_before = collector.process.cpu_seconds()?;
    let answer = programs.load(&[
        "agents",
        "--collector",
        &collector.grpc.to_string(),
        "--agents",
        &asked.agents.to_string(),
        "--seconds",
        &asked.seconds.to_string(),
        "--warm-up",
        &asked.warm_up.to_string(),
    ])?;
    let cpu = collector.process.cpu_seconds()? - cpu_before;
    let peak_mib = collector.process.status_kib("VmHWM")? as f64 / 1024.0;
    let stored = collector.api("status")?["batches_stored"].as_u64().unwrap_or(0);
    collector.process.stop()?;
    // The last one who closes the store writes its log into it.
    let bytes = store_bytes(&store);
    let again = Collector::start(&programs.collector, &store, &log)?;
    let opened_ms = again.opened_in.as_millis();
    again.process.stop()?;
    for file in fs::read_dir(folder).context("failed to list a folder")? {
        fs::remove_file(file?.path()).context("failed to remove a store")?;
    }
    let per_second = answer["rows_per_second"].as_f64().unwrap_or(f64::NAN);
    Ok(Held {
        asked,
        rows_per_second: per_second,
        p99_ms: answer["acknowledged"]["p99_ms"].as_f64().unwrap_or(f64::NAN),
        collector_cpu: 100.0 * cpu / (asked.seconds + asked.warm_up) as f64,
        peak_mib,
        // Of all rows that are in it, those of the warm-up included: 2,000 in each batch.
        disk_bytes_per_row: bytes as f64 / (stored * 2000) as f64,
        opened_ms,
        answer,
    })
}

/// Bytes on the wire a row when each agent has told its stacks: a few agents that live through 20 minutes of windows in
/// half a minute, of which the second half counts.
fn warm_wire_bytes(programs: &Programs, folder: &Path) -> Result<f64> {
    let store = folder.join("warm.db");
    let log = folder.join("warm.log");
    let collector = Collector::start(&programs.collector, &store, &log)?;
    let address = collector.grpc.to_string();
    let few = ["agents", "--collector", &address, "--agents", "20", "--every-ms", "250"];
    let times = ["--warm-up", "15", "--seconds", "15"];
    let answer = programs.load(&[few.as_slice(), &times].concat())?;
    collector.process.stop()?;
    let number = |name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
    Ok(number("wire_bytes") / number("rows"))
}

/// Doubles the number of agents until the collector falls behind, then halves the step.
#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
fn search(programs: &Programs, folder: &Path, args: &Args) -> Result<()> {
    let (mut held, mut failed) = (0.0, f64::INFINITY);
    let mut agents = f64::from(args.agents);
    for _ in 0..SEARCH_MAX {
        let asked = Asked {
            agents: agents as u32,
            seconds: args.search_seconds,
            warm_up: args.search_seconds.max(10),
        };
        let tried = measure(programs, folder, asked)?;
        let is_held = tried.is_held();
        println!(
            "  {:>6} agents, {:>8.0} rows a second: p99 {:>8.1} ms, {:>4.0} MiB, CPU {:>3.0} %: {}",
            asked.agents,
            tried.rows_per_second,
            tried.p99_ms,
            tried.peak_mib,
            tried.collector_cpu,
            if is_held { "held" } else { "not held" }
        );
        if is_held {
            held = agents;
        } else {
            failed = agents;
        }
        agents = if failed.is_infinite() { held * 2.0 } else { f64::midpoint(held, failed) };
        if failed / held.max(1.0) < SEARCH_FACTOR {
            break;
        }
    }
    println!("highest rate that was held: {:.0} rows a second", held * 200.0);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
fn print_peers(held: &Held, peers: &Value) {
    println!("the same rows in other forms, {} of them:", peers["rows"]);
    let shown = |name: &str, text: &str| {
        let bytes = peers[name]["bytes_per_row"].as_f64().unwrap_or(f64::NAN);
        let rows = peers[name]["rows_per_second"].as_f64().unwrap_or(f64::NAN);
        println!(
            "  {text:<30} {bytes:>6.2} B a row on disk ({:.1} times ours), {rows:>9.0} rows a second on one core",
            bytes / held.disk_bytes_per_row
        );
    };
    shown("sqlite", "plain rows in SQLite, indexed");
    shown("columns", "columns packed with zstd");
}
