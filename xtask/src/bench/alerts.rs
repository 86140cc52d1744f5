//! Time and memory of an evaluation of 500 services; the measurement itself is `collector/examples/bench_alerts.rs`.

use std::process::Command;

use anyhow::Result;

use crate::workspace;

/// Builds the measurement for release and runs it.
pub(crate) fn run() -> Result<()> {
    let build = ["build", "--release", "-p", "collector", "--example", "bench_alerts"];
    workspace::run(&mut workspace::cargo(&build))?;
    workspace::run(&mut Command::new(workspace::target().join("release/examples/bench_alerts")))
}
