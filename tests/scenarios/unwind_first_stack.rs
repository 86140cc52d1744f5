//! How soon the stacks of a new process are whole, and that nothing of its first moments is lost.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use harness::binaries::Program;
use harness::mix::Mix;
use harness::running::{Running, quiet};
use harness::truth::{Comparison, Stack, Truth};
use harness::{Scenario, command, scenario};

/// Samples a second and CPU: about one for each millisecond that a process works.
const FREQUENCY_HZ: u32 = 999;

/// Processes of each kind, one after another.
const PROCESSES: u32 = 10;

/// What a process works before it ends, in milliseconds.
const LONG_MS: u32 = 700;
const BRIEF_MS: u32 = 50;

/// Time until a capture samples, on a busy machine.
const WARM_UP: Duration = Duration::from_secs(6);

#[test]
fn a_new_process_soon_has_whole_stacks_and_its_first_moments_are_kept() {
    scenario("unwind_first_stack", |scenario| {
        let first = Mix::newcomer(scenario, "known", LONG_MS)?;
        let mut kinds = [("of a new program", Vec::new()), ("of a known program", Vec::new())];
        for number in 0..PROCESSES {
            kinds[0].1.push(Mix::newcomer(scenario, &format!("new_{number}"), LONG_MS)?);
            kinds[1].1.push(first.copied(scenario, &format!("known_{number}"))?);
        }
        let mixes: Vec<&Mix> =
            std::iter::once(&first).chain(kinds.iter().flat_map(|(_, mixes)| mixes)).collect();
        let (folded, truth) = capture(scenario, &mixes)?;
        for (kind, mixes) in &kinds {
            let mut waits = Vec::new();
            for mix in mixes {
                waits.push(wait_for_tables(mix, &truth, &folded)?);
            }
            waits.sort_unstable();
            let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
            harness::report(&format!(
                "from the start {kind} to its first whole stack: median {median} ms, longest {longest} ms of CPU"
            ));
        }
        Ok(())
    });
}

#[test]
fn processes_that_live_for_50_ms_are_counted_and_named() {
    scenario("unwind_brief", |scenario| {
        let brief = Mix::newcomer(scenario, "brief_program", BRIEF_MS)?;
        let mixes = vec![&brief; 2 * PROCESSES as usize];
        let (folded, _) = capture(scenario, &mixes)?;
        let samples: u64 = brief.stacks(&folded)?.iter().map(|(_, count)| count).sum();
        let worked = f64::from(2 * PROCESSES * BRIEF_MS * FREQUENCY_HZ) / 1000.0;
        harness::report(&format!("{samples} samples of {worked:.0} ms in processes of 50 ms"));
        ensure!(
            (0.8..=1.3).contains(&(samples as f64 / worked)),
            "{samples} samples for {worked:.0} ms of work"
        );
        Ok(())
    });
}

/// Samples, which are milliseconds, until the stacks of a process were whole.
fn wait_for_tables(mix: &Mix, truth: &Truth, folded: &str) -> Result<u64> {
    let stacks = mix.stacks(folded)?;
    let found: Comparison = truth.compare(&stacks);
    let case = mix.case();
    found.expect_no_wrong_frames()?;
    let is_early = |(frames, _): &&Stack| frames.iter().any(|frame| frame == "early_work");
    ensure!(stacks.iter().any(|stack| is_early(&stack)), "{case}: its first moments are missing");
    ensure!(found.samples() > found.broken(), "{case}: no stack became whole in {LONG_MS} ms");
    Ok(found.without_tables())
}

/// Captures the host while the programs run one after another; the truth is that of all.
fn capture(scenario: &Scenario, mixes: &[&Mix]) -> Result<(String, Truth)> {
    let out = scenario.path("out.folded");
    let mut capture = quiet(&Program::Agent.path()?);
    capture.args(["capture", "--all", "--frequency", &FREQUENCY_HZ.to_string()]);
    capture.args(["--seconds", "300", "-o"]).arg(&out);
    let mut capture = Running::start("capture", scenario.folder(), &mut capture)?;
    sleep(WARM_UP);
    let mut truth = None;
    for mix in mixes {
        let finished = command::finish(&mut mix.command())?.expect_code(0)?;
        truth = Some(Truth::parse(&finished.stdout)?);
    }
    capture.signal(Signal::INT)?;
    capture.wait(Duration::from_secs(60))?;
    let folded = fs::read_to_string(&out).context("the capture wrote nothing")?;
    Ok((folded, truth.context("no program ran")?))
}
