//! Policies: what they refuse, and what their conditions do.

use super::*;
use crate::gate::GateVerdict;
use crate::gate::criteria::Outcome;

fn refusal(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.yaml");
    std::fs::write(&path, text).unwrap();
    let error = format!("{:#}", GatePolicy::read(&path).unwrap_err());
    assert!(error.contains("gate.yaml"), "{error}");
    error
}

fn parsed(text: &str) -> GatePolicy {
    GatePolicy::parse(text).unwrap()
}

#[test]
fn a_policy_is_read_and_what_it_leaves_out_is_the_default() {
    let policy = parsed("look: 2m\nmin_pods: 5\ndetect:\n  q: 0.05\nfail:\n  service_cpu: 0.1\n");
    assert_eq!((policy.look, policy.min_units, policy.detect.q), (120, 5, 0.05));
    assert!((policy.fail.service_cpu - 0.1).abs() < 1e-12 && policy.warm_up == 300);
    assert_eq!(parsed("# nothing\n"), GatePolicy::default());
}

#[test]
fn a_policy_that_is_written_out_reads_back_the_same() {
    let policy = parsed("success_criteria:\n  - syscall.fsync.p99_ms <= 20\nlook: 90s\n");
    assert_eq!(parsed(&serde_saphyr::to_string(&policy).unwrap()), policy);
}

#[test]
fn errors_name_the_line_and_what_is_allowed() {
    for (text, line, parts) in [
        ("look: 5m\nmin_smaples: 5\n", 2, &["min_smaples", "min_samples"][..]),
        ("look: 5m\nfail:\n  service_cpuu: 1\n", 3, &["service_cpuu", "service_cpu"]),
        ("alpha: many\n", 1, &["alpha"]),
        ("look: 5 parsecs\n", 1, &["90s"]),
        (
            "success_criteria:\n  - service_cpu_ratio <= 1.1\n  - servise_cpu_ratio <= 1.1\n",
            3,
            &["did you mean `service_cpu_ratio`"],
        ),
        ("rollback_triggers:\n  - service_cpu_ratio > 1.2\n", 2, &["for 3 minutes"]),
        ("on_inconclusive: maybe\n", 1, &["hold"]),
    ] {
        let error = refusal(text);
        assert!(error.contains(&format!("line {line}")), "{text}\n{error}");
        for part in parts {
            assert!(error.contains(part), "{text}\n{error}");
        }
    }
}

#[test]
fn levels_and_times_that_make_no_sense_are_refused() {
    for (text, key) in [
        ("alpha: 0.7\n", "`alpha`"),
        ("alpha_pass: 0\n", "`alpha_pass`"),
        ("look: 0\n", "`look`"),
        ("max_wait: 30d\n", "`max_wait`"),
        ("fail:\n  service_cpu: -1\n", "`fail.service_cpu`"),
    ] {
        assert!(refusal(text).contains(key), "{}", refusal(text));
    }
    let (_folder, store) = filled(&V1, 1);
    let answer = ask_at(&store, GatePolicy { alpha: 0.7, ..short() }, 600);
    assert_eq!(answer.verdict, GateVerdict::Error, "{answer:?}");
}

fn with(text: &str) -> GatePolicy {
    let GatePolicy { success_criteria, rollback_triggers, .. } = parsed(text);
    GatePolicy { success_criteria, rollback_triggers, ..short() }
}

#[test]
fn criteria_that_hold_pass_and_one_that_is_broken_fails() {
    let (_folder, store) = filled(&V1, 1);
    let holds = "success_criteria:\n  - service_cpu_ratio <= 1.05\n  - function.checksum.self_pct <= 40\n  \
                 - function.main.total_ratio <= 1.5\n  - service_cpu_cores <= 100\n";
    let answer = ask_at(&store, with(holds), 600);
    assert_eq!(answer.verdict, GateVerdict::Pass, "{answer:?}");
    assert_eq!(answer.criteria.len(), 4);
    let broken = "success_criteria:\n  - function.checksum.self_pct <= 20\n";
    let answer = ask_at(&store, with(broken), 600);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(answer.reasons[0].contains("`function.checksum.self_pct <= 20` is broken"));
    assert!(answer.criteria.iter().any(|criterion| criterion.outcome == Outcome::Broken));
}

#[test]
fn a_criterion_that_is_near_its_limit_or_cannot_be_measured_is_no_pass_and_no_fail() {
    let (_folder, store) = filled(&V1, 1);
    for (criterion, part) in [
        ("function.checksum.self_pct <= 30", "not beyond doubt"),
        ("syscall.fsync.p99_ms <= 20", "no call of `fsync`"),
        ("function.chekcsum.self_pct <= 30", "no function `chekcsum`"),
        ("service_cpu_ms_per_request <= 5", "no requests"),
    ] {
        let policy = with(&format!("success_criteria:\n  - {criterion}\n"));
        let answer = ask_at(&store, policy, 600);
        assert_eq!(answer.verdict, GateVerdict::Inconclusive, "{criterion}: {answer:?}");
        assert!(answer.reasons.iter().any(|reason| reason.contains(part)), "{answer:?}");
    }
}

#[test]
fn latency_criteria_are_judged_by_the_share_of_slower_calls() {
    let (_folder, store) = open();
    for window in 0..8 {
        for (hosts, version) in [(OLD, "1"), (NEW, "2")] {
            for host in hosts {
                // Every call takes 5 ms.
                write(&store, (host, version), window, (&V1, 1), 2_000);
            }
        }
    }
    for (criterion, verdict) in [
        ("syscall.fdatasync.p99_ms <= 20", GateVerdict::Pass),
        ("syscall.fdatasync.p99_ms <= 2", GateVerdict::Fail),
        ("syscall.fdatasync.p99_ratio <= 1.2", GateVerdict::Pass),
        ("syscall.fdatasync.error_rate_pct <= 1", GateVerdict::Pass),
    ] {
        let policy = with(&format!("success_criteria:\n  - {criterion}\n"));
        let answer = ask_at(&store, policy, 600);
        assert_eq!(answer.verdict, verdict, "{criterion}: {answer:?}");
    }
}

#[test]
fn a_trigger_sends_back_before_the_first_look() {
    const DOUBLE: [(&str, u64); 1] = [("parse", 20_000)];
    let (_folder, store) = filled(&DOUBLE, 1);
    let trigger = with("rollback_triggers:\n  - service_cpu_ratio > 1.2 for 20 seconds\n");
    let patient = GatePolicy { look: 80, ..trigger.clone() };
    let answer = ask_at(&store, patient, 60);
    assert_eq!((answer.verdict, answer.look), (GateVerdict::Fail, None), "{answer:?}");
    assert!(answer.reasons[0].contains("for 20s` fired"), "{answer:?}");
    let (_folder, store) = filled(&V1, 1);
    assert_eq!(ask_at(&store, trigger, 600).verdict, GateVerdict::Pass);
}
