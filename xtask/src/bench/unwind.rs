//! What a sample with its stack costs; the measurement itself is `profiler-agent/examples/bench_unwind`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::test::install;
use crate::workspace;

/// The profiler that ours is measured beside.
const PEER: &str = "profile-bee";

/// Its version, so that figures of different days can be compared.
const PEER_VERSION: &str = "0.3.13";

/// Arguments of `cargo xtask bench unwind`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds of each of the 18 measurements, after three for the start
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Samples a second on each CPU
    #[arg(long, default_value_t = 99)]
    frequency: u32,
    /// Leaves the comparison with profile-bee out
    #[arg(long)]
    alone: bool,
}

/// Builds agent and measurement for release, installs profile-bee where it can, and runs the measurement.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(workspace::is_root(), "failed to measure: sampling needs root; run it with `sudo -E`");
    workspace::run(&mut workspace::cargo(&[
        "build",
        "--release",
        "--package=profiler-agent",
        "--bin=flamewatch-agent",
        "--example=bench_unwind",
    ]))?;
    let release = workspace::target().join("release");
    let mut measurement = Command::new(release.join("examples/bench_unwind"));
    measurement.arg("--agent").arg(release.join("flamewatch-agent"));
    measurement.args(["--seconds", &args.seconds.to_string()]);
    measurement.args(["--frequency", &args.frequency.to_string()]);
    if !args.alone {
        match peer() {
            Ok(program) => {
                measurement.arg("--probee").arg(program);
            }
            Err(error) => {
                eprintln!("{PEER} cannot be installed, so there is no comparison: {error:#}");
            }
        }
    }
    workspace::run(&mut measurement)
}

/// Finds profile-bee among our tools, or installs it there.
fn peer() -> Result<PathBuf> {
    let folder = install::tools().join(PEER);
    let program = folder.join("bin/probee");
    if !program.is_file() {
        let version = format!("{PEER}@{PEER_VERSION}");
        let mut cargo = workspace::cargo(&["install", &version, "--locked"]);
        cargo.args(["--no-default-features", "--root"]).arg(&folder);
        // Cargo then builds in a folder of its own, and removes it.
        cargo.env_remove("CARGO_TARGET_DIR");
        workspace::run(&mut cargo)?;
    }
    program.is_file().then_some(program).context("its package has no program `probee`")
}
