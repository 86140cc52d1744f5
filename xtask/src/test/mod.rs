//! `cargo xtask test`: installs what the tests need, runs all of them, and counts.

pub(crate) mod scenarios;
pub(crate) mod tally;
pub(crate) mod install;
mod runner;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use runner::Runner;
use tally::Tally;

use crate::{
    tidy,
    workspace::{self, cargo},
};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Installs nothing: a test whose tool is missing skips itself or fails
    #[arg(long)]
    no_install: bool,
}

/// Installs what is missing and runs every test; the tally is the last line.
///
/// # Errors
///
/// [`tally::Failed`] when a test failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    if !args.no_install {
        install::all();
    }
    run_all(&mut tally)?;
    tally.finish()
}

/// Installs what is missing and runs every test, counting into `tally`.
pub(crate) fn install_and_run_all(tally: &mut Tally) -> Result<()> {
    install::all();
    run_all(tally)
}

fn run_all(tally: &mut Tally) -> Result<()> {
    // The first failure that counts should be the cheapest one to see.
    tally.check("tidy", tidy::run());
    run_workspace(tally)?;
    run_page(tally)?;
    scenarios::run_counted(tally, &[])
}

/// Runs the tests of all packages except the scenarios, doc tests included.
fn run_workspace(tally: &mut Tally) -> Result<()> {
    let all = ["--workspace", "--exclude", "e2e", "--no-fail-fast"];
    if workspace::find_program("cargo-nextest").is_some() {
        runner::run(cargo(&["nextest", "run"]).args(all), Runner::Nextest, tally)?;
        runner::run(cargo(&["test", "--doc"]).args(all), Runner::Cargo, tally)
    } else {
        runner::run(cargo(&["test"]).args(all), Runner::Cargo, tally)
    }
}

/// Runs the tests of the page's scripts.
fn run_page(tally: &mut Tally) -> Result<()> {
    let tests = page_tests()?;
    if tests.is_empty() {
        return Ok(());
    }
    let Some(node) = workspace::find_program("node") else {
        tally.skip("the tests of the page: node is not installed");
        return Ok(());
    };
    let mut command = Command::new(node);
    command.current_dir(workspace::root()).args(["--test", "--test-reporter=tap"]).args(tests);
    runner::run(&mut command, Runner::Node, tally)
}

fn page_tests() -> Result<Vec<PathBuf>> {
    let folder = workspace::root().join("collector/web/tests");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut tests = Vec::new();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("failed to list `{}`", folder.display()))?;
    for entry in entries {
        let path = entry.context("failed to list the tests of the page")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".test.js") || name.ends_with(".test.mjs") {
            tests.push(path);
        }
    }
    tests.sort();
    Ok(tests)
}
