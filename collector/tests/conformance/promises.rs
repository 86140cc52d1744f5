//! The promises, one function each; [`keeps_all`] asks for all of them.

use std::collections::BTreeMap;

use flamewatch_collector::store::{Arrival, Store, StoreError, TimeRange, Written};

use super::answers::{ALWAYS, answers, merged, select, stacks};
use super::batches::{DAY, PERIOD, SECOND, Sent, T0, WINDOW};
use super::random::known;
use super::subject::Subject;

/// Asks a store, and panics where it breaks its promise.
type Promise = fn(&dyn Store);

/// Asks for every promise, and says whose turn it is when one is broken.
pub(crate) fn keeps_all(subject: &mut Subject) {
    let promises: [(&str, Promise); 17] = [
        ("a batch counts once in any form", a_batch_counts_once_in_any_form),
        ("batches count in any order", batches_count_in_any_order),
        ("an agent's epochs are apart", epochs_and_agents_are_apart),
        ("known stacks need no definition", known_stacks_need_no_definition),
        ("an unknown stack is asked for", an_unknown_stack_is_asked_for),
        ("a bad batch leaves nothing", a_batch_that_contradicts_itself_leaves_nothing),
        ("the catalog names what ran", the_catalog_names_what_ran),
        ("versions have spans", versions_are_known_from_first_to_last),
        ("windows are merged per unit", windows_are_merged_per_unit_version_and_time),
        ("a window belongs to its start", a_window_belongs_to_the_range_of_its_start),
        ("a merge is the sum of windows", a_merge_is_the_sum_of_the_windows),
        ("every label must match", every_label_must_match),
        ("quality is kept apart", quality_is_kept_by_version_host_and_executable),
        ("totals count every sample", totals_count_every_sample_once),
        ("nothing is known of strangers", nothing_is_known_of_what_was_never_written),
        ("state has one writer", state_is_replaced_only_by_who_read_it),
        ("writers do not meet", writers_beside_each_other_lose_nothing),
    ];
    for (name, promise) in promises {
        eprintln!("promise: {name}");
        promise(subject.store());
    }
    eprintln!("promise: a restart changes nothing");
    a_restart_changes_nothing(subject);
    // Last, because it deletes.
    eprintln!("promise: retention deletes what is old");
    retention_deletes_what_is_old(subject);
}

fn total(store: &dyn Store, service: &str, labels: &[(&str, &str)], range: TimeRange) -> u64 {
    store.merge(&select(service, labels), range).unwrap().profile.total()
}

fn a_batch_counts_once_in_any_form(store: &dyn Store) {
    let sent = Sent::new("once", 1, T0, &[2, 3]).reads(3, 1);
    assert_eq!(sent.write(store).unwrap(), Written::Stored);
    let first = answers(store, &select("once", &[]), ALWAYS);
    for again in [sent.clone(), sent.clone().reversed()] {
        assert_eq!(again.write(store).unwrap(), Written::Duplicate);
    }
    assert_eq!(store.write(&known(&sent, store.hash_seed())).unwrap(), Written::Duplicate);
    assert_eq!(answers(store, &select("once", &[]), ALWAYS), first);
    assert_eq!(total(store, "once", &[], ALWAYS), 5);
}

fn batches_count_in_any_order(store: &dyn Store) {
    let batches = |service: &str| -> Vec<Sent> {
        (0..12u64)
            .map(|at| Sent::new(service, at + 1, T0 + at * WINDOW, &[at, 1, 12 - at]).reads(at, 1))
            .collect()
    };
    for sent in batches("forward") {
        sent.write(store).unwrap();
    }
    // Backwards, with a late one that comes a day after the others.
    let mut late = batches("mixed");
    late.rotate_left(5);
    for sent in late.iter().rev() {
        sent.write(store).unwrap();
    }
    let forward = answers(store, &select("forward", &[]), ALWAYS);
    let mixed = answers(store, &select("mixed", &[]), ALWAYS);
    assert_eq!(mixed.replace("mixed", "forward"), forward);
}

