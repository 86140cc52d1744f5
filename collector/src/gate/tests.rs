//! The gate on a real store.

use std::collections::BTreeMap;

use profiler_common::abi::latency::bucket_of;
use profiler_common::abi::sample::WalkEnd;
use profiler_common::wire::{PROTOCOL_VERSION, v1};
use tempfile::TempDir;

use super::{GateAnswer, GatePolicy, GateRequest, GateVerdict, evaluate};
use crate::detect::Subject;
use crate::store::{Store, StoreOptions};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Start of every test: 20 days after 1970, a whole number of windows.
pub(crate) const T0: u64 = 20 * 86_400 * SECOND;

/// Functions of the service and their samples in a window of 10 s at 99 Hz on ten cores.
pub(crate) const V1: [(&str, u64); 5] =
    [("parse", 2_500), ("checksum", 3_000), ("send", 2_000), ("log", 1_500), ("route", 1_000)];

/// The same work where one function takes a third more.
pub(crate) const V2: [(&str, u64); 5] =
    [("parse", 2_500), ("checksum", 4_000), ("send", 2_000), ("log", 1_500), ("route", 1_000)];

pub(crate) fn open() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store.db"), StoreOptions::default()).unwrap();
    (folder, store)
}

/// Stores one window, as [`window`] makes it.
pub(crate) fn write(
    store: &Store,
    who: (&str, &str),
    at: u64,
    functions: (&[(&str, u64)], u64),
    syncs: u64,
) {
    store.write(&window(who, at, functions, syncs)).unwrap();
}

/// Stores one window, as [`window`] makes it, of which one stack in so many is not whole.
pub(crate) fn write_broken(
    store: &Store,
    who: (&str, &str),
    at: u64,
    functions: &[(&str, u64)],
    broken: u64,
) {
    let mut batch = window(who, at, (functions, 1), 0);
    let service = &mut batch.services[0];
    let samples: u64 = service.counts.iter().sum();
    let ends = [(WalkEnd::Root, samples - samples / broken), (WalkEnd::Unmapped, samples / broken)];
    service.walks = ends
        .map(|(end, samples)| v1::WalkEndCount { end: end.name().to_owned(), samples })
        .to_vec();
    store.write(&batch).unwrap();
}

/// One window of 10 s of service `shop`: counts divided by `thin`, shaken by up to 2 %, and calls of
/// `fdatasync` of 5 ms.
fn window(
    (host, version): (&str, &str),
    window: u64,
    (functions, thin): (&[(&str, u64)], u64),
    syncs: u64,
) -> v1::Batch {
    let mut strings: Vec<String> =
        ["", "shop", version, host, "main", "app", "fdatasync"].map(str::to_owned).into();
    let frame = |function: u32| v1::Frame {
        kind: v1::FrameKind::Native.into(),
        function,
        module: 5,
        ..v1::Frame::default()
    };
    let mut batch = v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: format!("{host}-{version}"),
        epoch: 1,
        sequence: window + 1,
        host: host.to_owned(),
        start_unix_ns: T0 + window * 10 * SECOND,
        end_unix_ns: T0 + (window + 1) * 10 * SECOND,
        frames: vec![frame(4)],
        ..v1::Batch::default()
    };
    let mut service = v1::ServiceProfile {
        service: 1,
        version: 2,
        unit: 3,
        period_ns: 10_101_010,
        ..v1::ServiceProfile::default()
    };
    for (index, (name, count)) in functions.iter().enumerate() {
        strings.push((*name).to_owned());
        batch.frames.push(frame(strings.len() as u32 - 1));
        batch.stacks.push(v1::Stack { frames: vec![0, batch.frames.len() as u32 - 1] });
        service.stacks.push(index as u32);
        // A fixed pattern without a trend: hosts and windows differ a little.
        let shake = (window * 7 + index as u64 * 3 + host.len() as u64 * 5) % 5;
        service.counts.push(count * (98 + shake) / 100 / thin);
    }
    if syncs > 0 {
        service.syscalls.push(v1::SyscallLatency {
            name: 6,
            calls: syncs,
            sum_ns: syncs * 5_000_000,
            max_ns: 5_000_000,
            buckets: vec![bucket_of(5_000_000)],
            bucket_counts: vec![syncs],
            ..v1::SyscallLatency::default()
        });
    }
    batch.strings = strings;
    batch.services = vec![service];
    batch
}

/// A policy for the 80 seconds of these tests.
fn short() -> GatePolicy {
    let (look, warm_up, max_wait) = (20, 0, 80);
    GatePolicy { look, warm_up, max_wait, min_looks: 1, min_units: 2, ..GatePolicy::default() }
}

fn ask(store: &Store, baseline: &[(&str, &str)], candidate: &[(&str, &str)]) -> GateAnswer {
    let labels = |labels: &[(&str, &str)]| -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let request = GateRequest {
        service: "shop".to_owned(),
        baseline: labels(baseline),
        candidate: labels(candidate),
        window_seconds: Some(10),
        policy: Some(short()),
        ..GateRequest::default()
    };
    evaluate(store, &request, T0 + 600 * SECOND).unwrap()
}

