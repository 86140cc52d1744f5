//! What an alert is, whatever its state.

use super::*;
use crate::detect::{Direction, FunctionKind};

/// An alert on `checksum` of `shop`.
pub(crate) fn alert(state: AlertState) -> Alert {
    let subject = Subject::Function {
        module: "app".to_owned(),
        function: "checksum".to_owned(),
        kind: FunctionKind::SelfTime,
    };
    let verdict = Verdict {
        subject: subject.clone(),
        direction: Direction::Worse,
        baseline_value: Some(0.3),
        candidate_value: 0.4,
        delta_abs: 0.1,
        delta_rel: Some(1.0 / 3.0),
        ci_low: 0.09,
        ci_high: 0.11,
        ratio_interval: None,
        standard_error: 0.01,
        degrees: 10.0,
        p: 1e-9,
        q: 1e-7,
        samples_baseline: 3_000,
        samples_candidate: 4_000,
        replicates_baseline: 8,
        replicates_candidate: 8,
        significant: true,
        explained_by: None,
        also_visible_in: vec!["main".to_owned()],
    };
    Alert {
        fingerprint: fingerprint("shop", &subject),
        name: AlertName::of(&subject),
        service: "shop".to_owned(),
        severity: severity(&verdict).to_owned(),
        subject,
        state,
        baseline_version: "1".to_owned(),
        candidate_version: "2".to_owned(),
        baseline_start_unix_ns: 0,
        baseline_end_unix_ns: 1,
        started_at: 1_699_999_000.0,
        fired_at: Some(1_699_999_060.0),
        resolved_at: None,
        evidence: Evidence {
            verdict,
            changed_paths: Vec::new(),
            baseline_cores: Some(3.0),
            candidate_cores: Some(4.0),
            delta_cores: Some(1.0),
            samples_baseline: 10_000,
            samples_candidate: 11_000,
            caveats: vec!["only 63 % of the candidate's stacks are whole".to_owned()],
        },
        seen_at: 1_699_999_060.0,
        streak: 0,
        links: Vec::new(),
        delivered: BTreeMap::new(),
    }
}

#[test]
fn self_and_total_time_are_one_alert_and_latency_and_errors_are_two() {
    let function =
        |kind| Subject::Function { module: "m".to_owned(), function: "f".to_owned(), kind };
    let syscall = |metric| Subject::Syscall { name: "f".to_owned(), metric };
    let name = |subject| fingerprint("s", &subject);
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
