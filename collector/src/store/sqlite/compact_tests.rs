//! Adding up changes no answer: a store that adds up at any time answers as one that never does.

use std::fmt::Debug;

use super::tests::{ALWAYS, SECOND, T0, batch, open, select, walked};
use crate::store::{Selection, Store, TimeRange, UnitWindow, WindowProfile};
use proptest::prelude::*;

const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A batch of one of a few hosts and versions.
#[derive(Debug, Clone)]
struct Sent {
    start: u64,
    host: u8,
    version: u8,
    counts: Vec<u64>,
}

#[derive(Debug, Clone)]
enum Step {
    Write(Sent),
    Compact(u64),
}

fn a_time() -> impl Strategy<Value = u64> {
    // Near the bounds of minutes, hours and days, where mistakes live.
    let near = |length: u64, count: u64| {
        (0..count, 0..13u64).prop_map(move |(at, off)| T0 + at * length + off * 5 * SECOND)
    };
    prop_oneof![near(DAY, 3), near(HOUR, 60), near(MINUTE, 130), near(MINUTE, 5)]
}

fn a_step() -> impl Strategy<Value = Step> {
    let counts = proptest::collection::vec(0u64..5, 1..6);
    let sent = (a_time(), 0u8..3, 0u8..2, counts).prop_map(|(start, host, version, counts)| Sent {
        start,
        host,
        version,
        counts,
    });
    prop_oneof![
        6 => sent.prop_map(Step::Write),
        1 => a_time().prop_map(Step::Compact),
        1 => Just(Step::Compact(T0 + 5 * DAY)),
    ]
}

fn write(store: &dyn Store, sequence: u64, sent: &Sent) {
    let version = ["v1", "v2"][usize::from(sent.version)];
    let mut batch = batch(sequence, sent.start, version, &sent.counts);
    batch.host = format!("host-{}", sent.host);
    let samples: u64 = sent.counts.iter().sum();
    let batch = walked(batch, "exe", &[("whole", samples / 2), ("deep", samples - samples / 2)]);
    store.write_whole(&batch).unwrap();
}

/// Everything but the dictionary, in which the order of stacks may differ.
fn shown(window: &UnitWindow) -> impl Debug + PartialEq + use<> {
    let UnitWindow { host, unit, version, machine, since_unix_ns, start_unix_ns, .. } = window;
    (
        (host.clone(), unit.clone(), version.clone(), machine.clone()),
        (*since_unix_ns, *start_unix_ns, window.cpu_ns, window.lost),
        (stacks(&window.profile), window.quality.clone(), format!("{:?}", window.syscalls)),
    )
}

fn stacks(profile: &WindowProfile) -> Vec<(String, u64)> {
    super::tests::leaves(&WindowProfile::merge([profile])).into_iter().collect()
}

