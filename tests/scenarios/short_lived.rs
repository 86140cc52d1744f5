//! Processes that are over before anyone can look at them still count, under the name of their executable.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use harness::binaries::Program;
use harness::command;
use harness::running::quiet;
use harness::scenario;
use harness::workload::Workload;

/// Longer than what the kernel keeps as the name of a thread, so that the two cannot be taken for each other.
const WORKER: &str = "short-lived-batch-worker";
/// Processes that are started one after another.
const PROCESSES: u64 = 30;
/// CPU time that each of them takes.
const MILLISECONDS: u64 = 50;
const FREQUENCY_HZ: u64 = 99;

#[test]
fn short_lived_processes_are_counted_and_named_by_their_executable() {
    scenario("short_lived", |scenario| {
        let worker = scenario.path(WORKER);
        fs::copy(Workload::new("brief")?.program(), &worker)
            .context("failed to copy a workload")?;
        let mut capture = quiet(&Program::Agent.path()?);
        let frequency = FREQUENCY_HZ.to_string();
        capture.args(["capture", "--all", "--quality", "--output", "json", "--seconds", "15"]);
        capture.args(["--frequency", &frequency, "-o"]).arg(scenario.path("all.folded"));
        let capture = capture.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // Attached within a second or two; the processes before that would not count.
        sleep(Duration::from_secs(4));
        for _ in 0..PROCESSES {
            let mut brief = quiet(&worker);
            command::finish(brief.arg(MILLISECONDS.to_string()))?.expect_code(0)?;
        }
        let output = capture.wait_with_output().context("the capture did not end")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the capture failed: {said}");
        let summary: Value = serde_json::from_slice(&output.stdout).context("no summary")?;
        check(&summary)
    });
}

fn check(summary: &Value) -> Result<()> {
    let rows = summary["quality"].as_array().context("the summary has no quality")?;
    let stacks = |name: &str| -> u64 {
        let of_name = rows.iter().filter(|row| row["binary"] == name);
        of_name.filter_map(|row| row["stacks"].as_u64()).sum()
    };
    let taken = PROCESSES * MILLISECONDS * FREQUENCY_HZ / 1000;
    let (named, unnamed) = (stacks(WORKER), stacks(&WORKER[..15]));
    // Most of their samples: what they did before they became this program belongs to their parent.
    ensure!(named > taken * 3 / 4, "{named} of about {taken} samples are named: {summary}");
    ensure!(unnamed * 50 <= named, "{unnamed} samples have only a thread's name: {summary}");
    Ok(())
}
