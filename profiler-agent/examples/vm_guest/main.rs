//! Tries all that the agent does on the kernel it runs on: `cargo xtask vm` boots kernels with it and reads what it says.
//!
//! It prints one JSON object a line: the kernel, each program with what its verification cost, each finding of
//! `flamewatch-agent check` that is not ok, each scenario with how it ended, and a last line. The agent and the programs
//! that are sampled lie in the folder that it is given.
//!
//!     vm_guest FOLDER [--degrade]

mod children;
mod scenarios;
mod agent;
mod degrade;
mod captured;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use agent::Agent;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["child", what] => children::run(what),
        [folder] => try_everything(folder.into(), false),
        [folder, "--degrade"] => try_everything(folder.into(), true),
        _ => Err(anyhow::anyhow!("failed to understand `{}`", arguments.join(" "))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every scenario, also after one that failed; `degrades` says whether this kernel may be changed, which only a
/// reboot undoes.
fn try_everything(folder: PathBuf, degrades: bool) -> Result<()> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    say(&json!({"line": "kernel", "release": release}));
    let agent = Agent::new(folder)?;
    let report = agent.check().context("failed to run `flamewatch-agent check`")?;
    for item in report.not_ok() {
        say(
            &json!({"line": "check", "name": item.name, "state": item.state, "detail": item.detail}),
        );
    }
    let mut scenarios = scenarios::ALL.to_vec();
    if degrades {
        scenarios.extend(degrade::ALL);
    }
    for scenario in scenarios {
        let ended = (scenario.run)(&agent);
        let expected = report.expects(scenario.needs);
        say(&outcome(scenario.name, &ended, &expected));
    }
    say(&json!({"line": "end"}));
    Ok(())
}

/// A scenario passes when it works where `check` says that it works, and fails where `check` says that it cannot.
fn outcome(name: &str, ended: &Result<String>, expected: &Result<(), String>) -> Value {
    let (passed, detail) = match (ended, expected) {
        (Ok(detail), Ok(())) => (true, detail.clone()),
        (Err(error), Ok(())) => (false, format!("{error:#}")),
        (Err(error), Err(lacking)) => {
            (true, format!("degraded, as `check` says ({lacking}): {error:#}"))
        }
        (Ok(detail), Err(lacking)) => {
            (false, format!("`check` says that it cannot work ({lacking}), but it does: {detail}"))
        }
    };
    json!({"line": "scenario", "name": name, "passed": passed, "degraded": expected.is_err(), "detail": detail})
}

/// Prints one line for the reader outside, at once: the kernel may stop at any moment.
#[expect(clippy::print_stdout, reason = "the reader outside takes the lines from here")]
fn say(line: &Value) {
    println!("{line}");
}
