//! Stacks without frame pointers against programs whose mix of calls is known: whole, in order, and in their shares.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use harness::binaries::Program;
use harness::mix::{Mix, Playing, pids};
use harness::running::{Running, quiet};
use harness::truth::SAMPLES_MIN;
use harness::{Scenario, eventually, scenario};

/// Samples a second and CPU.
const FREQUENCY_HZ: u64 = 999;

/// Time that each workload works while it is captured, in seconds of a CPU.
const WORK_S: u64 = 4;

/// Longest capture: a busy machine gives the workloads a small part of its time, and fewer samples must do.
const CAPTURE_LIMIT: Duration = Duration::from_secs(100);

/// Longest time until a running process has its tables, in samples that it can have taken by then.
const WITHOUT_TABLES_MAX: u64 = FREQUENCY_HZ;

/// How long a library is used before another one takes its place.
const OPEN: Duration = Duration::from_secs(2);

/// Share of the time in which a library that was opened may be unknown.
const UNKNOWN_MAX: f64 = 0.1;

#[test]
fn c_programs_have_whole_stacks_in_their_shares() {
    truth("unwind_truth_c", || {
        Ok(vec![
            Mix::c("plain")?,
            Mix::c("frames")?,
            Mix::c("recursion")?,
            Mix::static_pie("plain")?,
            Mix::stripped("plain")?,
        ])
    });
}

#[test]
fn programs_in_other_languages_have_whole_stacks_in_their_shares() {
    truth("unwind_truth_languages", || {
        Ok(vec![
            Mix::cpp("exceptions")?,
            Mix::rust("release", "abort")?,
            Mix::rust("release", "unwind")?,
            Mix::go("goroutines")?,
            Mix::go_stripped("goroutines")?,
            Mix::ctypes()?,
        ])
    });
}

#[test]
fn threads_signals_callbacks_and_children_have_whole_stacks_in_their_shares() {
    truth("unwind_truth_entries", || {
        Ok(vec![
            Mix::c("threads")?,
            Mix::c("signals")?,
            Mix::c("callback")?,
            Mix::c("clock")?,
            Mix::c("vfork")?,
        ])
    });
}

#[test]
fn libraries_that_come_and_go_are_followed() {
    scenario("unwind_truth_reopen", |scenario| {
        let mix = Mix::reopen(OPEN)?;
        let mut playing = [mix.start(scenario)?];
        let folded = capture(scenario, &mut playing, 2 * WORK_S)?;
        let [reopen] = playing;
        let found = reopen.truth.compare(&mix.stacks(&folded)?);
        harness::report(&found.line(mix.case()));
        found.expect_no_wrong_frames()?;
        let unknown = found.truncated() as f64 / found.samples().max(1) as f64;
        ensure!(unknown <= UNKNOWN_MAX, "{unknown:.3} of the stacks end in an unknown library");
        ensure!(found.samples() >= SAMPLES_MIN, "too few samples");
        // A library that was closed before its window ended may have lost its name.
        ensure!(
            folded.contains("first_work") || folded.contains("second_work"),
            "no library was seen"
        );
        Ok(())
    });
}

/// Runs some workloads beside each other, captures them, and compares each with its truth.
fn truth(name: &str, mixes: impl FnOnce() -> Result<Vec<Mix>>) {
    scenario(name, |scenario| {
        let mut playing: Vec<Playing> =
            mixes()?.iter().map(|mix| mix.start(scenario)).collect::<Result<_>>()?;
        let folded = capture(scenario, &mut playing, WORK_S)?;
        let mut failures = Vec::new();
        for workload in &mut playing {
            if let Err(error) = compare(workload, &folded) {
                failures.push(format!("{}: {error:#}", workload.mix.case()));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    });
}

fn compare(workload: &Playing, folded: &str) -> Result<()> {
    let found = workload.truth.compare(&workload.mix.stacks(folded)?);
    harness::report(&found.line(workload.mix.case()));
    let early = found.without_tables();
    ensure!(early <= WITHOUT_TABLES_MAX, "{early} samples before the process had tables");
    found.expect_whole()?;
    found.expect_no_wrong_frames()?;
    found.expect_shares(&workload.truth)
}

/// Captures the workloads until every one has worked for so many seconds, or for as long as a capture may take.
fn capture(scenario: &Scenario, playing: &mut [Playing], seconds: u64) -> Result<String> {
    let out = scenario.path("out.folded");
    let mut capture = quiet(&Program::Agent.path()?);
    capture.args(["capture", "--pid", &pids(playing), "--frequency", &FREQUENCY_HZ.to_string()]);
    capture.args(["--seconds", "600", "-o"]).arg(&out);
    let mut capture = Running::start("capture", scenario.folder(), &mut capture)?;
    let mut before = Vec::new();
    for workload in &mut *playing {
        before.push(workload.worked()?);
    }
    let deadline = Instant::now() + CAPTURE_LIMIT;
    eventually::some("all workloads have worked", 2 * CAPTURE_LIMIT, || {
        capture.still_runs()?;
        let mut least = Duration::MAX;
        for (workload, before) in playing.iter_mut().zip(&before) {
            least = least.min(workload.worked()?.saturating_sub(*before));
        }
        let enough = least >= Duration::from_secs(seconds) || Instant::now() >= deadline;
        Ok(enough.then_some(()))
    })?;
    capture.signal(Signal::INT)?;
    capture.wait(Duration::from_secs(60))?;
    fs::read_to_string(&out).context("the capture wrote nothing")
}