fn epochs_and_agents_are_apart(store: &dyn Store) {
    let sent = Sent::new("epochs", 1, T0, &[1]);
    let others = [
        Sent { epoch: 2, ..sent.clone() },
        Sent { sequence: 2, ..sent.clone() },
        Sent { agent: "agent-of-epochs-2".to_owned(), ..sent.clone() },
    ];
    for one in [&sent, &others[0], &others[1], &others[2]] {
        assert_eq!(one.write(store).unwrap(), Written::Stored);
        assert_eq!(one.write(store).unwrap(), Written::Duplicate);
    }
    assert_eq!(total(store, "epochs", &[], ALWAYS), 4);
}

fn known_stacks_need_no_definition(store: &dyn Store) {
    let sent = Sent::new("known", 1, T0, &[2, 3]);
    sent.write(store).unwrap();
    let again = Sent { sequence: 2, start: T0 + DAY, ..sent.clone() };
    assert_eq!(store.write(&known(&again, store.hash_seed())).unwrap(), Written::Stored);
    let windows = store.unit_windows(&select("known", &[]), ALWAYS, WINDOW).unwrap();
    assert_eq!(windows.len(), 2);
    assert_eq!(stacks(&windows[0].profile), stacks(&windows[1].profile));
}

fn an_unknown_stack_is_asked_for(store: &dyn Store) {
    let mut sent = Sent::new("unknown", 1, T0, &[2, 3]);
    // A stack that nobody ever defined.
    sent.counts.extend(vec![1; 3_000]);
    let refused = store.write(&known(&sent, store.hash_seed()));
    assert!(matches!(refused, Err(StoreError::UnknownStack)), "{refused:?}");
    assert_eq!(total(store, "unknown", &[], ALWAYS), 0);
    assert_eq!(sent.write(store).unwrap(), Written::Stored);
    assert_eq!(total(store, "unknown", &[], ALWAYS), 3_005);
}

fn a_batch_that_contradicts_itself_leaves_nothing(store: &dyn Store) {
    let before = store.stats().unwrap();
    let sent = Sent::new("contradiction", 1, T0, &[2, 3]);
    let mut bad = sent.batch();
    bad.services[0].counts.pop();
    let written = Arrival::whole(bad, store.hash_seed()).and_then(|bad| store.write(&bad));
    assert!(matches!(written, Err(StoreError::Inconsistent(_))), "{written:?}");
    assert_eq!(store.stats().unwrap().batches_stored, before.batches_stored);
    assert_eq!(sent.write(store).unwrap(), Written::Stored);
    assert_eq!(total(store, "contradiction", &[], ALWAYS), 5);
}

fn the_catalog_names_what_ran(store: &dyn Store) {
    Sent::new("catalog", 1, T0, &[2]).write(store).unwrap();
    let new = Sent::new("catalog", 2, T0 + WINDOW, &[3]).version("v2").on("host-2", "unit-2");
    new.write(store).unwrap();
    let catalog = store.catalog(ALWAYS).unwrap();
    assert!(catalog.is_sorted_by_key(|entry| std::cmp::Reverse(entry.cpu_ns)));
    let entry = catalog.iter().find(|entry| entry.service == "catalog").unwrap();
    assert_eq!((entry.samples, entry.cpu_ns, entry.whole_share), (5, 5 * PERIOD, None));
    assert_eq!((entry.first_seen_unix_ns, entry.last_seen_unix_ns), (T0, T0 + 2 * WINDOW));
    let versions: Vec<_> = entry.versions.iter().map(|of| (&*of.version, of.samples)).collect();
    assert_eq!(versions, [("v2", 3), ("v1", 2)]);
    assert_eq!(
        (&entry.versions[0].hosts[..], &entry.versions[0].units[..]),
        (&["host-2".to_owned()][..], &["unit-2".to_owned()][..])
    );
    let early = TimeRange { start_unix_ns: T0, end_unix_ns: T0 + WINDOW };
    let catalog = store.catalog(early).unwrap();
    let entry = catalog.iter().find(|entry| entry.service == "catalog").unwrap();
    assert_eq!(entry.samples, 2);
}

