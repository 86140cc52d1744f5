//! `cargo xtask evaluate`: measures the detector against ground truth; the measurement itself is
//! `collector/examples/evaluate`.

use std::process::Command;

use anyhow::Result;

use crate::{live, workspace};

/// Where the report lies.
const REPORT: &str = "docs/detection";

/// Arguments of `cargo xtask evaluate`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Measures everything to the precision of the report; without it, what CI needs to notice that something got worse
    #[arg(long)]
    full: bool,
    /// Number from which all that is random comes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sections to run, by name, separated by commas; all when none is given
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Uses the profiles on which parameters are chosen, and not those of the report
    #[arg(long)]
    tuning: bool,
    /// Writes the report and its plots to `docs/detection`
    #[arg(long, conflicts_with_all = ["only", "tuning"])]
    write: bool,
    /// Asks the gate about processes that are really sampled, and writes `docs/detection/live.md`; takes ten minutes
    #[arg(long, conflicts_with_all = ["full", "seed", "only", "tuning", "write"])]
    live: bool,
}

/// Builds the measurement for release and runs it; fails when false alarms or power are out of bounds.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.live {
        return live::run();
    }
    let build = ["build", "--release", "-p", "collector", "--example", "evaluate"];
    workspace::run(&mut workspace::cargo(&build))?;
    let mut evaluate = Command::new(workspace::target().join("release/examples/evaluate"));
    evaluate.current_dir(workspace::root()).args(["--seed", &args.seed.to_string()]);
    evaluate.args(args.full.then_some("--full")).args(args.tuning.then_some("--tuning"));
    if !args.only.is_empty() {
        evaluate.args(["--only", &args.only.join(",")]);
    }
    if args.write {
        evaluate.args(["--write", REPORT]);
    }
    workspace::run(&mut evaluate)
}

/// The short form, as CI runs it.
pub(crate) fn run_short() -> Result<()> {
    run(&Args { seed: 1, ..Args::default() })
}
