//! Compares the latencies that the collector shows with those that a program measured itself.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use harness::agent::Agent;
use harness::collector::{Collector, CollectorPlace};
use harness::workload::Workload;
use harness::{eventually, scenario};

/// Width of a bucket, relative: 1/16, and what rounding to its middle or edge adds.
const BUCKET: f64 = 0.07;

/// Time in which the last window of 2 s must have arrived.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn latencies_are_those_that_the_program_measured_and_counts_are_exact() {
    scenario("latency_truth", |scenario| {
        let collector = CollectorPlace::new(scenario, "")?.start()?;
        let mut agent = Agent::start(scenario, &collector.place().grpc_url(), 19)?;
        let mut running =
            Workload::new("latency")?.service("latency").with_stdin().start(scenario)?;
        let line = eventually::some("the program is done", Duration::from_secs(60), || {
            running.still_runs()?;
            Ok(running.output().lines().find(|line| line.ends_with('}')).map(str::to_owned))
        })?;
        let measured: Map<String, Value> = serde_json::from_str(&line).context("no JSON")?;
        eventually::ok("all calls have arrived", ARRIVAL_LIMIT, || compare(&collector, &measured))?;
        // What comes with the end of the process and of the agent must add nothing.
        drop(running.take_stdin());
        running.wait(Duration::from_secs(10))?;
        agent.running().stop_cleanly(harness::agent::STOP_LIMIT)?;
        compare(&collector, &measured)?;
        Ok(())
    });
}

fn compare(collector: &Collector, measured: &Map<String, Value>) -> Result<()> {
    let answer = collector.api("syscalls?service=latency")?;
    let syscalls = answer["syscalls"].as_array().context("no `syscalls`")?;
    let mut timed = 0;
    for (name, truth) in measured.iter().filter(|(name, _)| *name != "end") {
        let found = syscalls.iter().find(|syscall| syscall["name"] == name.as_str());
        let found = found.with_context(|| format!("no `{name}` in {answer}"))?;
        ensure!(
            found["calls"] == truth["calls"],
            "{name}: {truth} called, {} seen",
            found["calls"]
        );
        if let Some(errors) = truth["errors"].as_object() {
            ensure!(found["errors"].as_object() == Some(errors), "{name}: {found} but {truth}");
        }
        for quantile in ["p50_ns", "p99_ns"] {
            let Some(range) = truth[quantile].as_array() else { continue };
            let seen = found[quantile].as_f64().with_context(|| format!("no {quantile}"))?;
            let [low, high] = range.as_slice() else { anyhow::bail!("{name}: no range") };
            let low = low.as_f64().context("no number")? * (1.0 - BUCKET);
            let high = high.as_f64().context("no number")? * (1.0 + BUCKET);
            ensure!((low..=high).contains(&seen), "{name} {quantile}: {seen} not in {low}..{high}");
            timed += 1;
        }
    }
    ensure!(timed == 6, "expected 6 quantiles, compared {timed}");
    let waits = |name: &str| {
        syscalls
            .iter()
            .find(|syscall| syscall["name"] == name)
            .map(|found| found["waiting"] == true)
    };
    ensure!(waits("clock_nanosleep") == Some(true), "a sleep is kept apart as waiting");
    ensure!(waits("preadv") == Some(false), "making random bytes is work");
    Ok(())
}
