//! What any store promises, checked on SQLite.

use std::collections::BTreeMap;
use std::sync::Arc;

use profiler_common::wire::{PROTOCOL_VERSION, v1};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::query;
use crate::store::{
    Arrival, MetaStore as _, Selection, SqliteStore, Store, StoreError, StoreOptions, TimeRange,
    VersionSpan, WindowProfile, Written,
};

pub(super) const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 20 days after 1970.
pub(super) const T0: u64 = 20 * DAY;
const PERIOD: u64 = 52_631_578;
pub(super) const ALWAYS: TimeRange = TimeRange { start_unix_ns: 0, end_unix_ns: u64::MAX };

pub(super) fn open() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        SqliteStore::open(&folder.path().join("store.db"), StoreOptions::default()).unwrap();
    (folder, store)
}

/// A batch of one service whose stacks are `main;f<index>`.
pub(super) fn batch(sequence: u64, start: u64, version: &str, counts: &[u64]) -> v1::Batch {
    let mut strings: Vec<String> =
        ["", "svc", version, "unit-1", "main", "app", "zone", "a", "read"]
            .map(str::to_owned)
            .into();
    let mut frames = vec![frame(4)];
    let mut stacks = Vec::new();
    for index in 0..counts.len() {
        strings.push(format!("f{index}"));
        frames.push(frame(strings.len() as u32 - 1));
        stacks.push(v1::Stack { frames: vec![0, frames.len() as u32 - 1] });
    }
    let syscall = v1::SyscallLatency {
        name: 8,
        waiting: false,
        calls: 3,
        sum_ns: 300,
        max_ns: 120,
        buckets: vec![20, 30],
        bucket_counts: vec![2, 1],
        errors: vec![v1::ErrnoCount { errno: 11, count: 1 }],
    };
    let service = v1::ServiceProfile {
        service: 1,
        version: 2,
        unit: 3,
        labels: vec![v1::Label { key: 6, value: 7 }],
        period_ns: PERIOD,
        stacks: (0..counts.len() as u32).collect(),
        counts: counts.to_vec(),
        syscalls: vec![syscall],
        walks: Vec::new(),
        stack_steps: Vec::new(),
    };
    v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: "agent-1".to_owned(),
        epoch: 1,
        sequence,
        host: "host-1".to_owned(),
        start_unix_ns: start,
        end_unix_ns: start + 10 * SECOND,
        strings,
        frames,
        stacks,
        services: vec![service],
        accounting: Some(v1::Accounting {
            samples_taken: counts.iter().sum::<u64>() + 2,
            lost: vec![v1::Loss { reason: "ring_full".to_owned(), samples: 2 }],
        }),
        host_labels: Vec::new(),
    }
}

/// The same batch of a host whose stacks ended in these ways, and whose executable has this name.
pub(super) fn walked(mut batch: v1::Batch, executable: &str, walks: &[(&str, u64)]) -> v1::Batch {
    let at = batch.strings.len() as u32;
    batch.strings.extend(["executable".to_owned(), executable.to_owned()]);
    batch.services[0].labels.push(v1::Label { key: at, value: at + 1 });
    let count = |(end, samples): &(&str, u64)| v1::WalkEndCount {
        end: (*end).to_owned(),
        samples: *samples,
    };
    batch.services[0].walks = walks.iter().map(count).collect();
    batch
}

fn frame(function: u32) -> v1::Frame {
    v1::Frame {
        kind: v1::FrameKind::Native.into(),
        function,
        module: 5,
        file: 0,
        line: 0,
        build_id: 0,
    }
}

pub(super) fn select(labels: &[(&str, &str)]) -> Selection {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Selection { service: "svc".to_owned(), labels: labels.collect() }
}

pub(super) fn leaves(profile: &profiler_common::profile::Profile) -> BTreeMap<String, u64> {
    profile
        .named_stacks()
        .map(|(frames, count)| (frames.last().unwrap().function.clone(), count))
        .collect()
}

