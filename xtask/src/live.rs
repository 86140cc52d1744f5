//! `cargo xtask evaluate --live`: the gate on processes that are really sampled; the measurement itself is the scenario
//! `gate_live`.

use anyhow::Result;

use crate::test::install;
use crate::workspace::{self, cargo};

/// Where the table lies.
const REPORT: &str = "docs/detection/live.md";

/// Runs; each takes about a minute.
const RUNS: u32 = 10;

/// Builds the programs for release, runs the scenario with the machine to itself, and writes its table.
pub(crate) fn run() -> Result<()> {
    let programs = workspace::build_programs()?;
    let mut command = cargo(&["test", "-p", "e2e", "--test", "gate_live", "--", "--nocapture"]);
    command
        .env("FLAMEWATCH_AGENT_BIN", programs.agent)
        .env("FLAMEWATCH_COLLECTOR_BIN", programs.collector)
        .env("FLAMEWATCH_LIVE_RUNS", RUNS.to_string())
        .env("FLAMEWATCH_LIVE_REPORT", workspace::root().join(REPORT))
        .env("PATH", install::search_path()?)
        // A measurement that cannot be made here is a failed one, not a skipped one.
        .env("CI", "true");
    workspace::run(&mut command)
}
