//! The memory on a real store.

use super::*;
use crate::gate::tests::{SECOND, T0, V1, open, write};
use crate::store::MetaStore as _;

/// Windows of ten seconds for so many minutes.
fn fill(store: &dyn Store, minutes: std::ops::Range<u64>) {
    for window in minutes.start * 6..minutes.end * 6 {
        write(store, ("a", "1"), window, (&V1, 10), 0);
    }
}

fn at(minute: u64) -> u64 {
    T0 + minute * 60 * SECOND
}

/// Calls until nothing is left to be read.
fn caught_up(memory: &Memory, store: &dyn Store, now: u64) -> Observed {
    let mut last = None;
    for _ in 0..1_000 {
        let observed = memory.observe(store, "shop", now).unwrap();
        let is_behind = observed.is_behind;
        if observed.is_new {
            last = Some(observed);
        }
        if !is_behind {
            break;
        }
    }
    last.unwrap()
}

#[test]
fn a_window_is_read_once_and_only_when_it_is_over() {
    let (_folder, store) = open();
    fill(&store, 0..25);
    let memory = Memory::default();
    let observed = caught_up(&memory, &store, at(24));
    let main = observed.timeline.functions().iter().position(|one| one.key.function == "main");
    let hours: Vec<[u64; 3]> = observed.timeline.hourly(main.unwrap()).collect();
    // Two whole windows; 1,000 samples in each ten seconds, shaken by up to 2 %.
    assert_eq!(hours.len(), 1);
    assert_eq!(hours[0][1], hours[0][2]);
    assert!((hours[0][2] as f64 / 120_000.0 - 1.0).abs() < 0.03, "{hours:?}");
    assert!(!memory.observe(&store, "shop", at(25)).unwrap().is_new);
    fill(&store, 25..31);
    assert!(memory.observe(&store, "shop", at(34)).unwrap().is_new);
    assert!(!memory.observe(&store, "shop", at(35)).unwrap().is_new);
}

#[test]
fn a_restart_forgets_nothing_and_counts_nothing_twice() {
    let (_folder, store) = open();
    fill(&store, 0..40);
    let memory = Memory::default();
    caught_up(&memory, &store, at(34));
    memory.save(&store).unwrap();
    let before: Vec<[u64; 3]> =
        caught_up(&Memory::default(), &store, at(43)).timeline.hourly(0).collect();
    let all: Vec<[u64; 3]> = caught_up(&memory, &store, at(43)).timeline.hourly(0).collect();
    assert_eq!(before, all);
    // Retention may take the blocks away: what was counted stays.
    store.retain(at(60)).unwrap();
    let again = Memory::default();
    assert!(!again.observe(&store, "shop", at(43)).unwrap().is_new || again.bytes() > 0);
}

#[test]
fn a_service_without_samples_has_an_empty_memory() {
    let (_folder, store) = open();
    let memory = Memory::default();
    let observed = memory.observe(&store, "nobody", at(60)).unwrap();
    assert!(!observed.is_new);
    assert_eq!(memory.bytes(), 0);
}

#[test]
fn damaged_state_is_forgotten_and_read_again_from_the_store() {
    let (_folder, store) = open();
    fill(&store, 0..11);
    assert!(store.save_state("history/shop", 0, b"not a history").unwrap());
    let memory = Memory::default();
    let observed = caught_up(&memory, &store, at(14));
    assert_eq!(observed.timeline.hours_kept(), 1);
    memory.save(&store).unwrap();
    let (version, bytes) = store.load_state("history/shop").unwrap().unwrap();
    assert_eq!(version, 2);
    assert!(unpack(&bytes).is_ok());
}