#[test]
fn a_batch_counts_once_however_often_it_is_written() {
    let (_folder, store) = open();
    let batch = batch(1, T0, "v1", &[2, 3]);
    assert_eq!(store.write_whole(&batch).unwrap(), Written::Stored);
    assert_eq!(store.write_whole(&batch).unwrap(), Written::Duplicate);
    let stats = store.stats().unwrap();
    assert_eq!((stats.samples_stored, stats.batches_stored, stats.duplicates), (5, 1, 1));
    assert_eq!((stats.samples_taken, stats.lost["ring_full"]), (7, 2));
    assert!(stats.bytes_on_disk > 0);
    assert_eq!(query::merge(&store, &select(&[]), ALWAYS).unwrap().total(), 5);
}

#[test]
fn how_the_walks_ended_is_kept_by_version_host_and_executable() {
    let (_folder, store) = open();
    let old = [("whole", 4), ("no user stack", 1)];
    store.write_whole(&walked(batch(1, T0, "v1", &[2, 3]), "a", &old)).unwrap();
    let new = [("whole", 1), ("too deep", 3)];
    store.write_whole(&walked(batch(2, T0, "v2", &[2, 3]), "b", &new)).unwrap();
    store.write_whole(&walked(batch(3, T0 + 10 * SECOND, "v2", &[5]), "b", &new)).unwrap();
    let all = store.quality(&select(&[]), ALWAYS).unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|of| (&*of.version, &*of.executable, of.quality.stacks(), of.quality.whole()))
        .collect();
    assert_eq!(shown, [("v1", "a", 4, 4), ("v2", "b", 8, 2)]);
    let first = TimeRange { start_unix_ns: T0, end_unix_ns: T0 + SECOND };
    let narrow = store.quality(&select(&[("version", "v2")]), first).unwrap();
    assert_eq!((narrow.len(), narrow[0].quality.stacks()), (1, 4));
    let windows = store.unit_windows(&select(&[("version", "v2")]), ALWAYS, DAY).unwrap();
    assert_eq!(windows[0].quality.reasons(), [("too deep", 6)]);
    let catalog = store.catalog(ALWAYS).unwrap();
    assert_eq!(catalog[0].whole_share, Some(0.5));
    let shares: Vec<_> =
        catalog[0].versions.iter().map(|of| (&*of.version, of.whole_share)).collect();
    assert_eq!(shares, [("v2", Some(0.25)), ("v1", Some(1.0))]);
    let totals = store.stats().unwrap().walks;
    let expected = [("no user stack", 1), ("too deep", 6), ("whole", 6)];
    assert_eq!(totals.ends().collect::<Vec<_>>(), expected);
}

#[test]
fn windows_of_agents_that_do_not_say_have_no_share() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap();
    assert_eq!(store.catalog(ALWAYS).unwrap()[0].whole_share, None);
    assert!(store.quality(&select(&[]), ALWAYS).unwrap().is_empty());
}

#[test]
fn what_was_stored_is_there_after_a_restart_and_still_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, StoreOptions::default()).unwrap();
    store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap();
    drop(store);
    let store = SqliteStore::open(&path, StoreOptions::default()).unwrap();
    assert_eq!(store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap(), Written::Duplicate);
    assert_eq!(
        store.write_whole(&batch(2, T0 + 10 * SECOND, "v1", &[1, 0, 4])).unwrap(),
        Written::Stored
    );
    let merged = query::merge(&store, &select(&[]), ALWAYS).unwrap();
    let expected = [("f0", 3), ("f1", 3), ("f2", 4)].map(|(name, n)| (name.to_owned(), n));
    assert_eq!(leaves(&merged), BTreeMap::from(expected));
}

