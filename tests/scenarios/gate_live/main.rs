//! The gate on processes that are really sampled: a version beside itself, and beside ones in which a single function
//! costs 1, 5 and 30 % more.
//!
//! Plainly it makes one short run. `cargo xtask evaluate --live` makes ten long ones and writes their table.

mod fleet;
mod question;
mod report;

use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};

use fleet::Fleet;
use harness::collector::Collector;
use harness::{Scenario, scenario};
use question::Question;
use report::{Answers, Report};

/// How many runs, when it is not one.
const RUNS_VARIABLE: &str = "FLAMEWATCH_LIVE_RUNS";

/// Where the table is written.
const REPORT_VARIABLE: &str = "FLAMEWATCH_LIVE_REPORT";

/// Most runs: a day and a half.
const RUNS_MAX: u32 = 1_000;

/// Alerts are not what is asked for; their windows are long, so that their work does not disturb what is measured.
const SETTINGS: &str = "[alert]\nwindow_seconds = 600\ninterval_seconds = 600\n";

#[test]
fn the_gate_fails_no_equal_version_and_passes_none_with_a_third_more() {
    scenario("gate_live", |scenario| {
        let plan = Plan::read()?;
        let collector = Collector::start(scenario, SETTINGS)?;
        let mut report = Report::new(plan.seconds);
        for run in 1..=plan.runs {
            let answers = make_run(scenario, &collector, &plan, run)?;
            harness::report(&format!("run {run}: {answers}"));
            report.add(answers);
        }
        harness::report(&report.tables());
        if let Some(path) = env::var_os(REPORT_VARIABLE) {
            fs::write(&path, report.page()).context("failed to write the report")?;
        }
        let equal = report.verdicts("v1 again");
        ensure!(!equal.contains(&"fail"), "an equal version failed: {equal:?}");
        let slower = report.verdicts("+30 %");
        ensure!(!slower.contains(&"pass"), "30 % more of a function passed: {slower:?}");
        let growth = report.growth("+30 %");
        ensure!(growth.iter().all(|growth| *growth > 0.0), "30 % more cost nothing: {growth:?}");
        Ok(())
    });
}

/// How much is measured.
struct Plan {
    runs: u32,
    seconds: u64,
    /// What the gate may spend. A single run in which an equal version failed would be a failed test, so there it is less
    /// than the default.
    alpha: f64,
}

impl Plan {
    fn read() -> Result<Self> {
        let Some(runs) = env::var_os(RUNS_VARIABLE) else {
            return Ok(Self { runs: 1, seconds: 30, alpha: 0.001 });
        };
        let runs = runs.to_str().and_then(|runs| runs.parse().ok());
        let runs = runs.filter(|runs| (1..=RUNS_MAX).contains(runs));
        let runs =
            runs.with_context(|| format!("`{RUNS_VARIABLE}` is no number from 1 to {RUNS_MAX}"))?;
        Ok(Self { runs, seconds: 40, alpha: 0.01 })
    }
}

/// Runs all versions side by side for a while, and asks about each.
fn make_run(scenario: &Scenario, collector: &Collector, plan: &Plan, run: u32) -> Result<Answers> {
    let service = format!("burn-{run}");
    let range = Fleet::start(scenario, collector, &service)?.run_for(plan.seconds)?;
    Answers::ask(&Question { collector, service: &service, alpha: plan.alpha }, range)
}