fn agree(left: &dyn Store, right: &dyn Store, range: TimeRange, selection: &Selection) {
    assert_eq!(left.catalog(range).unwrap(), right.catalog(range).unwrap());
    let until = range.end_unix_ns;
    assert_eq!(left.versions(until).unwrap(), right.versions(until).unwrap());
    let lives = |store: &dyn Store| store.unit_lives(selection, range).unwrap();
    assert_eq!(lives(left), lives(right));
    let quality = |store: &dyn Store| store.quality(selection, range).unwrap();
    assert_eq!(quality(left), quality(right));
    let merged = |store: &dyn Store| {
        let merged = store.merge(selection, range).unwrap();
        let syscalls = format!("{:?}", merged.syscalls);
        (stacks(&merged.profile), merged.cpu_ns, merged.quality, syscalls)
    };
    assert_eq!(merged(left), merged(right));
    for length in [10 * SECOND, MINUTE, 90 * SECOND, HOUR, DAY, u64::MAX] {
        let series = |store: &dyn Store| store.series(selection, range, length).unwrap();
        assert_eq!(series(left), series(right), "steps of {length} ns");
        let windows = |store: &dyn Store| -> Vec<_> {
            let windows = store.unit_windows(selection, range, length).unwrap();
            windows.iter().map(shown).collect()
        };
        assert_eq!(windows(left), windows(right), "windows of {length} ns");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_answer_changes_when_windows_are_added_up(
        steps in proptest::collection::vec(a_step(), 1..60),
        ranges in proptest::collection::vec((a_time(), a_time()), 1..4),
    ) {
        let ((_left, plain), (_right, added)) = (open(), open());
        for (sequence, step) in (1..).zip(&steps) {
            match step {
                Step::Write(sent) => {
                    write(&plain, sequence, sent);
                    write(&added, sequence, sent);
                }
                Step::Compact(now) => {
                    added.compact(*now).unwrap();
                }
            }
        }
        let ranges = ranges.into_iter().map(|(from, to)| TimeRange {
            start_unix_ns: from.min(to),
            end_unix_ns: from.max(to),
        });
        for range in ranges.chain([ALWAYS]) {
            agree(&plain, &added, range, &select(&[]));
            agree(&plain, &added, range, &select(&[("version", "v2")]));
            agree(&plain, &added, range, &select(&[("host", "host-1"), ("executable", "exe")]));
        }
        assert_eq!(plain.stats().unwrap().samples_stored, added.stats().unwrap().samples_stored);
    }
}

#[test]
fn hours_stand_for_the_minutes_that_are_gone() {
    let (_folder, store) = open();
    // Three hours of a window every ten minutes, and one in the third day.
    let starts: Vec<u64> = (0..18).map(|at| T0 + at * 10 * MINUTE).chain([T0 + 2 * DAY]).collect();
    for (sequence, start) in (1..).zip(&starts) {
        let sent = Sent { start: *start, host: 0, version: 0, counts: vec![1, 1] };
        write(&store, sequence, &sent);
    }
    store.compact(T0 + 2 * DAY + HOUR).unwrap();
    let gone = store.thin(T0 + 2 * HOUR + 5 * MINUTE).unwrap();
    assert_eq!(gone, 2 * 12, "the minutes of two hours, of the series and of the release");
    let samples = |from: u64, to: u64, window: u64| -> Vec<(u64, u64)> {
        let range = TimeRange { start_unix_ns: T0 + from, end_unix_ns: T0 + to };
        let windows = store.unit_windows(&select(&[]), range, window).unwrap();
        let merged = store.merge(&select(&[]), range).unwrap().profile.total();
        assert_eq!(windows.iter().map(|window| window.profile.total()).sum::<u64>(), merged);
        windows.iter().map(|of| ((of.start_unix_ns - T0) / MINUTE, of.profile.total())).collect()
    };
    assert_eq!(samples(0, 2 * HOUR, MINUTE), [(0, 12), (60, 12)]);
    assert_eq!(samples(0, 2 * HOUR, 10 * SECOND), [(0, 12), (60, 12)]);
    // An hour counts where it starts.
    assert_eq!(samples(5 * MINUTE, HOUR + 20 * MINUTE, MINUTE), [(60, 12)]);
    assert_eq!(
        samples(HOUR, 2 * HOUR + 20 * MINUTE, MINUTE),
        [(60, 12), (120, 2), (130, 2)],
        "the third hour has its minutes"
    );
    // What comes late for an hour whose minutes are gone is in its hour.
    write(&store, 99, &Sent { start: T0 + 25 * MINUTE, host: 0, version: 0, counts: vec![5] });
    store.compact(T0 + 2 * DAY + HOUR).unwrap();
    assert_eq!(samples(0, HOUR, MINUTE), [(0, 17)]);
    let all = store.merge(&select(&[]), ALWAYS).unwrap().profile.total();
    assert_eq!(all, 2 * starts.len() as u64 + 5);
}

#[test]
fn a_store_that_must_fit_keeps_the_newest() {
    let (_folder, store) = open();
    for hour in 0..40 {
        let counts: Vec<u64> = (0..400).map(|stack| 1 + (stack * 7 + hour) % 900).collect();
        write(&store, hour + 1, &Sent { start: T0 + hour * HOUR, host: 0, version: 0, counts });
    }
    store.compact(T0 + 3 * DAY).unwrap();
    assert_eq!(store.fit(u64::MAX).unwrap().blocks, 0);
    let lives = |store: &dyn Store| store.unit_lives(&select(&[]), ALWAYS).unwrap();
    let before = lives(&store)[0].clone();
    assert!(store.fit(100 << 10).unwrap().blocks > 0);
    let after = lives(&store)[0].clone();
    assert!(after.first_seen_unix_ns > before.first_seen_unix_ns, "{after:?}");
    assert_eq!(after.last_seen_unix_ns, before.last_seen_unix_ns);
}