#[test]
fn windows_are_merged_per_unit_version_and_time() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2])).unwrap();
    store.write_whole(&batch(2, T0 + 50 * SECOND, "v1", &[3])).unwrap();
    store.write_whole(&batch(3, T0 + 60 * SECOND, "v1", &[5])).unwrap();
    store.write_whole(&batch(4, T0, "v2", &[7])).unwrap();
    let windows = store.unit_windows(&select(&[]), ALWAYS, 60 * SECOND).unwrap();
    let found: Vec<_> = windows
        .iter()
        .map(|w| (w.version.as_str(), w.start_unix_ns, w.profile.total(), w.cpu_ns))
        .collect();
    assert_eq!(
        found,
        [
            ("v1", T0, 5, 5 * PERIOD),
            ("v2", T0, 7, 7 * PERIOD),
            ("v1", T0 + 60 * SECOND, 5, 5 * PERIOD)
        ]
    );
    let read = &windows[0].syscalls[0];
    assert_eq!(
        (read.name.as_str(), read.histogram.calls(), read.histogram.sum_ns),
        ("read", 6, 600)
    );
    assert_eq!(read.errors, [(11, 2)]);
    let points = store.series(&select(&[]), ALWAYS, 60 * SECOND).unwrap();
    let points: Vec<_> = points.iter().map(|p| (p.version.as_str(), p.samples)).collect();
    assert_eq!(points, [("v1", 5), ("v2", 7), ("v1", 5)]);
}

#[test]
fn a_window_belongs_to_the_range_that_holds_its_start() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2])).unwrap();
    store.write_whole(&batch(2, T0 + 10 * SECOND, "v1", &[3])).unwrap();
    let range = TimeRange { start_unix_ns: T0, end_unix_ns: T0 + 10 * SECOND };
    assert_eq!(query::merge(&store, &select(&[]), range).unwrap().total(), 2);
    assert_eq!(store.catalog(range).unwrap()[0].samples, 2);
}

#[test]
fn every_label_must_match() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2])).unwrap();
    let total =
        |labels: &[(&str, &str)]| query::merge(&store, &select(labels), ALWAYS).unwrap().total();
    assert_eq!(
        total(&[("version", "v1"), ("host", "host-1"), ("unit", "unit-1"), ("zone", "a")]),
        2
    );
    for other in [("version", "v2"), ("host", "h"), ("unit", "u"), ("zone", "b"), ("none", "")] {
        assert_eq!(total(&[other]), 0, "{other:?}");
    }
}

#[test]
fn the_catalog_names_services_versions_hosts_and_units() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2])).unwrap();
    store.write_whole(&batch(2, T0 + 10 * SECOND, "v2", &[3])).unwrap();
    let catalog = store.catalog(ALWAYS).unwrap();
    assert_eq!(catalog.len(), 1);
    let service = &catalog[0];
    assert_eq!((service.service.as_str(), service.samples, service.cpu_ns), ("svc", 5, 5 * PERIOD));
    assert_eq!((service.first_seen_unix_ns, service.last_seen_unix_ns), (T0, T0 + 20 * SECOND));
    let versions: Vec<_> = service.versions.iter().map(|v| v.version.as_str()).collect();
    assert_eq!(versions, ["v2", "v1"]);
    assert_eq!(service.versions[0].hosts, ["host-1"]);
    assert_eq!(service.versions[0].units, ["unit-1"]);
}

#[test]
fn versions_are_known_from_their_first_to_their_last_window() {
    let (_folder, store) = open();
    let batches = [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (4, 90, "2")]
        .map(|(sequence, minute, version)| batch(sequence, minute * 60 * SECOND, version, &[1]));
    for batch in &batches {
        store.write_whole(batch).unwrap();
    }
    let span = |version: &str, first: usize, last: usize| VersionSpan {
        version: version.to_owned(),
        first_seen_unix_ns: batches[first].start_unix_ns,
        last_seen_unix_ns: batches[last].end_unix_ns,
    };
    let versions = |until| store.versions(until).unwrap().remove("svc").unwrap();
    assert_eq!(versions(u64::MAX), [span("1", 0, 1), span("2", 2, 3)]);
    assert_eq!(versions(batches[3].start_unix_ns), [span("1", 0, 1), span("2", 2, 2)]);
}

