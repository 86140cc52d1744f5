//! Measures what a sample with its stack costs, beside profile-bee: `cargo xtask bench unwind` runs it.
//!
//! Both profilers sample both the same load at the same rate, one after the other, for each depth of the stacks. The
//! kernel counts the time of their programs; how deep they looked is read from the stacks that they wrote. Everything
//! runs with the highest priority, so that what else this host does takes few samples.

mod measure;
mod priority;
mod stacks;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use clap::Parser;
use measure::{Cost, Run};
use stacks::Stacks;
use workload::{COLD, HOT, Spread, WIDE, Workload};

/// Frames of the user stacks.
const DEPTHS: [u32; 3] = [20, 60, 200];

/// The default of `run`.
const FREQUENCY_CONTINUOUS_HZ: u32 = 19;

/// Time until a profiler knows the load.
const SETTLE: Duration = Duration::from_secs(3);

/// lightswitch 0.5.0 on two busy CPUs at 97 Hz for 10 s, start-up included: its time for a sample, CPU time and memory.
/// It is not run again here, because it does not come as a package.
const LIGHTSWITCH_NS: f64 = 22_700.0;
const LIGHTSWITCH_CPU_S: f64 = 0.47;
const LIGHTSWITCH_MB: f64 = 59.0;

/// Windows of `run` that are measured, and their length.
const WINDOWS: u64 = 3;
const WINDOW: Duration = Duration::from_secs(10);

/// profile-bee looks a tracepoint up in tracefs, which containers often lack: it gets one that nobody else sees.
const BEE_SHELL: &str = "mount -t debugfs none /sys/kernel/debug; \
    mount -t tracefs none /sys/kernel/tracing; exec \"$0\" \"$@\"";

/// Measures what a sample costs; `cargo xtask bench unwind` builds what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Our agent, built for release.
    #[arg(long)]
    agent: PathBuf,
    /// profile-bee's `probee`; without it the comparison is left out.
    #[arg(long)]
    probee: Option<PathBuf>,
    /// Seconds of each measurement, after some for the start.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// Samples a second on each CPU. The more, the more of what a walk reads is still in the CPU's caches.
    #[arg(long, default_value_t = 99)]
    frequency: u32,
}

/// What is measured with, and where files go.
struct Bench {
    arguments: Arguments,
    folder: tempfile::TempDir,
}

/// One profiler on one load.
#[derive(Debug, Clone, Copy)]
struct Measured {
    run: Run,
    stacks: Stacks,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let _raised = priority::raise()?;
    // Counts for as long as the handle lives, and no longer, however this program ends.
    let _counting = enable_stats(Stats::RunTime).context("failed to let the kernel count")?;
    let folder = tempfile::tempdir().context("failed to create a folder")?;
    let bench = Bench { arguments, folder };
    bench.per_sample()?;
    bench.continuous()
}

impl Bench {
    /// Time of a sample by depth and spread; then the CPU time of the captures.
    #[expect(clippy::print_stdout, reason = "the table is what this program is for")]
    fn per_sample(&self) -> Result<()> {
        println!("Time of one sample at {} Hz, in nanoseconds\n", self.arguments.frequency);
        println!(
            "{:<12}{:>7}{:>11}{:>9}{:>8}{:>13}{:>9}{:>8}{:>7}",
            "places",
            "frames",
            "flamewatch",
            "whole",
            "load",
            "profile-bee",
            "frames",
            "whole",
            "ratio"
        );
        let mut captures = Vec::new();
        for spread in [HOT, WIDE, COLD] {
            let workload = Workload::build(self.folder.path(), spread)?;
            let mut points = Vec::new();
            for depth in DEPTHS {
                let load = workload.start(depth)?;
                let ours = self.ours()?;
                let theirs = self.theirs()?;
                drop(load);
                print_sample(spread, &ours, theirs.as_ref());
                points.push((ours.stacks.mean_frames(), ours.run.steady.ns_per_sample()));
                captures.push((spread, ours, theirs));
            }
            let (fixed, slope) = line_through(&points);
            println!("{:<12}{fixed:.0} ns a sample and {slope:.1} ns a frame", spread.name);
        }
        println!("lightswitch 0.5.0: {LIGHTSWITCH_NS:.0} ns a sample (recorded, not run again)");
        print_captures(&captures, &self.arguments);
        Ok(())
    }

    /// CPU time of `run`, naming and spooling included.
    #[expect(clippy::print_stdout, reason = "the table is what this program is for")]
    fn continuous(&self) -> Result<()> {
        let workload = Workload::build(self.folder.path(), WIDE)?;
        let _load = workload.start(DEPTHS[1])?;
        let seconds = (WINDOW * WINDOWS as u32).as_secs_f64();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        println!("\nflamewatch-agent run, steady, {WINDOWS} windows of 10 s, wide, 60 frames\n");
        println!(
            "{:>4}{:>12}{:>11}{:>12}{:>9}",
            "Hz", "process s", "kernel s", "% of CPUs", "RSS MB"
        );
        for frequency in [self.arguments.frequency, FREQUENCY_CONTINUOUS_HZ] {
            let run = self.run_without_collector(frequency)?;
            let Cost { process, programs, .. } = run.steady;
            println!(
                "{frequency:>4}{:>12.3}{:>11.3}{:>12.3}{:>9.1}",
                process.as_secs_f64(),
                programs.as_secs_f64(),
                100.0 * run.steady.cpu() / seconds / cpus,
                megabytes(run.rss)
            );
        }
        Ok(())
    }

