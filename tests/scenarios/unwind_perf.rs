//! The same programs at the same time through `perf record --call-graph dwarf`: both profiles must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};

use harness::binaries::Program;
use harness::binomial::{DISTANCE_MAX, distance};
use harness::mix::{Mix, Playing, pids};
use harness::perf::Recording;
use harness::running::{Running, quiet};
use harness::truth::Stack;
use harness::{Scenario, scenario};

/// Different ones, so that neither profiler samples the other's interrupt.
const OUR_HZ: u64 = 499;
const PERF_HZ: u64 = 457;

/// Length of both recordings.
const SECONDS: u64 = 12;

/// Functions below this share of either profile are not compared.
const SHARE_MIN: f64 = 0.01;

/// Names of one function of the C library, of which each profiler picks another.
const ALIASES: &[(&str, &str)] = &[("__libc_start_main_impl", "__libc_start_main")];

#[test]
fn functions_have_the_shares_that_perf_gives_them() {
    scenario("unwind_perf", |scenario| {
        let mixes = [Mix::c("plain")?, Mix::cpp("exceptions")?, Mix::ctypes()?];
        let playing: Vec<Playing> =
            mixes.iter().map(|mix| mix.start(scenario)).collect::<Result<_>>()?;
        let (ours, perfs) = record(scenario, &pids(&playing))?;
        let mut failures = Vec::new();
        for workload in &playing {
            let case = workload.mix.case();
            let perfs =
                perfs.get(&workload.running.pid()).context("perf saw nothing of a workload")?;
            let different = differences(case, &workload.mix.stacks(&ours)?, perfs);
            failures.extend(different.into_iter().map(|line| format!("{case}: {line}")));
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    });
}

/// Our profile as folded text, and that of `perf` by process, of the same seconds.
fn record(scenario: &Scenario, pids: &str) -> Result<(String, BTreeMap<u32, Vec<Stack>>)> {
    let out = scenario.path("out.folded");
    let mut capture = quiet(&Program::Agent.path()?);
    capture.args(["capture", "--pid", pids, "--frequency", &OUR_HZ.to_string()]);
    capture.args(["--seconds", &SECONDS.to_string(), "-o"]).arg(&out);
    let mut capture = Running::start("capture", scenario.folder(), &mut capture)?;
    let perf = Recording::start(scenario, pids, PERF_HZ, SECONDS)?;
    capture.wait(std::time::Duration::from_secs(SECONDS + 60))?;
    let perfs = perf.stacks()?;
    Ok((fs::read_to_string(&out).context("the capture wrote nothing")?, perfs))
}

/// The functions whose shares differ by more than chance allows.
fn differences(case: &str, ours: &[Stack], perfs: &[Stack]) -> Vec<String> {
    let ours: Vec<&Stack> = ours.iter().filter(|(frames, _)| is_whole(frames)).collect();
    let (ours, our_total) = inclusive(ours.into_iter());
    let (perfs, perf_total) = inclusive(perfs.iter());
    let mut compared = 0;
    let mut different = Vec::new();
    for function in ours.keys().chain(perfs.keys()).collect::<BTreeSet<_>>() {
        let count = |profile: &BTreeMap<String, u64>| profile.get(function).copied().unwrap_or(0);
        let (left, right) = ((count(&ours), our_total), (count(&perfs), perf_total));
        let share = |(hits, total): (u64, u64)| hits as f64 / total as f64;
        if share(left).max(share(right)) < SHARE_MIN {
            continue;
        }
        compared += 1;
        let apart = distance(left, right);
        if apart > DISTANCE_MAX {
            let (left, right) = (100.0 * share(left), 100.0 * share(right));
            different.push(format!("{function}: {left:.2} % here, {right:.2} % in perf"));
        }
    }
    harness::report(&format!(
        "{case:16} {our_total} samples here, {perf_total} in perf; {compared} functions compared, {} differ",
        different.len()
    ));
    different
}

/// Samples of each function with what it calls, and of all.
fn inclusive<'s>(stacks: impl Iterator<Item = &'s Stack>) -> (BTreeMap<String, u64>, u64) {
    let mut functions = BTreeMap::new();
    let mut total = 0;
    for (frames, count) in stacks.filter(|(frames, _)| !frames.is_empty()) {
        total += count;
        for function in frames.iter().map(|frame| compared_name(frame)).collect::<BTreeSet<_>>() {
            *functions.entry(function).or_default() += count;
        }
    }
    (functions, total)
}

/// A stack before its process had tables says nothing about the unwinding.
fn is_whole(frames: &[String]) -> bool {
    frames.first().is_none_or(|root| !root.contains("no tables yet"))
}

/// The name by which both profilers know a function, without what it takes; what has no name is known by its file.
fn compared_name(frame: &str) -> String {
    let name = frame.split(['@', '(']).next().unwrap_or(frame);
    let name = name.split("+0x").next().unwrap_or(name);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, name)| name).to_owned()
}
