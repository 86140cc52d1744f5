//! What an alert is, whatever its state.

use std::collections::BTreeMap;

use super::*;
use crate::detect::{Direction, FunctionKind, SeenAs, Subject, SyscallMetric};

/// An alert on `checksum` of `shop`.
pub(crate) fn alert(state: AlertState) -> Alert {
    alert_on("checksum", state)
}

/// An alert on a function of `shop`.
pub(crate) fn alert_on(function: &str, state: AlertState) -> Alert {
    let topic = Topic::Of(Subject::Function {
        module: "app".to_owned(),
        function: function.to_owned(),
        kind: FunctionKind::SelfTime,
    });
    let measured = Measured {
        direction: Direction::Worse,
        baseline_value: Some(0.3),
        candidate_value: 0.4,
        delta_abs: 0.1,
        delta_rel: Some(1.0 / 3.0),
        ci_low: 0.09,
        ci_high: 0.11,
        p: 1e-9,
        q: 1e-7,
        samples_baseline: 3_000,
        samples_candidate: 4_000,
        replicates_baseline: 8,
        replicates_candidate: 8,
    };
    Alert {
        fingerprint: fingerprint("shop", "", &topic),
        name: AlertName::of(&topic),
        service: "shop".to_owned(),
        environment: String::new(),
        severity: Severity::of(&topic, &measured),
        topic,
        state,
        mode: Mode::BeforeAfter,
        baseline_version: "1".to_owned(),
        candidate_version: "2".to_owned(),
        baseline_start_unix_ns: 0,
        baseline_end_unix_ns: 1,
        started_at: 1_699_999_000.0,
        fired_at: Some(1_699_999_060.0),
        resolved_at: None,
        evidence: evidence(measured),
        past: None,
        withheld: None,
        is_in_digest: false,
        escalation: None,
        acceptance: None,
        decided_at: 0.0,
        seen_at: 1_699_999_060.0,
        judged_unix_ns: 0,
        delta_on: 0.1,
        track: Track::default(),
        links: Vec::new(),
        delivered: BTreeMap::new(),
    }
}

fn evidence(measured: Measured) -> Evidence {
    Evidence {
        measured,
        seen_as: Some(SeenAs::SelfTime),
        chain: vec!["checksum".to_owned()],
        caller: None,
        also_visible_in: vec!["main".to_owned()],
        cost_shift: None,
        changed_paths: Vec::new(),
        baseline_cores: Some(3.0),
        candidate_cores: Some(4.0),
        delta_cores: Some(1.0),
        per_request: None,
        samples_baseline: 10_000,
        samples_candidate: 11_000,
        hosts: [4, 4],
        caveats: vec!["only 63 % of the candidate's stacks are whole".to_owned()],
    }
}

#[test]
fn self_and_total_time_are_one_alert_and_latency_and_errors_are_two() {
    let function =
        |kind| Subject::Function { module: "m".to_owned(), function: "f".to_owned(), kind };
    let syscall = |metric| Subject::Syscall { name: "f".to_owned(), metric };
    let name = |subject| fingerprint("s", "", &Topic::Of(subject));
    assert_eq!(name(function(FunctionKind::SelfTime)), name(function(FunctionKind::Total)));
    assert_eq!(name(syscall(SyscallMetric::P50)), name(syscall(SyscallMetric::P99)));
    assert_ne!(name(syscall(SyscallMetric::P99)), name(syscall(SyscallMetric::ErrorRate)));
    assert_ne!(name(syscall(SyscallMetric::P99)), name(function(FunctionKind::Total)));
}

#[test]
fn an_alert_survives_being_saved() {
    let alert = alert(AlertState::Firing);
    let text = serde_json::to_string(&alert).unwrap();
    assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
}
