//! `cargo xtask e2e`: the scenarios of `tests/`, with the real kernel, agent and collector.

use anyhow::Result;

use super::{
    install,
    runner::{self, Runner},
    tally::Tally,
};
use crate::{
    docs,
    workspace::{self, cargo},
};

/// Seeds of the simulation, which plain `cargo test` runs a fifth of.
const SEEDS: &str = "1000";

/// Arguments of `cargo xtask e2e`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs only the scenarios whose name contains one of these words
    scenario: Vec<String>,
}

/// Builds both programs for release and runs the scenarios; the tally is the last line.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    install::all();
    run_counted(&mut tally, &args.scenario)?;
    tally.finish()
}

/// Runs the scenarios whose name contains one of `filters`, or all when there is none.
///
/// Plain `cargo test` runs them, not nextest: they need the machine to themselves, and what they
/// print is worth seeing while they run.
pub(crate) fn run_counted(tally: &mut Tally, filters: &[String]) -> Result<()> {
    let programs = match workspace::build_programs() {
        Ok(programs) => programs,
        Err(error) => {
            tally.check("the programs that the scenarios run", Err(error));
            return Ok(());
        }
    };
    if filters.is_empty() {
        tally.check("docs/config.md", docs::check(&programs));
    }
    let mut command = cargo(&["test", "-p", "e2e", "--no-fail-fast", "--"]);
    command
        .args(["--test-threads=1", "--nocapture"])
        .args(filters)
        .env("FLAMEWATCH_AGENT_BIN", programs.agent)
        .env("FLAMEWATCH_COLLECTOR_BIN", programs.collector)
        .env("FLAMEWATCH_TOOLS", install::tools())
        .env("SEEDS", SEEDS)
        .env("PATH", install::search_path()?);
    runner::run(&mut command, Runner::Cargo, tally)
}
