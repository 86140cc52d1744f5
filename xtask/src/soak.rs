//! `cargo xtask soak`: agent, collector and load for as long as one likes; fails when memory, descriptors or map entries
//! grow.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::bench::process::{Collector, Process};
use crate::workspace;

/// Part of the time that is not judged: dictionaries, caches and tables fill.
const WARM_UP_SHARE: f64 = 0.3;

/// Shortest run whose slope is judged: in a shorter one a single page cache of a library is more than the limit.
const JUDGED_MINUTES_MIN: u64 = 15;

/// How fast memory may grow after the warm-up.
const SLOPE_MB_PER_HOUR_MAX: f64 = 1.0;

/// Descriptors and map entries come and go with connections and processes; the most of the last third may lie above the
/// most of the first third of the judged time by this share, and this number.
const GROWTH_SHARE_MAX: f64 = 0.1;
const GROWTH_MAX: f64 = 16.0;

/// Kinds of maps whose entries are made and deleted as processes come and go; the others are arrays.
const GROWING_MAPS: [&str; 4] = ["hash", "lru_hash", "lpm_trie", "hash_of_maps"];

/// Arguments of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Simulated agents beside the real one
    #[arg(long, default_value_t = 100)]
    agents: u32,
    /// Seconds between two lines
    #[arg(long, default_value_t = 30)]
    every: u64,
}

/// Builds all three for release, runs them together, and says what grew.
#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(workspace::is_root(), "failed to soak: sampling needs root; run it with `sudo -E`");
    // In one go: by themselves their dependencies would have other features, and be built twice.
    let packages = ["-p", "profiler-agent", "-p", "collector", "-p", "e2e"];
    let mut build = workspace::cargo(&["build", "--release", "--bins"]);
    workspace::run(build.args(packages))?;
    let release = workspace::target().join("release");
    let [load, program, agent] =
        ["flamewatch-load", "flamewatch-collector", "flamewatch-agent"].map(|at| release.join(at));
    let parent = workspace::target().join("bench");
    fs::create_dir_all(&parent).context("failed to create the folder of measurements")?;
    let folder = tempfile::tempdir_in(&parent).context("failed to create a folder")?;
    let at = |name: &str| folder.path().join(name);
    let mut collector = Collector::start(&program, &at("store.db"), &at("collector.log"))?;
    let mut agent = start_agent(&agent, &collector, folder.path())?;
    let seconds = args.minutes * 60;
    let mut fleet = Command::new(load);
    fleet.args(["agents", "--collector", &collector.grpc.to_string(), "--warm-up", "0"]);
    fleet.args(["--agents", &args.agents.to_string(), "--seconds", &(seconds + 60).to_string()]);
    let mut fleet = Process::start("flamewatch-load", &mut fleet, &at("load.log"))?;
    let begun = Instant::now();
    let mut seen = Vec::new();
    println!("minute   collector: MB  descriptors   agent: MB  descriptors  map entries");
    while begun.elapsed() < Duration::from_secs(seconds) {
        sleep(Duration::from_secs(args.every));
        for process in [&mut collector.process, &mut agent, &mut fleet] {
            process.still_runs()?;
        }
        let moment = Moment::read(begun, &collector.process, &agent)?;
        moment.print();
        seen.push(moment);
    }
    drop(fleet);
    agent.stop()?;
    collector.process.stop()?;
    judge(&seen, args.minutes)
}

fn start_agent(program: &Path, collector: &Collector, folder: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    command.args(["run", "--collector", &format!("http://{}", collector.grpc)]);
    // Its own port, so that an agent of this host is not in the way.
    command.args(["--admin", "127.0.0.1:0", "--state-dir"]).arg(folder.join("agent"));
    Process::start("the agent", &mut command, &folder.join("agent.log"))
}

/// What both took at one time.
#[derive(Debug, Clone, Copy)]
struct Moment {
    minutes: f64,
    collector_mb: f64,
    collector_descriptors: f64,
    agent_mb: f64,
    agent_descriptors: f64,
    map_entries: f64,
}

impl Moment {
    fn read(begun: Instant, collector: &Process, agent: &Process) -> Result<Self> {
        let mb = |process: &Process| {
            Ok::<_, anyhow::Error>(process.status_kib("VmRSS")? as f64 / 976.5625)
        };
        Ok(Self {
            minutes: begun.elapsed().as_secs_f64() / 60.0,
            collector_mb: mb(collector)?,
            collector_descriptors: collector.descriptors()? as f64,
            agent_mb: mb(agent)?,
            agent_descriptors: agent.descriptors()? as f64,
            map_entries: map_entries(agent.pid())? as f64,
        })
    }

    #[expect(clippy::print_stdout, reason = "the table is what this command is for")]
    fn print(&self) {
        println!(
            "{:>6.1}   {:>13.1}  {:>11}   {:>9.1}  {:>11}  {:>11}",
            self.minutes,
            self.collector_mb,
            self.collector_descriptors,
            self.agent_mb,
            self.agent_descriptors,
            self.map_entries
        );
    }
}

