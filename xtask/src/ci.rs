//! `cargo xtask ci`: exactly what CI runs, in the same order. `.ci/run` is this verb and no more.

use std::{env, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    evaluate, test,
    test::tally::Tally,
    vm,
    workspace::{cargo, find_program, run as run_command},
};

/// The version of cargo-deny that is installed when there is none.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// Arguments of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also checks the dependencies for known vulnerabilities; fetches the advisory database with git
    #[arg(long)]
    advisories: bool,
}

/// Runs every check and every test, and goes on after a failure: one run shows all that is wrong.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut tally = Tally::default();
    tally.check("format", format());
    tally.check("clippy", clippy());
    tally.check("dependencies", dependencies(args.advisories));
    tally.check("kernel object", kernel_object());
    test::install_and_run_all(&mut tally)?;
    tally.check("false alarms and power", evaluate::run_short());
    vm::run_counted(&mut tally);
    tally.finish()
}

fn format() -> Result<()> {
    run_command(&mut cargo(&["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(&["fmt", "--manifest-path", "profiler-ebpf/Cargo.toml", "--check"]))
}

fn clippy() -> Result<()> {
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Runs the verb as a person would: what it prints goes straight to this terminal.
fn kernel_object() -> Result<()> {
    let xtask = env::current_exe().context("failed to find this program")?;
    run_command(Command::new(xtask).args(["ebpf", "--check"]))
}

/// Checks licences, bans and sources of all dependencies, of the kernel side too.
fn dependencies(advisories: bool) -> Result<()> {
    if find_program("cargo-deny").is_none() {
        run_command(&mut cargo(&["install", "--locked", CARGO_DENY]))?;
    }
    if !advisories {
        eprintln!("known vulnerabilities are not checked: `cargo xtask ci --advisories` does");
    }
    for manifest in ["Cargo.toml", "profiler-ebpf/Cargo.toml"] {
        let mut check = cargo(&["deny", "--all-features", "--manifest-path", manifest]);
        check.args(["--config", "deny.toml", "check", "--hide-inclusion-graph"]);
        check.args(["bans", "licenses", "sources"]);
        if advisories {
            check.arg("advisories");
        }
        run_command(&mut check)?;
    }
    Ok(())
}
