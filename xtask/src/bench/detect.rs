//! Time and memory of one large comparison; the measurement itself is `collector/examples/bench_detect.rs`.

use std::process::Command;

use anyhow::Result;

use crate::workspace;

/// Builds the measurement for release and runs it.
pub(crate) fn run() -> Result<()> {
    let build = ["build", "--release", "-p", "collector", "--example", "bench_detect"];
    workspace::run(&mut workspace::cargo(&build))?;
    workspace::run(&mut Command::new(workspace::target().join("release/examples/bench_detect")))
}
