//! Versions come and go on a real store; alerts follow.

use std::collections::BTreeMap;

use super::*;
use crate::alert::{AlertName, AlertState, Mode, Topic};
use crate::detect::{Subject, SyscallMetric};
use crate::gate::tests::{SECOND, T0, V1, V2, open, write, write_broken};

fn engine(store: Store) -> Engine {
    on(Arc::new(store), AlertBook::default())
}

/// As a collector that just started, with this book.
fn on(store: Arc<Store>, book: AlertBook) -> Engine {
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
        write(&engine.store, ("a", "1"), window, (&V1, 1), 0);
        assert!(evaluated(&engine, window).is_empty());
    }
    for window in 8..16 {
        write(&engine.store, ("a", "2"), window, (&V2, 1), 40);
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
        write_broken(&engine.store, ("a", "1"), window, &V1, 100);
    }
    for window in 8..16 {
        write_broken(&engine.store, ("a", "2"), window, &V2, 4);
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
        write(&engine.store, ("a", "1"), window, (&V1, 1), 0);
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
        write(&engine.store, ("a", "2"), window, (&V2, 1), 40);
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
        write(&engine.store, ("a", "2"), window, (&V2, 1), 40);
        evaluated(&engine, window);
    }
    assert!(engine.book.snapshot().iter().all(|alert| alert.state == AlertState::Firing));
}

#[test]
fn a_restart_keeps_the_book() {
    let (_folder, engine) = released();
    let book = AlertBook::load(&engine.store).unwrap();
    assert_eq!(states(&book.snapshot()), states(&engine.book.snapshot()));
    assert_eq!(book.snapshot().len(), 2);
}

#[test]
fn the_same_data_twice_confirm_nothing() {
    let (_folder, store) = open();
    let engine = engine(store);
    for window in 0..8 {
        write(&engine.store, ("a", "1"), window, (&V1, 1), 0);
    }
    for window in 8..13 {
        write(&engine.store, ("a", "2"), window, (&V2, 1), 0);
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
        write(&engine.store, ("a", "0123456789ab"), window, (&V1, 1), 0);
    }
    for window in 8..15 {
        write(&engine.store, ("a", "ba9876543210"), window, (&V2, 1), 0);
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