#[test]
fn retention_deletes_windows_and_stacks_but_no_totals() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap();
    store.write_whole(&batch(2, T0 + 2 * DAY, "v1", &[4])).unwrap();
    let retained = store.retain(T0 + DAY).unwrap();
    assert_eq!((retained.blocks, retained.stacks), (1, 1));
    let merged = query::merge(&store, &select(&[]), ALWAYS).unwrap();
    assert_eq!(leaves(&merged), BTreeMap::from([("f0".to_owned(), 4)]));
    assert_eq!(store.stats().unwrap().samples_stored, 9);
    // The deleted stack comes back under a new identity.
    store.write_whole(&batch(3, T0 + 2 * DAY, "v1", &[0, 6])).unwrap();
    let merged = query::merge(&store, &select(&[]), ALWAYS).unwrap();
    assert_eq!(leaves(&merged), BTreeMap::from([("f0".to_owned(), 4), ("f1".to_owned(), 6)]));
    // What comes later than retention is counted and not kept.
    assert_eq!(store.write_whole(&batch(4, T0, "v1", &[8])).unwrap(), Written::Stored);
    assert_eq!(store.stats().unwrap().samples_stored, 23);
    assert_eq!(query::merge(&store, &select(&[]), ALWAYS).unwrap().total(), 10);
}

#[test]
fn state_is_replaced_only_by_who_read_its_last_version() {
    let (_folder, store) = open();
    assert_eq!(store.load_state("alerts").unwrap(), None);
    assert!(!store.save_state("alerts", 1, b"x").unwrap());
    assert!(store.save_state("alerts", 0, b"a").unwrap());
    assert!(!store.save_state("alerts", 0, b"b").unwrap());
    assert!(store.save_state("alerts", 1, b"c").unwrap());
    assert!(!store.save_state("alerts", 1, b"d").unwrap());
    assert_eq!(store.load_state("alerts").unwrap(), Some((2, b"c".to_vec())));
}

#[test]
fn a_batch_that_contradicts_itself_leaves_nothing_behind() {
    let (_folder, store) = open();
    let mut bad = batch(1, T0, "v1", &[2, 3]);
    bad.services[0].stacks[1] = 99;
    assert!(matches!(store.write_whole(&bad), Err(StoreError::Inconsistent(_))));
    assert_eq!(store.stats().unwrap().batches_stored, 0);
    assert_eq!(store.write_whole(&batch(1, T0, "v1", &[2, 3])).unwrap(), Written::Stored);
    assert_eq!(query::merge(&store, &select(&[]), ALWAYS).unwrap().total(), 5);
}

#[test]
fn many_writers_share_commits_and_lose_nothing() {
    let (_folder, store) = open();
    let store = Arc::new(store);
    let writers: Vec<_> = (0..8_u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for round in 0..10 {
                    let mut batch = batch(round, T0, "v1", &[1, 1, 1]);
                    batch.agent_id = format!("agent-{writer}");
                    // Every other writer also sends what must fail, beside the others' good ones.
                    let mut bad = batch.clone();
                    bad.epoch = 2;
                    bad.services[0].counts.pop();
                    assert_eq!(store.write_whole(&batch).unwrap(), Written::Stored);
                    assert!(store.write_whole(&bad).is_err());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(store.stats().unwrap().samples_stored, 240);
    assert_eq!(query::merge(&*store, &select(&[]), ALWAYS).unwrap().total(), 240);
}

#[test]
fn a_full_disk_refuses_the_batch_and_keeps_what_was_accepted() {
    let (folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[1])).unwrap();
    drop(store);
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path, StoreOptions::default()).unwrap();
    store.limit_pages(2).unwrap();
    let big: Vec<u64> = (1..5000).collect();
    let error = store.write_whole(&batch(2, T0, "v1", &big)).unwrap_err();
    assert!(matches!(error, StoreError::Disk { .. }), "{error:?}");
    assert!(error.is_transient());
    store.limit_pages(1 << 20).unwrap();
    assert_eq!(store.write_whole(&batch(2, T0, "v1", &big)).unwrap(), Written::Stored);
    let sum: u64 = 1 + big.iter().sum::<u64>();
    assert_eq!(query::merge(&store, &select(&[]), ALWAYS).unwrap().total(), sum);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn what_is_asked_for_sums_to_what_was_written(
        batches in proptest::collection::vec(
            (0u64..200, prop::bool::ANY, proptest::collection::vec(0u64..1000, 0..20)), 1..12),
        window in 1u64..100,
    ) {
        let (_folder, store) = open();
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for (sequence, (at, is_new, counts)) in batches.iter().enumerate() {
            let version = if *is_new { "v2" } else { "v1" };
            store.write_whole(&batch(sequence as u64, T0 + at * SECOND, version, counts)).unwrap();
            for (index, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                *expected.entry(format!("f{index}")).or_default() += count;
            }
        }
        let windows = store.unit_windows(&select(&[]), ALWAYS, window * SECOND).unwrap();
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for window in &windows {
            prop_assert_eq!(window.cpu_ns, window.profile.total() * PERIOD);
            for (name, count) in leaves(&WindowProfile::merge([&window.profile])) {
                *found.entry(name).or_default() += count;
            }
        }
        prop_assert_eq!(&found, &expected);
        let total: u64 = expected.values().sum();
        prop_assert_eq!(store.stats().unwrap().samples_stored, total);
        let series = store.series(&select(&[]), ALWAYS, window * SECOND).unwrap();
        prop_assert_eq!(series.iter().map(|point| point.samples).sum::<u64>(), total);
    }
}

