//! The gate of a rollout: its exit code decides, and its words say why.

use std::time::Duration;

use anyhow::Result;

use harness::agent::{Agent, AgentPlace};
use harness::binaries::Program;
use harness::collector::{Collector, CollectorPlace};
use harness::command::{self, Finished};
use harness::running::Running;
use harness::workload::Workload;
use harness::{Scenario, scenario};

const PASS: i32 = 0;
const FAILURE: i32 = 1;
const USAGE: i32 = 2;
const REGRESSION: i32 = 3;
const INCONCLUSIVE: i32 = 4;

/// Looks after seconds instead of minutes. A busy machine shares its time unevenly between three instances, so a pass
/// excludes growth by 15 %.
const POLICY: &str = "\
look: 10s
warm_up: 0s
max_wait: 4m
min_looks: 1
pass:
  service_cpu: 0.15
";

/// Samples of each version before the gate is asked: a third more of a third is clear with far fewer.
const SAMPLES: u64 = 10_000;

#[test]
fn the_gate_stops_what_is_slower_and_lets_the_rest_pass() {
    scenario("gate", |scenario| {
        std::fs::write(scenario.path("gate.yaml"), POLICY)?;
        let collector = CollectorPlace::new(scenario, "")?.start()?;
        // Two agents stand for two hosts: each sees the same programs with samples of its own.
        let _left = agent(scenario, &collector, "left")?;
        let _right = agent(scenario, &collector, "right")?;
        let _shops = release(scenario)?;
        // A kiosk is a shop that closes after two seconds.
        for version in ["v1", "v2"] {
            let log = scenario.path("kiosk.txt");
            let kiosk = Workload::new("shop")?.arg(version).arg(log.display()).arg(2);
            let mut kiosk = kiosk.service("kiosk").version(version).start(scenario)?;
            kiosk.wait(Duration::from_secs(20))?;
            collector.wait_for_samples("kiosk", Some(version), 20, Duration::from_secs(40))?;
        }
        gate(scenario, &collector, "kiosk", "version=v1", "version=v2")?
            .expect_code(INCONCLUSIVE)?
            .expect_said(&["look"])?;
        for version in ["v1", "v2"] {
            let limit = Duration::from_secs(120);
            collector.wait_for_samples("shop", Some(version), SAMPLES, limit)?;
        }

        // The first look is enough for the call that v1 does not make; the function would take more of them.
        patient_gate(scenario, &collector, "version=v1", "version=v2")?
            .expect_code(REGRESSION)?
            .expect_said(&["fdatasync"])?;
        patient_gate(scenario, &collector, "version=v1,host=left", "version=v1,host=right")?
            .expect_code(PASS)?;
        gate(scenario, &collector, "shop", "version=v1", "version=v9")?
            .expect_code(FAILURE)?
            .expect_said(&["v9"])?;
        gate(scenario, &collector, "no-such-shop", "version=v1", "version=v2")?
            .expect_code(FAILURE)?
            .expect_said(&["no-such-shop"])?;
        gate(scenario, &collector, "shop", "v1", "version=v2")?
            .expect_code(USAGE)?
            .expect_said(&["v1"])?;
        Ok(())
    });
}

fn agent(scenario: &Scenario, collector: &Collector, host: &str) -> Result<Agent> {
    AgentPlace::new(scenario, &collector.place().grpc_url())?
        .host(host)
        .with_state(&scenario.path(host))
        .frequency(199)
        .start()
}

/// Three instances of each version at the same time, as in a canary release.
fn release(scenario: &Scenario) -> Result<Vec<Running>> {
    [("v1", "a"), ("v1", "b"), ("v1", "c"), ("v2", "d"), ("v2", "e"), ("v2", "f")]
        .iter()
        .map(|(version, instance)| {
            let log = scenario.path(&format!("requests-{instance}.txt"));
            let shop = Workload::new("shop")?.arg(version).arg(log.display());
            shop.service("shop").version(version).instance(instance).start(scenario)
        })
        .collect()
}

fn gate(
    scenario: &Scenario,
    collector: &Collector,
    service: &str,
    old: &str,
    new: &str,
) -> Result<Finished> {
    ask(scenario, collector, &["--service", service, "--baseline", old, "--candidate", new])
}

/// As in a rollout: an answer that lacks data is asked again while samples come in.
fn patient_gate(
    scenario: &Scenario,
    collector: &Collector,
    old: &str,
    new: &str,
) -> Result<Finished> {
    let sides = ["--service", "shop", "--baseline", old, "--candidate", new];
    ask(scenario, collector, &[&sides[..], &["--wait", "4m"]].concat())
}

fn ask(scenario: &Scenario, collector: &Collector, question: &[&str]) -> Result<Finished> {
    let url = collector.place().url();
    let policy = scenario.path("gate.yaml").display().to_string();
    let arguments = ["gate", "--collector", &url, "--window", "10s", "--policy", &policy];
    command::run(&Program::Collector.path()?, &[&arguments[..], question].concat())?
        .expect_no_panic()
}
