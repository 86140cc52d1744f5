//! Versions come and go on a real store; alerts follow.

use std::collections::BTreeMap;

use super::*;
use crate::alert::{AlertName, AlertState, Mode, Topic};
use crate::detect::{Subject, SyscallMetric};
use crate::gate::tests::{SECOND, T0, V1, V2, open, write, write_broken};
use crate::store::SqliteStore;

fn engine(store: SqliteStore) -> Engine {
    on(Arc::new(store), AlertBook::default())
}

/// As a collector that just started, with this book.
fn on(store: Arc<dyn Store>, book: AlertBook) -> Engine {
    Engine {
        store,
        book: Arc::new(book),
        policy: Policy::default(),
        temporal: TemporalOptions::default(),
        options: AlertOptions { window_seconds: 10, ..AlertOptions::default() },
        memory: Memory::default(),
        counters: Arc::default(),
        judged: Mutex::default(),
    }
}

/// Version 1 for 8 windows, then version 2 for 8, which computes more and syncs; evaluated after each window of 2.
fn released() -> (tempfile::TempDir, Engine) {
    let (folder, store) = open();
    let engine = engine(store);
    for window in 0..8 {
        write(&*engine.store, ("a", "1"), window, (&V1, 1), 0);
        assert!(evaluated(&engine, window).is_empty());
    }
    for window in 8..16 {
        write(&*engine.store, ("a", "2"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    (folder, engine)
}

fn evaluated(engine: &Engine, window: u64) -> Vec<Alert> {
    engine.evaluate(T0 + (window + 1) * 10 * SECOND).unwrap()
}

fn states(alerts: &[Alert]) -> BTreeMap<String, AlertState> {
    alerts.iter().map(|alert| (alert.topic.to_string(), alert.state)).collect()
}

#[test]
fn a_slower_release_fires_for_the_function_and_the_syscall_and_for_nothing_else() {
    let (_folder, engine) = released();
    let alerts = engine.book.snapshot();
    assert_eq!(
        states(&alerts),
        BTreeMap::from([
            ("checksum (self)".to_owned(), AlertState::Firing),
            ("fdatasync (p99)".to_owned(), AlertState::Firing),
        ])
    );
    for alert in &alerts {
        assert_eq!((&*alert.baseline_version, &*alert.candidate_version), ("1", "2"));
    }
    let function = alerts.iter().find(|alert| alert.name == AlertName::ProfileRegression).unwrap();
    assert!(
        function.evidence.delta_cores.is_some_and(|cores| (0.8..1.2).contains(&cores)),
        "{function:?}"
    );
    assert_eq!(function.evidence.changed_paths[0].functions, ["main", "checksum"]);
    let syscall = Subject::Syscall { name: "fdatasync".to_owned(), metric: SyscallMetric::P99 };
    assert!(alerts.iter().any(|alert| alert.topic == Topic::Of(syscall.clone())));
}

#[test]
fn an_alert_on_broken_stacks_says_so() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..8 {
        write_broken(&*engine.store, ("a", "1"), window, &V1, 100);
    }
    for window in 8..16 {
        write_broken(&*engine.store, ("a", "2"), window, &V2, 4);
        evaluated(&engine, window);
    }
    let alerts = engine.book.snapshot();
    let function = alerts.iter().find(|alert| alert.name == AlertName::ProfileRegression).unwrap();
    let caveats = &function.evidence.caveats;
    assert_eq!(caveats, &["only 75 % of the candidate's stacks are whole"]);
}

#[test]
fn alerts_resolve_when_the_old_version_comes_back() {
    let (_folder, engine) = released();
    for window in 16..26 {
        write(&*engine.store, ("a", "1"), window, (&V1, 1), 0);
        evaluated(&engine, window);
    }
    let alerts = engine.book.snapshot();
    assert!(
        alerts.iter().all(|alert| alert.state == AlertState::Resolved),
        "{:?}",
        states(&alerts)
    );
    assert_eq!(alerts.len(), 2);
}

#[test]
fn silence_makes_stale_and_data_end_it() {
    let (_folder, engine) = released();
    let before = engine.book.snapshot();
    evaluated(&engine, 18);
    assert_eq!(states(&engine.book.snapshot()), states(&before));
    for window in 19..30 {
        evaluated(&engine, window);
    }
    assert!(engine.book.snapshot().iter().all(|alert| alert.state == AlertState::Stale));
    for window in 30..34 {
        write(&*engine.store, ("a", "2"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    let after = engine.book.snapshot();
    assert_eq!(states(&after), states(&before));
    assert_eq!(after[0].fired_at, before[0].fired_at);
}

#[test]
fn a_lasting_regression_does_not_become_its_own_baseline() {
    let (_folder, engine) = released();
    for window in 16..60 {
        write(&*engine.store, ("a", "2"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    assert!(engine.book.snapshot().iter().all(|alert| alert.state == AlertState::Firing));
}

#[test]
fn a_restart_keeps_the_book() {
    let (_folder, engine) = released();
    let book = AlertBook::load(&*engine.store).unwrap();
    assert_eq!(states(&book.snapshot()), states(&engine.book.snapshot()));
    assert_eq!(book.snapshot().len(), 2);
}

#[test]
fn the_same_data_twice_confirm_nothing() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..8 {
        write(&*engine.store, ("a", "1"), window, (&V1, 1), 0);
    }
    for window in 8..13 {
        write(&*engine.store, ("a", "2"), window, (&V2, 1), 0);
    }
    for _again in 0..5 {
        let alerts = evaluated(&engine, 12);
        assert_eq!(
            states(&alerts),
            BTreeMap::from([("checksum (self)".to_owned(), AlertState::Pending)])
        );
    }
}

#[test]
fn a_build_that_just_appeared_raises_nothing() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..8 {
        write(&*engine.store, ("a", "0123456789ab"), window, (&V1, 1), 0);
    }
    for window in 8..15 {
        write(&*engine.store, ("a", "ba9876543210"), window, (&V2, 1), 0);
        assert!(evaluated(&engine, window).is_empty());
    }
}

#[test]
fn an_alert_ends_a_week_after_the_last_data_on_it() {
    let (_folder, engine) = released();
    let day = 86_400 * SECOND;
    let alerts = engine.evaluate(T0 + 6 * day).unwrap();
    assert!(alerts.iter().all(|alert| alert.state == AlertState::Stale), "{alerts:?}");
    let alerts = engine.evaluate(T0 + 8 * day).unwrap();
    assert!(alerts.iter().all(|alert| alert.state == AlertState::Resolved), "{alerts:?}");
    assert_eq!(alerts.len(), 2);
}

/// Version 3: worse than version 2 by four fifths of what that was worse than version 1.
const V3: [(&str, u64); 5] =
    [("parse", 2_500), ("checksum", 4_800), ("send", 2_000), ("log", 1_500), ("route", 1_000)];

fn checksum(engine: &Engine) -> Alert {
    let alerts = engine.book.snapshot();
    alerts.into_iter().find(|alert| alert.topic.to_string().starts_with("checksum")).unwrap()
}

#[test]
fn a_restart_tells_nobody_twice_and_goes_on_where_it_was() {
    let (_folder, engine) = released();
    let mut told = engine.book.snapshot();
    for alert in &mut told {
        alert.delivered.insert("hook".to_owned(), AlertState::Firing);
    }
    engine.book.replace(&*engine.store, told.clone(), 0.0).unwrap();
    let again = on(Arc::clone(&engine.store), AlertBook::load(&*engine.store).unwrap());
    evaluated(&again, 15);
    write(&*again.store, ("a", "2"), 16, (&V2, 1), 40);
    evaluated(&again, 16);
    let after = again.book.snapshot();
    assert_eq!(after.len(), told.len());
    for (before, after) in told.iter().zip(&after) {
        assert_eq!((before.state, before.fired_at), (after.state, after.fired_at));
        assert_eq!(before.delivered, after.delivered);
    }
}

#[test]
fn a_restart_does_not_make_one_window_two() {
    let (_folder, store) = open();
    let first = engine(store);
    for window in 0..8 {
        write(&*first.store, ("a", "1"), window, (&V1, 1), 0);
    }
    for window in 8..13 {
        write(&*first.store, ("a", "2"), window, (&V2, 1), 0);
    }
    evaluated(&first, 12);
    for _restart in 0..3 {
        let again = on(Arc::clone(&first.store), AlertBook::load(&*first.store).unwrap());
        evaluated(&again, 12);
        let alert = checksum(&again);
        assert_eq!((alert.state, alert.track.streak), (AlertState::Pending, 1));
    }
}

#[test]
fn a_later_release_that_makes_it_worse_escalates_the_same_alert() {
    let (_folder, engine) = released();
    let before = checksum(&engine);
    for window in 16..24 {
        write(&*engine.store, ("a", "3"), window, (&V3, 1), 40);
        evaluated(&engine, window);
    }
    let after = checksum(&engine);
    assert_eq!(after.fingerprint, before.fingerprint);
    assert_eq!((after.state, after.fired_at), (AlertState::Firing, before.fired_at));
    assert_eq!(after.baseline_version, "1");
    let escalation = after.escalation.expect("it grew by more than half");
    assert_eq!(escalation.version, "3");
    assert_eq!(escalation.delta_before, before.delta_on);
}

#[test]
fn a_later_release_that_is_as_slow_is_no_news() {
    let (_folder, engine) = released();
    for window in 16..26 {
        write(&*engine.store, ("a", "3"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    let alerts = engine.book.snapshot();
    assert!(alerts.iter().all(|alert| alert.state == AlertState::Firing), "{:?}", states(&alerts));
    assert!(alerts.iter().all(|alert| alert.escalation.is_none()));
    assert_eq!(alerts.len(), 2, "{:?}", states(&alerts));
}

#[test]
fn what_was_accepted_stays_quiet_until_it_grows() {
    let (_folder, engine) = released();
    let name = checksum(&engine).fingerprint;
    let now = (T0 / SECOND) as f64 + 161.0;
    let accepted =
        engine.book.accept(&*engine.store, &name, "price of the new format", now).unwrap();
    assert_eq!(accepted.state, AlertState::Accepted);
    assert!(engine.book.accept(&*engine.store, &name, "", now).is_err());
    for window in 16..22 {
        write(&*engine.store, ("a", "2"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    let quiet = checksum(&engine);
    assert_eq!(quiet.state, AlertState::Accepted);
    assert_eq!(quiet.acceptance.unwrap().note, "price of the new format");
    for window in 22..30 {
        write(&*engine.store, ("a", "3"), window, (&V3, 1), 40);
        evaluated(&engine, window);
    }
    assert_eq!(checksum(&engine).state, AlertState::Firing);
}

#[test]
fn a_word_that_is_taken_back_leaves_the_alert_as_it_was() {
    let (_folder, engine) = released();
    let before = checksum(&engine);
    let decide = |at| (T0 / SECOND) as f64 + at;
    engine.book.accept(&*engine.store, &before.fingerprint, "", decide(161.0)).unwrap();
    let book = AlertBook::load(&*engine.store).unwrap();
    let after = book.withdraw(&*engine.store, &before.fingerprint, decide(162.0)).unwrap();
    assert_eq!((after.state, after.resolved_at), (AlertState::Firing, None));
    assert!(book.withdraw(&*engine.store, &before.fingerprint, decide(163.0)).is_err());
    let unknown = book.accept(&*engine.store, "0", "", 0.0).unwrap_err();
    assert!(unknown.to_string().contains("`0`"), "{unknown}");
}

#[test]
fn versions_side_by_side_are_compared_in_the_same_windows() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..16 {
        for host in ["a", "bb", "ccc"] {
            write(&*engine.store, (host, "1"), window, (&V1, 1), 0);
            if window >= 8 {
                write(&*engine.store, (&format!("{host}-new"), "2"), window, (&V2, 1), 0);
            }
        }
        evaluated(&engine, window);
    }
    let alert = checksum(&engine);
    assert_eq!((alert.state, alert.mode), (AlertState::Firing, Mode::Concurrent));
    assert_eq!(alert.evidence.hosts, [3, 3]);
}

#[test]
fn the_same_hosts_before_and_after_are_compared_host_by_host() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..18 {
        for host in ["a", "bb", "ccc", "dddd"] {
            let (version, functions) = if window < 8 { ("1", &V1) } else { ("2", &V2) };
            write(&*engine.store, (host, version), window, (functions, 1), 0);
        }
        evaluated(&engine, window);
    }
    let alert = checksum(&engine);
    assert_eq!((alert.state, alert.mode), (AlertState::Firing, Mode::Paired));
}

#[test]
fn a_service_compared_with_itself_raises_no_alarm() {
    let (_folder, store) = open();
    let mut engine = engine(store);
    engine.options.temporal = false;
    for window in 0..30 {
        for host in ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"] {
            write(&*engine.store, (host, "1"), window, (&V1, 1), 0);
        }
    }
    for hour in 0..40 {
        engine.test_service("shop", hour, T0 + 300 * SECOND);
    }
    let tests = engine.book.self_tests();
    assert_eq!((tests.total.tests, tests.total.firing, tests.tightness), (40, 0, 0));
}
