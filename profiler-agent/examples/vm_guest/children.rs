//! What this program does as its own child: known numbers of calls, and known numbers of children.

use std::hint::black_box;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, getppid, getpriority_process};

/// Calls that succeed: Rust's own start makes none of this kind.
pub(crate) const PARENT_CALLS: u64 = 20_000;

/// Calls that fail, all with the same error: there is no such process.
pub(crate) const PRIORITY_ERRORS: u64 = 321;

/// Children of the child, each of which makes the calls too.
pub(crate) const CHILDREN: u64 = 5;

/// Command for this program as its own child.
pub(crate) fn command(what: &str) -> Result<Command> {
    let this = std::env::current_exe().context("failed to find this program")?;
    let mut command = Command::new(this);
    command.args(["child", what]);
    Ok(command)
}

/// Does what the parent asked for.
pub(crate) fn run(what: &str) -> Result<()> {
    match what {
        "calls" => {
            calls();
            Ok(())
        }
        "parent" => parent(),
        "nothing" => Ok(()),
        _ => bail!("failed to understand `{what}`"),
    }
}

fn calls() {
    for _ in 0..PARENT_CALLS {
        black_box(getppid());
    }
    for _ in 0..PRIORITY_ERRORS {
        let _no_such_process = black_box(getpriority_process(Pid::from_raw(i32::MAX)));
    }
}

fn parent() -> Result<()> {
    for _ in 0..CHILDREN {
        let status = command("calls")?.status().context("failed to start a child")?;
        ensure!(status.success(), "the child ended with {status}");
    }
    Ok(())
}
