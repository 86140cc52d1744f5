//! What makes a comparison doubtful must never make a verdict wrong.

use super::*;
use crate::gate::GateVerdict;

fn sentences(answer: &GateAnswer) -> String {
    let checks = answer.checks.iter().map(|check| check.sentence.as_str());
    answer.reasons.iter().map(String::as_str).chain(checks).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_answer_on_broken_stacks_says_so_whatever_it_is() {
    let (_folder, store) = open();
    for window in 0..8 {
        for host in OLD {
            write_broken(&store, (host, "1"), window, &V1, 100);
        }
        for host in NEW {
            write_broken(&store, (host, "2"), window, &V2, 4);
        }
    }
    let answer = ask(&store);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(sentences(&answer).contains("only 75 % of the candidate's stacks are whole"));
    assert!(answer.baseline.whole_share.is_some_and(|share| (0.985..1.0).contains(&share)));
}

#[test]
fn a_host_whose_clock_is_ahead_is_left_out_and_named() {
    let (_folder, store) = filled(&V1, 1);
    // An hour ahead, and burning all that it can: what it says cannot be put beside anything.
    for window in 360..368 {
        write(&store, ("fast", "2"), window, (&V2, 1), 0);
    }
    let answer = ask(&store);
    assert_eq!(answer.verdict, GateVerdict::Pass, "{answer:?}");
    assert!(sentences(&answer).contains("the clock of host `fast` is ahead"), "{answer:?}");
}

#[test]
fn a_host_whose_clock_is_behind_gives_no_wrong_verdict() {
    for (candidate, wrong) in [(&V1, GateVerdict::Fail), (&V2, GateVerdict::Pass)] {
        let (_folder, store) = open();
        for window in 0..8 {
            for host in OLD {
                write(&store, (host, "1"), window + 60, (&V1, 1), 0);
            }
            for host in NEW {
                write(&store, (host, "2"), window + 60, (candidate, 1), 0);
            }
            // Ten minutes behind.
            write(&store, ("slow", "2"), window, (candidate, 1), 0);
            write(&store, ("slower", "1"), window, (&V1, 1), 0);
        }
        let answer = ask_at(&store, short(), 1_200);
        assert_ne!(answer.verdict, wrong, "{answer:?}");
        assert_ne!(answer.verdict, GateVerdict::Inconclusive, "one clock of many: {answer:?}");
    }
}

#[test]
fn names_that_only_one_side_has_are_an_error_and_no_regression() {
    const STRIPPED: [(&str, u64); 5] = [
        ("app+0x1", 2_500),
        ("app+0x2", 3_000),
        ("app+0x3", 2_000),
        ("app+0x4", 1_500),
        ("app+0x5", 1_000),
    ];
    let (_folder, store) = filled(&STRIPPED, 1);
    let answer = ask(&store);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Error, 1), "{answer:?}");
    assert!(answer.reasons[0].contains("symbols"), "{answer:?}");
}

#[test]
fn a_version_whose_pods_restart_again_and_again_fails() {
    let (_folder, store) = open();
    for window in 0..24 {
        for host in OLD {
            write(&store, (host, "1"), window, (&V1, 1), 0);
        }
        // Each pod lives for 30 seconds.
        for pod in 0..4 {
            let name = format!("pod-{pod}-{}", window / 3);
            write(&store, (&name, "2"), window, (&V1, 1), 0);
        }
    }
    let policy = GatePolicy { max_wait: 240, ..short() };
    let answer = ask_at(&store, policy, 600);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(answer.reasons.iter().any(|reason| reason.contains("restart")), "{answer:?}");
}

#[test]
fn one_pod_that_spins_is_no_pass_and_no_fail() {
    const SPINS: [(&str, u64); 6] = [
        ("parse", 2_500),
        ("checksum", 3_000),
        ("send", 2_000),
        ("log", 1_500),
        ("route", 1_000),
        ("spin", 4_000),
    ];
    let (_folder, store) = filled(&V1, 1);
    for window in 0..8 {
        write(&store, ("ggggggg", "2"), window, (&SPINS, 1), 0);
    }
    let answer = ask(&store);
    assert_eq!(answer.verdict, GateVerdict::Inconclusive, "{answer:?}");
    assert!(sentences(&answer).contains("cannot be excluded"), "{answer:?}");
}