    fn ours(&self) -> Result<Measured> {
        let file = self.folder.path().join("ours.folded");
        let total = SETTLE.as_secs() + self.arguments.seconds;
        let mut command = Command::new(&self.arguments.agent);
        command.args(["--log", "error", "capture", "--all", "--output", "json"]);
        command.args([
            "--frequency",
            &self.arguments.frequency.to_string(),
            "--seconds",
            &total.to_string(),
        ]);
        command.arg("--out").arg(&file);
        self.measure(&mut command, &file)
    }

    fn theirs(&self) -> Result<Option<Measured>> {
        let Some(probee) = &self.arguments.probee else { return Ok(None) };
        let file = self.folder.path().join("theirs.folded");
        let milliseconds = (SETTLE.as_secs() + self.arguments.seconds) * 1000;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", BEE_SHELL]).arg(probee);
        command.args(["--dwarf", "true", "--frequency", &self.arguments.frequency.to_string()]);
        command.args(["--time", &milliseconds.to_string(), "--output"]).arg(&file);
        command.stderr(std::process::Stdio::null());
        self.measure(&mut command, &file).map(Some).context("profile-bee failed")
    }

    fn measure(&self, command: &mut Command, file: &Path) -> Result<Measured> {
        // Half a second before the end: what comes at the end is not steady.
        let to = SETTLE + Duration::from_secs(self.arguments.seconds) - Duration::from_millis(500);
        let run = measure::run(command, SETTLE, to, measure::End::ByItself)?;
        Ok(Measured { run, stacks: Stacks::read(file, workload::PROGRAM)? })
    }

    fn run_without_collector(&self, frequency: u32) -> Result<Run> {
        let state = self.folder.path().join("state");
        let mut command = Command::new(&self.arguments.agent);
        // Nobody listens there: batches go to the spool.
        command.args(["--log", "error", "run", "--collector", "http://127.0.0.1:9"]);
        command.args(["--admin", "127.0.0.1:0", "--no-syscalls"]);
        command.args(["--frequency", &frequency.to_string(), "--state-dir"]).arg(state);
        // The first window names everything for the first time.
        let from = WINDOW * 3 / 2;
        measure::run(&mut command, from, from + WINDOW * WINDOWS as u32, measure::End::Interrupted)
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print_sample(spread: Spread, ours: &Measured, theirs: Option<&Measured>) {
    let ns = ours.run.steady.ns_per_sample();
    let (frames, whole) = (ours.stacks.mean_frames(), ours.stacks.whole_percent());
    let load = ours.stacks.load_percent();
    print!("{:<12}{frames:>7.1}{ns:>11.0}{whole:>7.1} %{load:>6.1} %", spread.name);
    match theirs {
        Some(theirs) => {
            let theirs_ns = theirs.run.steady.ns_per_sample();
            let (frames, whole) = (theirs.stacks.mean_frames(), theirs.stacks.whole_percent());
            println!("{theirs_ns:>13.0}{frames:>9.1}{whole:>6.1} %{:>7.2}", ns / theirs_ns);
        }
        None => println!("{:>13}", "not run"),
    }
}

/// CPU time and memory of the captures of 60 frames, from start to end, and in their steady part.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print_captures(captures: &[(Spread, Measured, Option<Measured>)], arguments: &Arguments) {
    let Arguments { seconds, frequency, .. } = *arguments;
    let total = SETTLE.as_secs() + seconds;
    println!("\nCPU time at {frequency} Hz, start and naming included, in seconds per 10 s\n");
    println!(
        "{:<8}{:<14}{:>7}{:>9}{:>8}{:>7}{:>15}{:>9}",
        "places", "", "frames", "process", "kernel", "sum", "steady process", "RSS MB"
    );
    for (spread, ours, theirs) in captures {
        for (name, measured) in [("flamewatch", Some(ours)), ("profile-bee", theirs.as_ref())] {
            let Some(Measured { run, stacks: _ }) = measured else { continue };
            let scale = 10.0 / total as f64;
            println!(
                "{:<8}{name:<14}{:>7.0}{:>9.3}{:>8.3}{:>7.3}{:>15.3}{:>9.1}",
                spread.name,
                ours.stacks.mean_frames(),
                run.whole.process.as_secs_f64() * scale,
                run.whole.programs.as_secs_f64() * scale,
                run.whole.cpu() * scale,
                run.steady.process.as_secs_f64() * 10.0 / (seconds as f64 - 0.5),
                megabytes(run.rss)
            );
        }
    }
    println!(
        "{:<22}{:>24}{LIGHTSWITCH_CPU_S:>7.3}{:>15}{LIGHTSWITCH_MB:>9.1}  (recorded, not run again)",
        "lightswitch 0.5.0", "", ""
    );
}

/// Least squares: (value at 0, rise).
fn line_through(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let above: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = if below > 0.0 { above / below } else { 0.0 };
    (mean_y - slope * mean_x, slope)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
