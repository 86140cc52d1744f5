//! `cargo xtask fuzz`: gives the agent's parsers bytes that lie, in search of a panic or endless work.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::workspace::{cargo, find_program, root, run as run_command};

/// The version of cargo-fuzz that is installed when there is none.
const CARGO_FUZZ: &str = "cargo-fuzz@0.13.2";

/// Seconds after which one input has taken too long: the largest real file takes a tenth of a second.
const INPUT_SECONDS_MAX: &str = "10";

/// Memory of a target, in MB: tables of the largest programs take less than 100.
const MEMORY_MAX: &str = "2048";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time for each target, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target; all of them when it is missing
    target: Option<String>,
}

/// Runs the targets one after the other, and fails at the first one that finds something.
pub(crate) fn run(args: &Args) -> Result<()> {
    let known = targets()?;
    let chosen: Vec<&String> =
        known.iter().filter(|name| args.target.as_ref().is_none_or(|only| only == *name)).collect();
    if chosen.is_empty() {
        bail!("no such target; there are: {}", known.join(", "));
    }
    if find_program("cargo-fuzz").is_none() {
        run_command(&mut cargo(&["install", "--locked", CARGO_FUZZ]))?;
    }
    for target in chosen {
        fuzz(target, args.seconds)
            .with_context(|| format!("`{target}` failed; its input is in `fuzz/artifacts`"))?;
    }
    Ok(())
}

/// Runs one target. What it learns goes into a folder of its own, so that the committed corpus stays small.
fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let learned = crate::workspace::target().join("fuzz-corpus").join(target);
    fs::create_dir_all(&learned)
        .with_context(|| format!("failed to create `{}`", learned.display()))?;
    let committed = root().join("fuzz/corpus").join(target);
    let mut command: Command = cargo(&["fuzz", "run", "--sanitizer", "none", target]);
    // The compiler is a stable one; the flags of the fuzzer are not.
    command.env("RUSTC_BOOTSTRAP", "1").arg(learned).arg(committed).args([
        "--".to_owned(),
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MAX}"),
    ]);
    run_command(&mut command)
}

/// Names of all targets.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&folder)
        .with_context(|| format!("failed to read `{}`", folder.display()))?
        .flatten();
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort_unstable();
    Ok(names)
}
