//! The gate on a real store.

use profiler_common::abi::latency::bucket_of;
use profiler_common::abi::sample::WalkEnd;
use profiler_common::wire::{PROTOCOL_VERSION, v1};
use tempfile::TempDir;

use super::{GateAnswer, GatePolicy, GateRequest, Labels, evaluate};
use crate::store::{SqliteStore, Store, StoreOptions};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// Start of every test: 20 days after 1970, a whole number of windows.
pub(crate) const T0: u64 = 20 * 86_400 * SECOND;

/// Functions of the service and their samples in a window of 10 s at 99 Hz on ten cores.
pub(crate) const V1: [(&str, u64); 5] =
    [("parse", 2_500), ("checksum", 3_000), ("send", 2_000), ("log", 1_500), ("route", 1_000)];

/// The same work where one function takes a third more.
pub(crate) const V2: [(&str, u64); 5] =
    [("parse", 2_500), ("checksum", 4_000), ("send", 2_000), ("log", 1_500), ("route", 1_000)];

pub(crate) fn open() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&folder.path().join("store.db"), StoreOptions::default()).unwrap();
    (folder, store)
}

/// Stores one window, as [`window`] makes it.
pub(crate) fn write(
    store: &dyn Store,
    who: (&str, &str),
    at: u64,
    functions: (&[(&str, u64)], u64),
    syncs: u64,
) {
    store.write_whole(&window(who, at, functions, syncs)).unwrap();
}

/// Stores one window, as [`window`] makes it, of which one stack in so many is not whole.
pub(crate) fn write_broken(
    store: &dyn Store,
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
    store.write_whole(&batch).unwrap();
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

mod answers;
mod doubts;
mod policies;

/// Hosts of the version known to be good, and of the one in question.
const OLD: [&str; 3] = ["a", "bb", "ccc"];
const NEW: [&str; 3] = ["dddd", "eeeee", "ffffff"];

/// A policy for the 80 seconds of these tests: looks after 20, 40 and 80 seconds.
fn short() -> GatePolicy {
    let (look, warm_up, max_wait) = (20, 0, 80);
    GatePolicy { look, warm_up, max_wait, min_looks: 1, min_units: 2, ..GatePolicy::default() }
}

/// The question of these tests, with labels as `key=value,key=value`.
fn request(baseline: &str, candidate: &str, policy: GatePolicy) -> GateRequest {
    let labels = |text: &str| text.parse::<Labels>().unwrap().0;
    GateRequest {
        service: "shop".to_owned(),
        baseline: labels(baseline),
        candidate: labels(candidate),
        window_seconds: Some(10),
        policy: Some(policy),
        ..GateRequest::default()
    }
}

/// Asks whether version 2 may replace version 1, so many seconds after both began.
fn ask_at(store: &dyn Store, policy: GatePolicy, seconds: u64) -> GateAnswer {
    let request = request("version=1", "version=2", policy);
    evaluate(store, &request, T0 + seconds * SECOND).unwrap()
}

/// Asks when all looks are done.
fn ask(store: &dyn Store) -> GateAnswer {
    ask_at(store, short(), 600)
}

/// Stores the first `windows` windows of three hosts of version 1 and of three of version 2.
fn fill(store: &dyn Store, windows: u64, candidate: &[(&str, u64)], thin: u64) {
    for window in 0..windows {
        for host in OLD {
            write(store, (host, "1"), window, (&V1, thin), 0);
        }
        for host in NEW {
            write(store, (host, "2"), window, (candidate, thin), 0);
        }
    }
}

fn filled(candidate: &[(&str, u64)], thin: u64) -> (TempDir, SqliteStore) {
    let (folder, store) = open();
    fill(&store, 8, candidate, thin);
    (folder, store)
}
