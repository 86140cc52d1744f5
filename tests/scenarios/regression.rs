//! A release that got slower: the alerts name the function and the syscall, reach Alertmanager, and resolve.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use harness::agent::Agent;
use harness::alertmanager::Alertmanager;
use harness::collector::Collector;
use harness::running::Running;
use harness::workload::Workload;
use harness::{Scenario, eventually, scenario};

const SERVICE: &str = "shop";

/// What v2 makes slower: a third more of the function, and a call that v1 does not make.
const SLOWER_FUNCTION: &str = "render_page";
const SLOWER_SYSCALL: &str = "fdatasync";

/// What v2 leaves as it was.
const UNCHANGED: &[&str] = &[
    "parse_headers",
    "parse_query",
    "route_request",
    "check_session",
    "load_user",
    "load_catalog",
    "rank_results",
    "escape_text",
    "compress_body",
    "sign_response",
    "count_metrics",
];

/// How long v1 runs before v2 comes: enough windows for a baseline.
const BASELINE_TIME: Duration = Duration::from_secs(60);

/// Longest time from the release to both alerts.
const FIRING_LIMIT: Duration = Duration::from_secs(120);

/// Longest time from the way back to silence: three windows until v1 counts as what runs, and six that are quiet.
const RESOLVED_LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_slower_release_raises_alerts_that_name_it_and_resolve_with_it() {
    scenario("regression", |scenario| {
        let alertmanager = Alertmanager::start(scenario)?;
        let collector = Collector::start(scenario, &settings(&alertmanager))?;
        let _agent = Agent::start(scenario, &collector.place().grpc_url(), 499)?;
        let mut seen = BTreeSet::new();

        let shops = release(scenario, "v1")?;
        sleep(BASELINE_TIME);
        note(&collector, &mut seen)?;
        ensure!(seen.is_empty(), "alerts before anything changed: {seen:?}");
        drop(shops);

        let shops = release(scenario, "v2")?;
        let firing = eventually::ok("both alerts fire", FIRING_LIMIT, || {
            note(&collector, &mut seen)?;
            let function = find(&collector, "firing", SLOWER_FUNCTION)?;
            let syscall = find(&collector, "firing", SLOWER_SYSCALL)?;
            Ok([function, syscall])
        })?;
        evidence(&firing[0], Some(1.0 / 3.0))?;
        evidence(&firing[1], None)?;
        ensure!(firing[1]["metric"] == "p99", "not about the slowest calls: {}", firing[1]);
        eventually::ok("Alertmanager has both", Duration::from_secs(30), || {
            let active = serde_json::to_string(&alertmanager.active()?)?;
            for name in [SLOWER_FUNCTION, SLOWER_SYSCALL] {
                ensure!(active.contains(name), "no `{name}` in {active}");
            }
            Ok(())
        })?;
        drop(shops);

        let _shops = release(scenario, "v1")?;
        eventually::ok("both alerts resolve", RESOLVED_LIMIT, || {
            note(&collector, &mut seen)?;
            for name in [SLOWER_FUNCTION, SLOWER_SYSCALL] {
                find(&collector, "resolved", name)?;
                ensure!(find(&collector, "firing", name).is_err(), "`{name}` still fires");
            }
            Ok(())
        })?;
        eventually::ok("Alertmanager lets go", Duration::from_secs(60), || {
            ensure!(alertmanager.received("resolved")? >= 2, "nothing was resolved there");
            let active = serde_json::to_string(&alertmanager.active()?)?;
            for name in [SLOWER_FUNCTION, SLOWER_SYSCALL] {
                ensure!(!active.contains(name), "`{name}` is still active: {active}");
            }
            Ok(())
        })?;
        ensure!(alertmanager.received("firing")? >= 2, "nothing fired at Alertmanager");
        for name in UNCHANGED {
            ensure!(
                !seen.contains(*name),
                "`{name}` did not change, but raised an alert: {seen:?}"
            );
        }
        Ok(())
    });
}

fn settings(alertmanager: &Alertmanager) -> String {
    format!(
        "[alert]\nalertmanager_urls = [\"{}\"]\nwindow_seconds = 10\ninterval_seconds = 5\n",
        alertmanager.url()
    )
}

/// Four instances of one version: with fewer the detector cannot tell a change from the differences between them.
fn release(scenario: &Scenario, version: &str) -> Result<Vec<Running>> {
    ["a", "b", "c", "d"]
        .iter()
        .map(|instance| {
            let log = scenario.path(&format!("requests-{instance}.txt"));
            let shop = Workload::new("shop")?.arg(version).arg(log.display());
            shop.service(SERVICE).version(version).instance(instance).start(scenario)
        })
        .collect()
}

fn alerts(collector: &Collector) -> Result<Vec<Value>> {
    let answer = collector.api("alerts")?;
    let alerts = answer["alerts"].as_array().context("no `alerts`")?;
    Ok(alerts.iter().filter(|alert| alert["service"] == SERVICE).cloned().collect())
}

/// Remembers the subject of every alert that ever was firing.
fn note(collector: &Collector, seen: &mut BTreeSet<String>) -> Result<()> {
    for alert in alerts(collector)? {
        if alert["state"] != "pending" {
            seen.insert(subject(&alert).to_owned());
        }
    }
    Ok(())
}

fn find(collector: &Collector, state: &str, name: &str) -> Result<Value> {
    let alerts = alerts(collector)?;
    let found = alerts.iter().find(|alert| alert["state"] == state && subject(alert) == name);
    found.cloned().with_context(|| format!("no {state} alert on `{name}` in {alerts:?}"))
}

fn subject(alert: &Value) -> &str {
    alert["function"].as_str().or_else(|| alert["syscall"].as_str()).unwrap_or_default()
}

/// The alert carries what a reader needs to believe it.
fn evidence(alert: &Value, growth: Option<f64>) -> Result<()> {
    ensure!(alert["baseline_version"] == "v1", "not compared with v1: {alert}");
    ensure!(alert["candidate_version"] == "v2", "not about v2: {alert}");
    let verdict = &alert["evidence"]["verdict"];
    let number = |field: &str| {
        verdict[field].as_f64().with_context(|| format!("no number `{field}` in {alert}"))
    };
    let (low, change, high) = (number("ci_low")?, number("delta_abs")?, number("ci_high")?);
    ensure!(0.0 < low && low <= change && change <= high, "no interval: {low} {change} {high}");
    ensure!(number("samples_candidate")? > 100.0, "no sample count in {alert}");
    if let Some(growth) = growth {
        ensure!(number("samples_baseline")? > 100.0, "no sample count in {alert}");
        let seen = number("delta_rel")?;
        ensure!((growth - seen).abs() < 0.15, "grew by {growth}, the alert says {seen}");
    }
    Ok(())
}
