//! Verdicts, and that they stay what they are.

use super::*;
use crate::detect::Subject;
use crate::gate::{GateResult, GateVerdict};

/// Everything a third slower: no share changes.
const ALL_SLOWER: [(&str, u64); 5] =
    [("parse", 3_333), ("checksum", 4_000), ("send", 2_667), ("log", 2_000), ("route", 1_333)];

#[test]
fn a_slower_version_exits_3_and_the_function_is_named() {
    let (_folder, store) = filled(&V2, 1);
    let answer = ask(&store);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Fail, 3), "{answer:?}");
    assert_eq!((answer.result, answer.score), (GateResult::Fail, 0));
    let is_checksum = |subject: &Subject| matches!(subject, Subject::Function { function, .. } if function == "checksum");
    assert!(answer.findings.iter().all(|finding| is_checksum(&finding.subject)), "{answer:?}");
    assert!(answer.reasons.iter().any(|reason| reason.contains("checksum")), "{answer:?}");
    assert!(answer.is_final && answer.next_look.is_none());
}

#[test]
fn a_version_in_which_all_is_slower_fails_by_its_cost_though_no_share_changed() {
    let (_folder, store) = filled(&ALL_SLOWER, 1);
    let answer = ask(&store);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(answer.groups.is_empty(), "{answer:?}");
    assert!(answer.reasons[0].contains("CPU time per"), "{answer:?}");
}

#[test]
fn the_same_work_exits_0_and_says_what_is_excluded() {
    let (_folder, store) = filled(&V1, 1);
    let answer = ask(&store);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Pass, 0), "{answer:?}");
    assert!(answer.reasons[0].contains("at most"), "{answer:?}");
    assert!(answer.detectable.service_cpu.is_some_and(|effect| effect > 0.03), "{answer:?}");
}

#[test]
fn one_unit_a_side_is_never_enough_and_the_answer_says_so() {
    let (_folder, store) = filled(&V2, 1);
    let request = request("version=1,host=a", "version=2,host=dddd", short());
    let answer = evaluate(&store, &request, T0 + 600 * SECOND).unwrap();
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Inconclusive, 4), "{answer:?}");
    assert!(answer.reasons[0].contains("1 units"), "{answer:?}");
}

#[test]
fn too_few_samples_exit_4_and_say_what_is_missing() {
    let (_folder, store) = filled(&V2, 500);
    let answer = ask(&store);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Inconclusive, 4), "{answer:?}");
    assert!(answer.reasons[0].contains("samples"), "{:?}", answer.reasons);
}

#[test]
fn what_is_not_there_exits_1_and_is_named() {
    let (_folder, store) = filled(&V1, 1);
    let at = T0 + 600 * SECOND;
    let answer = evaluate(&store, &request("version=1", "version=9", short()), at).unwrap();
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Error, 1), "{answer:?}");
    assert!(answer.reasons[0].contains("version=9"), "{:?}", answer.reasons);
    let mut empty = request("version=1", "version=2", short());
    empty.service = "nobody".to_owned();
    let answer = evaluate(&store, &empty, at).unwrap();
    assert_eq!(answer.exit_code, 1, "{answer:?}");
    assert!(answer.reasons[0].contains("`nobody`"), "{:?}", answer.reasons);
}

#[test]
fn before_the_first_look_nothing_is_said_but_when_it_comes() {
    let (_folder, store) = filled(&V2, 1);
    let answer = ask_at(&store, short(), 30);
    assert_eq!((answer.verdict, answer.look), (GateVerdict::Inconclusive, None), "{answer:?}");
    // The look ends after 20 seconds, and agents have 30 more to send.
    assert!(answer.reasons[0].contains("in 20 s"), "{answer:?}");
    assert_eq!(answer.next_look, Some((T0 / SECOND + 50) as f64));
    assert!(answer.groups.is_empty() && answer.costs.is_empty(), "{answer:?}");
}

#[test]
fn a_restart_of_the_collector_in_the_middle_changes_nothing() {
    for candidate in [&V1, &V2] {
        let (folder, store) = open();
        fill(&store, 4, candidate, 1);
        let before = ask_at(&store, short(), 71);
        drop(store);
        let store =
            SqliteStore::open(&folder.path().join("store.db"), StoreOptions::default()).unwrap();
        assert_eq!(ask_at(&store, short(), 71), before);
        for window in 4..8 {
            for host in OLD {
                write(&store, (host, "1"), window, (&V1, 1), 0);
            }
            for host in NEW {
                write(&store, (host, "2"), window, (candidate, 1), 0);
            }
        }
        let (_other, unbroken) = filled(candidate, 1);
        assert_eq!(ask(&store), ask(&unbroken));
    }
}

#[test]
fn asking_more_often_changes_no_answer_and_a_fail_is_never_taken_back() {
    let (_folder, store) = filled(&V2, 1);
    let mut failed_at = None;
    for seconds in (20..400).step_by(7) {
        let answer = ask_at(&store, short(), seconds);
        match failed_at {
            None if answer.verdict == GateVerdict::Fail => failed_at = answer.look,
            Some(_) => assert_eq!((answer.verdict, answer.look), (GateVerdict::Fail, failed_at)),
            None => {}
        }
    }
    assert!(failed_at.is_some());
}

#[test]
fn complete_data_is_looked_at_once_and_with_everything() {
    let (_folder, store) = filled(&V2, 1);
    let mut request = request("version=1", "version=2", short());
    let start = (T0 / SECOND) as f64;
    (request.from, request.to) = (Some(start), Some(start + 80.0));
    let answer = evaluate(&store, &request, T0 + 9_000 * SECOND).unwrap();
    assert_eq!((answer.verdict, answer.look, answer.is_final), (GateVerdict::Fail, Some(0), true));
}

#[test]
fn what_ran_before_is_compared_when_nothing_runs_beside_and_that_is_said() {
    let (_folder, store) = open();
    for window in 0..8 {
        for host in OLD.into_iter().chain(NEW) {
            write(&store, (host, "1"), window, (&V1, 1), 0);
            write(&store, (host, "2"), window + 8, (&V2, 1), 0);
        }
    }
    let answer = ask(&store);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(answer.checks.iter().any(|check| check.sentence.contains("did not run beside")));
}

#[test]
fn an_answer_survives_json() {
    let (_folder, store) = filled(&V2, 1);
    let answer = ask(&store);
    let value: serde_json::Value = serde_json::to_value(&answer).unwrap();
    assert_eq!((&value["verdict"], &value["result"]), (&"fail".into(), &"fail".into()));
    let back: GateAnswer = serde_json::from_value(value).unwrap();
    assert_eq!((back.reasons, back.look), (answer.reasons, answer.look));
}
