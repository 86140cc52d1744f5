//! What a first user sees: this host's services, a flame graph in a browser, and nothing left behind after ctrl-c.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use harness::agent::{self, Agent};
use harness::collector::{self, CollectorPlace};
use harness::workload::Workload;
use harness::{browser, command, eventually, scenario};

#[test]
fn ctrl_c_leaves_nothing_attached() {
    scenario("attach_clean", |scenario| {
        let before = programs()?;
        let mut collector = CollectorPlace::new(scenario, "")?.start()?;
        let mut agent = Agent::start(scenario, &collector.place().grpc_url(), 99)?;
        let attached = programs()?;
        let ours: Vec<&u64> = attached.keys().filter(|id| !before.contains_key(id)).collect();
        ensure!(!ours.is_empty(), "the agent has loaded no program: {attached:?}");

        for part in [agent.running(), collector.running()] {
            part.signal(Signal::INT)?;
        }
        let status = agent.running().wait(agent::STOP_LIMIT)?;
        ensure!(status.success(), "the agent ended with {status} after ctrl-c");
        let status = collector.running().wait(collector::STOP_LIMIT)?;
        ensure!(status.success(), "the collector ended with {status} after ctrl-c");
        // The kernel frees programs a moment after the last descriptor is closed.
        eventually::ok("the programs are gone", Duration::from_secs(10), || {
            let left = programs()?;
            let ours: Vec<&String> = ours.iter().filter_map(|id| left.get(*id)).collect();
            ensure!(ours.is_empty(), "left attached: {ours:?}");
            Ok(())
        })
    });
}

#[test]
fn the_page_shows_a_flame_graph_with_named_frames() {
    scenario("page", |scenario| {
        let collector = CollectorPlace::new(scenario, "")?.start()?;
        let _agent = Agent::start(scenario, &collector.place().grpc_url(), 99)?;
        let _spin = Workload::new("spin")?.arg(300).service("spinner").start(scenario)?;
        collector.wait_for_samples("spinner", None, 200, Duration::from_secs(30))?;

        let url = collector.place().url();
        let answer = collector.api("flamegraph?service=spinner")?;
        let names = answer["names"].to_string();
        for function in ["main", "spin_middle", "spin_leaf"] {
            ensure!(names.contains(function), "no `{function}` in {names}");
        }
        let kernel = collector.api("flamegraph?service=*")?["modules"].to_string();
        ensure!(kernel.contains("kernel"), "no kernel frames in {kernel}");

        let page = browser::elements(scenario, &format!("{url}/"))?;
        ensure!(page.contains("spinner"), "the page does not list the service: {page:.2000}");
        browser::picture(scenario, &format!("{url}/"), "page.png")?;
        Ok(())
    });
}

/// Names of all loaded programs by id.
fn programs() -> Result<BTreeMap<u64, String>> {
    let listed = command::finish(Command::new("bpftool").args(["prog", "show", "--json"]))?;
    let listed: Value = serde_json::from_str(&listed.expect_code(0)?.stdout)
        .context("`bpftool` printed no JSON")?;
    let programs = listed.as_array().context("`bpftool` printed no list")?;
    let named = |program: &Value| {
        let name = program["name"].as_str().unwrap_or("unnamed").to_owned();
        program["id"].as_u64().map(|id| (id, name))
    };
    Ok(programs.iter().filter_map(named).collect())
}