fn versions_are_known_from_first_to_last(store: &dyn Store) {
    // Hours and days apart, so that what answers for long times is asked too.
    let sent = [(0, "v1"), (WINDOW, "v1"), (3 * DAY, "v2"), (3 * DAY + 7 * 3_600 * SECOND, "v2")];
    for (sequence, (at, version)) in (1..).zip(sent) {
        Sent::new("versions", sequence, T0 + at, &[1]).version(version).write(store).unwrap();
    }
    let spans = |until| {
        let spans = store.versions(until).unwrap().remove("versions").unwrap_or_default();
        let mut spans: Vec<_> = spans
            .into_iter()
            .map(|span| (span.version, span.first_seen_unix_ns - T0, span.last_seen_unix_ns - T0))
            .collect();
        spans.sort();
        spans
    };
    let span = |version: &str, first: usize, last: usize| {
        (version.to_owned(), sent[first].0, sent[last].0 + WINDOW)
    };
    assert_eq!(spans(u64::MAX), [span("v1", 0, 1), span("v2", 2, 3)]);
    assert_eq!(spans(T0 + sent[3].0), [span("v1", 0, 1), span("v2", 2, 2)]);
    assert_eq!(spans(T0 + 1), [span("v1", 0, 0)]);
    assert_eq!(spans(T0), []);
}

fn windows_are_merged_per_unit_version_and_time(store: &dyn Store) {
    let minute = 60 * SECOND;
    let sent = [(0, 2, "v1"), (50, 3, "v1"), (60, 5, "v1"), (0, 7, "v2")];
    for (sequence, (at, count, version)) in (1..).zip(sent) {
        let sent = Sent::new("units", sequence, T0 + at * SECOND, &[count]).version(version);
        Sent { lost: 1, ..sent.reads(3, 1) }.write(store).unwrap();
    }
    let windows = store.unit_windows(&select("units", &[]), ALWAYS, minute).unwrap();
    let found: Vec<_> = windows
        .iter()
        .map(|window| {
            let at = window.start_unix_ns - T0;
            (&*window.version, at, window.profile.total(), window.cpu_ns, window.lost.taken)
        })
        .collect();
    let expected = [
        ("v1", 0, 5, 5 * PERIOD, 7),
        ("v2", 0, 7, 7 * PERIOD, 8),
        ("v1", minute, 5, 5 * PERIOD, 6),
    ];
    assert_eq!(found, expected);
    assert!(windows.iter().all(|window| window.since_unix_ns == T0));
    let read = &windows[0].syscalls[0];
    assert_eq!((&*read.name, read.waiting), ("read", false));
    assert_eq!(
        (read.histogram.calls(), read.histogram.sum_ns, read.histogram.max_ns),
        (12, 600, 53)
    );
    assert_eq!(read.errors, [(11, 2)]);
    let points = store.series(&select("units", &[]), ALWAYS, minute).unwrap();
    let points: Vec<_> = points.iter().map(|point| (&*point.version, point.samples)).collect();
    assert_eq!(points, [("v1", 5), ("v2", 7), ("v1", 5)]);
    let lives = store.unit_lives(&select("units", &[("version", "v1")]), ALWAYS).unwrap();
    assert_eq!((lives.len(), lives[0].last_seen_unix_ns), (1, T0 + 60 * SECOND + WINDOW));
}

fn a_window_belongs_to_the_range_of_its_start(store: &dyn Store) {
    Sent::new("start", 1, T0, &[2]).write(store).unwrap();
    Sent::new("start", 2, T0 + WINDOW, &[3]).write(store).unwrap();
    for (from, to, samples) in [(0, WINDOW, 2), (1, WINDOW + 1, 3), (WINDOW, WINDOW, 0)] {
        let range = TimeRange { start_unix_ns: T0 + from, end_unix_ns: T0 + to };
        assert_eq!(total(store, "start", &[], range), samples, "{from} to {to}");
    }
}