fn filled(thin: u64) -> (TempDir, Store) {
    let (folder, store) = open();
    for window in 0..8 {
        write(&store, ("a", "1"), window, (&V1, thin), 0);
        write(&store, ("bb", "1"), window, (&V1, thin), 0);
        write(&store, ("ccc", "2"), window, (&V2, thin), 0);
        write(&store, ("dddd", "2"), window, (&V2, thin), 0);
    }
    (folder, store)
}

#[test]
fn a_slower_version_exits_3_and_the_function_is_named() {
    let (_folder, store) = filled(1);
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Fail, 3), "{answer:?}");
    assert!(
        answer.findings.iter().all(|finding| matches!(&finding.subject,
            Subject::Function { function, .. } if function == "checksum")),
        "{:?}",
        answer.findings
    );
    assert!(answer.reasons[0].contains("checksum"));
}

#[test]
fn an_answer_on_broken_stacks_says_so_whatever_it_is() {
    let (_folder, store) = open();
    for window in 0..8 {
        write_broken(&store, ("a", "1"), window, &V1, 100);
        write_broken(&store, ("bb", "1"), window, &V1, 100);
        write_broken(&store, ("ccc", "2"), window, &V2, 4);
        write_broken(&store, ("dddd", "2"), window, &V2, 4);
    }
    let sentence = "only 75 % of the candidate's stacks are whole";
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    assert_eq!(answer.verdict, GateVerdict::Fail, "{answer:?}");
    assert!(answer.reasons.iter().any(|reason| reason == sentence), "{:?}", answer.reasons);
    let share = |side: super::GateSide| side.whole_share.unwrap();
    assert!((0.985..1.0).contains(&share(answer.baseline)), "{answer:?}");
    assert!((0.74..0.76).contains(&share(answer.candidate)), "{answer:?}");
    let same = ask(&store, &[("version", "1"), ("host", "a")], &[("host", "bb")]);
    assert_eq!((same.verdict, same.reasons.len()), (GateVerdict::Pass, 1), "{same:?}");
}

#[test]
fn the_same_version_on_another_host_exits_0() {
    let (_folder, store) = filled(1);
    let answer =
        ask(&store, &[("version", "1"), ("host", "a")], &[("version", "1"), ("host", "bb")]);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Pass, 0), "{answer:?}");
    assert!(answer.detectable.service_cpu.is_some());
}

#[test]
fn too_few_samples_exit_4_and_say_what_is_missing() {
    let (_folder, store) = filled(200);
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Inconclusive, 4), "{answer:?}");
    assert!(answer.reasons[0].contains("samples"), "{:?}", answer.reasons);
}

#[test]
fn a_new_syscall_in_a_few_samples_does_not_stop_a_rollout_yet() {
    let (_folder, store) = open();
    for window in 0..8 {
        for (host, version, functions, syncs) in
            [("a", "1", &V1, 0), ("bb", "1", &V1, 0), ("ccc", "2", &V2, 60), ("dddd", "2", &V2, 60)]
        {
            write(&store, (host, version), window, (functions, 200), syncs);
        }
    }
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    assert_eq!(answer.exit_code, 4, "{answer:?}");
    assert!(!answer.findings.is_empty(), "{answer:?}");
}

#[test]
fn a_version_that_was_never_seen_exits_1_and_is_named() {
    let (_folder, store) = filled(1);
    let answer = ask(&store, &[("version", "1")], &[("version", "9")]);
    assert_eq!((answer.verdict, answer.exit_code), (GateVerdict::Error, 1), "{answer:?}");
    assert!(answer.reasons[0].contains("version=9"), "{:?}", answer.reasons);
}

#[test]
fn an_answer_survives_json_and_a_policy_with_an_unknown_key_does_not() {
    let (_folder, store) = filled(1);
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<GateAnswer>(&text).unwrap(), answer);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.yaml");
    std::fs::write(&path, "min_samples: 5\ndetect:\n  q: 0.05\n").unwrap();
    let policy = GatePolicy::read(&path).unwrap();
    assert_eq!((policy.min_samples, policy.detect.q), (5, 0.05));
    std::fs::write(&path, "min_smaples: 5\n").unwrap();
    let error = format!("{:#}", GatePolicy::read(&path).unwrap_err());
    assert!(error.contains("min_smaples"), "{error}");
}

#[test]
fn a_function_that_only_one_replicate_has_is_no_pass() {
    const SPINS: [(&str, u64); 6] = [
        ("parse", 2_500),
        ("checksum", 3_000),
        ("send", 2_000),
        ("log", 1_500),
        ("route", 1_000),
        ("spin", 4_000),
    ];
    let (_folder, store) = open();
    for window in 0..8 {
        for host in ["a", "bb", "ccc", "dddd"] {
            write(&store, (host, "1"), window, (&V1, 1), 0);
            let functions: &[(&str, u64)] = if host == "a" { &SPINS } else { &V1 };
            write(&store, (host, "2"), window, (functions, 1), 0);
        }
    }
    let answer = ask(&store, &[("version", "1")], &[("version", "2")]);
    assert_eq!(answer.verdict, GateVerdict::Inconclusive, "{answer:?}");
    assert!(answer.reasons.iter().any(|reason| reason.contains("spin")), "{:?}", answer.reasons);
}
