//! Follows every sample through an outage of the collector and a restart of the agent.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use profiler_common::abi::sample::WalkEnd;
use rustix::process::Signal;
use serde_json::Value;

use harness::agent::{AgentPlace, STOP_LIMIT};
use harness::collector::{Collector, CollectorPlace};
use harness::running::Running;
use harness::workload::Workload;
use harness::{Scenario, eventually, http, scenario};

/// How long the collector is away.
const OUTAGE: Duration = Duration::from_secs(30);

#[test]
fn every_sample_is_stored_once_or_lost_for_a_named_reason() {
    scenario("accounting", |scenario| {
        let place = CollectorPlace::new(scenario, "")?;
        let mut collector = place.start()?;
        let agent_place = AgentPlace::new(scenario, &place.grpc_url())?.frequency(199);
        let mut agent = agent_place.start()?;
        let load = start_load(scenario)?;
        collector.wait_for_samples("steady", None, 500, Duration::from_secs(60))?;

        // Killed, not stopped: what it had acknowledged must be on the disk already.
        collector.running().signal(Signal::KILL)?;
        collector.running().wait(Duration::from_secs(5))?;
        sleep(OUTAGE / 2);
        agent.running().stop_cleanly(STOP_LIMIT)?;
        drop(agent);
        let mut agent = agent_place.start()?;
        sleep(OUTAGE / 2);

        let before = agent.accounts()?;
        ensure!(before.pending > 0, "nothing was kept during the outage: {before:?}");
        let collector = place.start()?;
        let arrived = before.acknowledged + before.pending;
        eventually::some("what was kept arrives", Duration::from_secs(90), || {
            let now = agent.accounts()?;
            ensure!(
                now.taken == now.acknowledged + now.pending + now.lost,
                "the agent's own book does not balance: {now:?}"
            );
            Ok((now.acknowledged >= arrived).then_some(()))
        })?;
        drop(load);
        agent.running().stop_cleanly(STOP_LIMIT)?;
        balance(&collector, &agent_place)
    });
}

fn start_load(scenario: &Scenario) -> Result<[Running; 2]> {
    let steady = Workload::new("spin")?.arg(600).service("steady").version("v1");
    let fleeting = Workload::new("shortlived")?.arg(600).service("fleeting");
    Ok([steady.start(scenario)?, fleeting.start(scenario)?])
}

/// The final book of the agent against that of the collector, and against what questions are answered with.
fn balance(collector: &Collector, agent: &AgentPlace) -> Result<()> {
    let status = collector.api("status")?;
    let taken = collector.status("samples_taken")?;
    let stored = collector.status("samples_stored")?;
    let lost = collector.lost()?;
    ensure!(stored > 2000, "too little was stored to mean anything: {status}");
    ensure!(taken == stored + lost, "{taken} taken, {stored} stored, {lost} lost: {status}");

    let book = final_book(agent)?;
    ensure!(
        book["taken"] == taken,
        "the agent took {}, the collector knows {taken}",
        book["taken"]
    );
    ensure!(book["acknowledged"] == stored, "acknowledged and stored differ: {book} but {status}");

    let shown = collector.api("flamegraph?service=*&from=-1h")?;
    ensure!(shown["total"] == stored, "{} shown, {stored} stored", shown["total"]);
    balance_walks(collector, &status, stored)
}

/// Of every stored sample it is known how its walk ended, in the totals as in the answers.
fn balance_walks(collector: &Collector, status: &Value, stored: u64) -> Result<()> {
    let ends = status["stacks"].as_object().context("the status has no stacks")?;
    let walked: u64 = ends.values().filter_map(Value::as_u64).sum();
    ensure!(walked == stored, "{walked} walks, {stored} samples: {status}");
    let without = ends.get(WalkEnd::NoUserStack.name()).and_then(Value::as_u64).unwrap_or(0);
    let quality = collector.api("quality?service=*&from=-1h")?;
    ensure!(quality["samples"] == stored - without, "{stored} samples, {status}, but {quality}");
    let page = http::get_text(&format!("{}/metrics", collector.place().url()))?;
    for (end, samples) in ends {
        let counted =
            http::metric(&page, "flamewatch_collector_stacks_total", &format!("\"{end}\""))?;
        ensure!(*samples == counted, "{end}: {samples} in the status, {counted} in the metrics");
    }
    Ok(())
}

/// The agent's own accounts as it left them.
fn final_book(agent: &AgentPlace) -> Result<Value> {
    let path = agent.state().join("accounting.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("failed to read `{}`", path.display()))?;
    let book: Value = serde_json::from_str(&text).context("the agent's book is no JSON")?;
    let batches = book["batches"].as_array().context("no `batches` in the agent's book")?;
    ensure!(batches.is_empty(), "{} batches were never sent", batches.len());
    Ok(book)
}