fn a_merge_is_the_sum_of_the_windows(store: &dyn Store) {
    // Three hours, one window in seven minutes, so that hours, minutes and windows all have a part in the answer.
    for at in 0..26u64 {
        let sent = Sent::new("long", at + 1, T0 + at * 420 * SECOND, &[at + 1, 1]).reads(1, 1);
        sent.version(if at % 3 == 0 { "v2" } else { "v1" }).write(store).unwrap();
    }
    store.compact(T0 + 2 * DAY).unwrap();
    let hour = 3_600 * SECOND;
    for (from, to) in [(0, 3 * hour), (1, 3 * hour), (hour, 2 * hour), (425 * SECOND, 2 * hour + 1)]
    {
        let range = TimeRange { start_unix_ns: T0 + from, end_unix_ns: T0 + to };
        for labels in [&[][..], &[("version", "v2")], &[("unit", "unit-1")]] {
            let selection = select("long", labels);
            let windows = store.unit_windows(&selection, range, 10 * DAY).unwrap();
            let sum: u64 = windows.iter().map(|window| window.profile.total()).sum();
            let expected = (0..26u64)
                .filter(|at| (from..to).contains(&(at * 420 * SECOND)))
                .filter(|at| labels != [("version", "v2")] || at % 3 == 0)
                .map(|at| at + 2);
            assert_eq!(sum, expected.sum::<u64>(), "{selection:?} {from} to {to}");
            let merged = store.merge(&selection, range).unwrap();
            assert_eq!((merged.profile.total(), merged.cpu_ns), (sum, sum * PERIOD));
            let calls: u64 = merged.syscalls.iter().map(|call| call.histogram.calls()).sum();
            let by_unit = windows.iter().flat_map(|window| &window.syscalls);
            assert_eq!(calls, by_unit.map(|call| call.histogram.calls()).sum::<u64>());
        }
    }
}

fn every_label_must_match(store: &dyn Store) {
    // Quotes and backslashes are text like any other.
    let odd = r#"it's "\n" \ odd"#;
    Sent::new("labels", 1, T0, &[2]).label("odd", odd).write(store).unwrap();
    let matching = [("version", "v1"), ("host", "host-1"), ("unit", "unit-1"), ("zone", "a")];
    assert_eq!(total(store, "labels", &matching, ALWAYS), 2);
    assert_eq!(total(store, "labels", &[("odd", odd)], ALWAYS), 2);
    for other in [("version", "v2"), ("host", "h"), ("unit", "u"), ("zone", "b"), ("none", "")] {
        assert_eq!(total(store, "labels", &[("zone", "a"), other], ALWAYS), 0, "{other:?}");
    }
}

fn quality_is_kept_by_version_host_and_executable(store: &dyn Store) {
    let old = Sent::new("quality", 1, T0, &[2, 3]).label("executable", "a");
    old.walks(&[("whole", 4), ("no user stack", 1)]).write(store).unwrap();
    for (sequence, at) in [(2, 0), (3, WINDOW)] {
        let new = Sent::new("quality", sequence, T0 + at, &[2, 3]).version("v2");
        new.label("executable", "b").walks(&[("whole", 1), ("too deep", 3)]).write(store).unwrap();
    }
    let all = store.quality(&select("quality", &[]), ALWAYS).unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|of| (&*of.version, &*of.executable, of.quality.stacks(), of.quality.whole()))
        .collect();
    assert_eq!(shown, [("v1", "a", 4, 4), ("v2", "b", 8, 2)]);
    let first = TimeRange { start_unix_ns: T0, end_unix_ns: T0 + SECOND };
    let narrow = store.quality(&select("quality", &[("version", "v2")]), first).unwrap();
    assert_eq!((narrow.len(), narrow[0].quality.stacks()), (1, 4));
    let catalog = store.catalog(ALWAYS).unwrap();
    let entry = catalog.iter().find(|entry| entry.service == "quality").unwrap();
    assert_eq!(entry.whole_share, Some(0.5));
}

fn totals_count_every_sample_once(store: &dyn Store) {
    let before = store.stats().unwrap();
    let sent = Sent { lost: 2, ..Sent::new("totals", 1, T0, &[2, 3]).walks(&[("whole", 4)]) };
    sent.write(store).unwrap();
    sent.write(store).unwrap();
    let after = store.stats().unwrap();
    assert_eq!(after.samples_stored - before.samples_stored, 5);
    assert_eq!(after.batches_stored - before.batches_stored, 1);
    assert_eq!(after.duplicates - before.duplicates, 1);
    assert_eq!(after.samples_taken - before.samples_taken, 7);
    let lost = |stats: &BTreeMap<String, u64>| stats.get("ring_full").copied().unwrap_or(0);
    assert_eq!(lost(&after.lost) - lost(&before.lost), 2);
    assert_eq!(after.walks.whole() - before.walks.whole(), 4);
    assert!(after.bytes_on_disk > 0);
}