/// Fails when something grew.
#[expect(clippy::print_stdout, reason = "the sums are what this command is for")]
fn judge(seen: &[Moment], minutes: u64) -> Result<()> {
    let warm = seen.len() - ((seen.len() as f64) * (1.0 - WARM_UP_SHARE)).ceil() as usize;
    let seen = &seen[warm..];
    let mut grown = Vec::new();
    for (name, mb) in [
        ("collector", (|moment| moment.collector_mb) as fn(&Moment) -> f64),
        ("agent", |moment| moment.agent_mb),
    ] {
        let points: Vec<(f64, f64)> =
            seen.iter().map(|moment| (moment.minutes / 60.0, mb(moment))).collect();
        let slope = slope(&points);
        println!("{name}: {slope:+.2} MB/h after the warm-up");
        if minutes >= JUDGED_MINUTES_MIN && slope > SLOPE_MB_PER_HOUR_MAX {
            grown.push(format!("the memory of the {name} grows by {slope:.2} MB/h"));
        }
    }
    for (name, number) in [
        ("descriptors of the collector", (|m| m.collector_descriptors) as fn(&Moment) -> f64),
        ("descriptors of the agent", |moment| moment.agent_descriptors),
        ("map entries of the agent", |moment| moment.map_entries),
    ] {
        let third = seen.len().div_ceil(3);
        let most = |part: &[Moment]| part.iter().map(number).fold(0.0, f64::max);
        let (first, last) = (most(&seen[..third]), most(&seen[seen.len() - third..]));
        println!("{name}: at most {first}, in the end {last}");
        if last > first * (1.0 + GROWTH_SHARE_MAX) + GROWTH_MAX {
            grown.push(format!("the {name} grow from {first} to {last}"));
        }
    }
    if minutes < JUDGED_MINUTES_MIN {
        println!("slopes are judged from {JUDGED_MINUTES_MIN} minutes on");
    }
    if grown.is_empty() { Ok(()) } else { bail!("{}", grown.join("; ")) }
}

/// Rise of the line with the smallest squared errors.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut both, mut square) = (0.0, 0.0);
    for point in points {
        both += (point.0 - x) * (point.1 - y);
        square += (point.0 - x).powi(2);
    }
    if square > 0.0 { both / square } else { 0.0 }
}

/// Entries of the maps of a process that can grow.
fn map_entries(pid: u32) -> Result<usize> {
    let folder = format!("/proc/{pid}/fdinfo");
    let files = fs::read_dir(&folder).with_context(|| format!("failed to list `{folder}`"))?;
    // A file may be closed while the list is read.
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let id = |text: String| {
        text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
    };
    let ids: BTreeSet<u64> = texts.filter_map(id).collect();
    let maps = bpftool(&["map", "show", "--json"])?;
    let maps = maps.as_array().context("bpftool printed no list")?;
    let is_growing = |map: &&Value| {
        let kind = map["type"].as_str().unwrap_or_default();
        GROWING_MAPS.contains(&kind) && map["id"].as_u64().is_some_and(|id| ids.contains(&id))
    };
    let mut entries = 0;
    for map in maps.iter().filter(is_growing) {
        let id = map["id"].to_string();
        let dumped = bpftool(&["map", "dump", "id", &id, "--json"])?;
        entries += dumped.as_array().map_or(0, Vec::len);
    }
    Ok(entries)
}

fn bpftool(arguments: &[&str]) -> Result<Value> {
    let program = workspace::find_program("bpftool").context("bpftool is not installed")?;
    let output = Command::new(program).args(arguments).output().context("failed to run bpftool")?;
    ensure!(output.status.success(), "bpftool ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("bpftool printed no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(collector_mb: impl Fn(f64) -> f64, entries: impl Fn(f64) -> f64) -> Vec<Moment> {
        let moment = |minute: u32| {
            let minutes = f64::from(minute);
            Moment {
                minutes,
                collector_mb: collector_mb(minutes),
                collector_descriptors: 40.0,
                agent_mb: 30.0,
                agent_descriptors: 60.0,
                map_entries: entries(minutes),
            }
        };
        (1..=30).map(moment).collect()
    }

    #[test]
    fn what_stays_flat_after_the_warm_up_passes() {
        let settles = |minutes: f64| 100.0 + 50.0 * (minutes.min(8.0) / 8.0);
        judge(&moments(settles, |minutes| 300.0 + (minutes as u64 % 5) as f64), 30).unwrap();
    }

    #[test]
    fn a_leak_of_two_megabytes_an_hour_is_told() {
        let leak = moments(|minutes| 100.0 + minutes / 30.0, |_| 300.0);
        let error = judge(&leak, 30).unwrap_err().to_string();
        assert!(error.contains("memory of the collector grows by 2.00 MB/h"), "{error}");
    }

    #[test]
    fn map_entries_that_are_never_deleted_are_told() {
        let leak = moments(|_| 100.0, |minutes| 300.0 + 20.0 * minutes);
        let error = judge(&leak, 2).unwrap_err().to_string();
        assert!(error.contains("map entries of the agent grow"), "{error}");
    }
}