/// The batch as it arrives when its first `known` stacks were told before: they stand behind the others.
fn arrive_with(store: &SqliteStore, mut batch: v1::Batch, known: usize) -> Arrival {
    let keys = Arrival::whole(batch.clone(), store.hash_seed()).unwrap().keys()[..known].to_vec();
    let defined = batch.stacks.split_off(known);
    let count = defined.len() as u32;
    batch.stacks = defined;
    for stack in &mut batch.services[0].stacks {
        *stack = stack.checked_sub(known as u32).unwrap_or(count + *stack);
    }
    Arrival::new(batch, keys, store.hash_seed()).unwrap()
}

#[test]
fn a_stack_may_be_named_by_its_key_once_it_is_known() {
    let (folder, store) = open();
    let arrival = arrive_with(&store, batch(2, T0 + 10 * SECOND, "v1", &[1, 2, 3]), 2);
    assert!(matches!(store.write(&arrival), Err(StoreError::UnknownStack)));
    store.write_whole(&batch(1, T0, "v1", &[4, 5])).unwrap();
    assert_eq!(store.write(&arrival).unwrap(), Written::Stored);
    assert_eq!(store.write(&arrival).unwrap(), Written::Duplicate);
    assert_eq!(
        leaves(&query::merge(&store, &select(&[]), ALWAYS).unwrap()),
        [("f0".to_owned(), 5), ("f1".to_owned(), 7), ("f2".to_owned(), 3)].into()
    );
    // After a restart nothing of it is in memory.
    drop(store);
    let store =
        SqliteStore::open(&folder.path().join("store.db"), StoreOptions::default()).unwrap();
    let arrival = arrive_with(&store, batch(3, T0 + 20 * SECOND, "v1", &[1, 1, 1]), 3);
    assert_eq!(store.write(&arrival).unwrap(), Written::Stored);
    assert_eq!(
        leaves(&query::merge(&store, &select(&[]), ALWAYS).unwrap()),
        [("f0".to_owned(), 6), ("f1".to_owned(), 8), ("f2".to_owned(), 4)].into()
    );
}

#[test]
fn a_stack_named_by_its_key_is_kept_as_long_as_its_last_window() {
    let (_folder, store) = open();
    store.write_whole(&batch(1, T0, "v1", &[1, 1])).unwrap();
    let again = arrive_with(&store, batch(2, T0 + 2 * DAY, "v1", &[1]), 1);
    store.write(&again).unwrap();
    assert_eq!(store.retain(T0 + DAY).unwrap().stacks, 1, "f1 alone is not used any more");
    assert_eq!(
        leaves(&query::merge(&store, &select(&[]), ALWAYS).unwrap()),
        [("f0".to_owned(), 1)].into()
    );
    let gone = arrive_with(&store, batch(3, T0 + 2 * DAY, "v1", &[1, 1]), 2);
    assert!(matches!(store.write(&gone), Err(StoreError::UnknownStack)));
}