fn nothing_is_known_of_what_was_never_written(store: &dyn Store) {
    let nothing = answers(store, &select("stranger", &[]), ALWAYS);
    assert_eq!(nothing, "merged ; cpu 0 []\n[]\n");
    assert_eq!(store.load_state("stranger").unwrap(), None);
}

fn state_is_replaced_only_by_who_read_it(store: &dyn Store) {
    assert!(!store.save_state("alerts", 1, b"x").unwrap());
    assert!(store.save_state("alerts", 0, b"a").unwrap());
    assert!(!store.save_state("alerts", 0, b"b").unwrap());
    let bytes: Vec<u8> = (0..=255).collect();
    assert!(store.save_state("alerts", 1, &bytes).unwrap());
    assert!(!store.save_state("alerts", 1, b"d").unwrap());
    assert_eq!(store.load_state("alerts").unwrap(), Some((2, bytes)));
    let wins = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u8)
            .map(|writer| {
                scope.spawn(move || {
                    let won = |version| store.save_state("raced", version, &[writer]).unwrap();
                    (0..8).filter(|version| won(*version)).count() as u64
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum::<u64>()
    });
    assert_eq!(store.load_state("raced").unwrap().unwrap().0, wins);
}

fn writers_beside_each_other_lose_nothing(store: &dyn Store) {
    const WRITERS: u64 = 4;
    const ROUNDS: u64 = 5;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    // Two writers each bring the batches of one agent: what both bring counts once.
                    let mut sent = Sent::new("beside", round, T0, &[1, 1, 1]);
                    sent.agent = format!("agent-of-beside-{}", writer / 2);
                    sent.write(store).unwrap();
                }
            });
        }
    });
    assert_eq!(total(store, "beside", &[], ALWAYS), WRITERS / 2 * ROUNDS * 3);
}

fn a_restart_changes_nothing(subject: &mut Subject) {
    let sent = Sent::new("restart", 1, T0, &[2, 3]).reads(1, 1);
    sent.write(subject.store()).unwrap();
    let selection = select("restart", &[]);
    let before = (answers(subject.store(), &selection, ALWAYS), subject.store().hash_seed());
    subject.reopen();
    let after = (answers(subject.store(), &selection, ALWAYS), subject.store().hash_seed());
    assert_eq!(before, after);
    assert_eq!(sent.write(subject.store()).unwrap(), Written::Duplicate);
    let next = Sent { sequence: 2, ..sent };
    let known = known(&next, subject.store().hash_seed());
    assert_eq!(subject.store().write(&known).unwrap(), Written::Stored);
    assert_eq!(total(subject.store(), "restart", &[], ALWAYS), 10);
}

/// A store may delete by whole days; these are days apart.
fn retention_deletes_what_is_old(subject: &mut Subject) {
    let old = T0 - 10 * DAY;
    let store = subject.store();
    Sent::new("old", 1, old, &[2, 3]).write(store).unwrap();
    Sent::new("old", 2, old + 2 * DAY, &[4]).write(store).unwrap();
    let stored = store.stats().unwrap().samples_stored;
    let beside = merged(store, &select("once", &[]), ALWAYS);
    let retained = store.retain(old + DAY).unwrap();
    assert_eq!(retained.blocks, 1);
    assert_eq!(total(store, "old", &[], ALWAYS), 4);
    assert_eq!(store.unit_lives(&select("old", &[]), ALWAYS).unwrap().len(), 1);
    assert_eq!(store.versions(u64::MAX).unwrap()["old"][0].first_seen_unix_ns, old + 2 * DAY);
    assert_eq!(store.stats().unwrap().samples_stored, stored);
    assert_eq!(merged(store, &select("once", &[]), ALWAYS), beside);
    // The deleted stack comes back.
    Sent::new("old", 3, old + 2 * DAY, &[0, 6]).write(store).unwrap();
    assert_eq!(total(store, "old", &[], ALWAYS), 10);
    // What comes later than retention is counted and not kept.
    assert_eq!(Sent::new("old", 4, old, &[8]).write(store).unwrap(), Written::Stored);
    assert_eq!(total(store, "old", &[], ALWAYS), 10);
    assert_eq!(store.stats().unwrap().samples_stored, stored + 14);
    subject.reopen();
    assert_eq!(total(subject.store(), "old", &[], ALWAYS), 10);
}
