//! What is remembered, what is forgotten, and what is refused because of it.

use super::*;

const ROOM: usize = 1 << 20;

fn push(id: u64, push: u64, acknowledged: u64, slots: &[u32]) -> v1::Session {
    v1::Session { id, push, acknowledged, slots: slots.to_vec() }
}

fn keys(range: std::ops::Range<u128>) -> Vec<StackKey> {
    range.map(StackKey).collect()
}

#[test]
fn slots_stand_for_what_was_told_last() {
    let sessions = Sessions::new(ROOM);
    sessions.learn("a", &push(1, 1, 0, &[3, 1, 0]), &keys(10..13));
    assert_eq!(
        sessions.resolve("a", &push(1, 2, 1, &[]), &[0, 2]),
        Ok(vec![StackKey(11), StackKey(10)])
    );
    sessions.learn("a", &push(1, 2, 1, &[1]), &keys(20..21));
    assert_eq!(sessions.resolve("a", &push(1, 3, 2, &[]), &[0]), Ok(vec![StackKey(20)]));
    let unknown = Err(UnknownSession(1));
    assert_eq!(sessions.resolve("a", &push(1, 3, 2, &[]), &[1]), unknown, "no such slot");
    assert_eq!(sessions.resolve("b", &push(1, 3, 2, &[]), &[0]), unknown, "another agent");
    assert_eq!(sessions.resolve("a", &push(2, 3, 2, &[]), &[0]), Err(UnknownSession(2)));
}

#[test]
fn a_table_that_missed_a_push_or_is_ahead_of_it_is_not_used() {
    let sessions = Sessions::new(ROOM);
    sessions.learn("a", &push(1, 1, 0, &[1]), &keys(10..11));
    // Push 2 was acknowledged by another collector.
    assert_eq!(sessions.resolve("a", &push(1, 3, 2, &[]), &[0]), Err(UnknownSession(1)));
    // Push 2 is stored, and its answer did not arrive: the agent names only what it is sure of.
    sessions.learn("a", &push(1, 2, 1, &[2]), &keys(20..21));
    assert_eq!(sessions.resolve("a", &push(1, 3, 1, &[]), &[0]), Ok(vec![StackKey(10)]));
    sessions.learn("a", &push(1, 3, 1, &[2]), &keys(30..31));
    // Push 2 arrives a second time, late.
    assert_eq!(sessions.resolve("a", &push(1, 2, 1, &[2]), &[]), Err(UnknownSession(1)));
    sessions.learn("a", &push(1, 2, 1, &[2]), &keys(20..21));
    assert_eq!(sessions.resolve("a", &push(1, 4, 3, &[]), &[1]), Ok(vec![StackKey(30)]));
}

#[test]
fn a_session_opens_with_its_first_push_alone() {
    let sessions = Sessions::new(ROOM);
    assert_eq!(sessions.resolve("a", &push(1, 1, 0, &[1]), &[]), Ok(Vec::new()));
    assert_eq!(sessions.resolve("a", &push(1, 1, 0, &[1]), &[0]), Err(UnknownSession(1)));
    assert_eq!(sessions.resolve("a", &push(1, 2, 1, &[1]), &[]), Err(UnknownSession(1)));
    sessions.learn("a", &push(1, 2, 1, &[1]), &keys(1..2));
    assert_eq!(sessions.size().0, 0);
}

#[test]
fn memory_is_bounded_and_the_least_recently_used_session_goes_first() {
    let slots: Vec<u32> = (1..=1000).collect();
    let sessions = Sessions::new(4 * 120_000);
    for (agent, first) in [("a", 0_u128), ("b", 1000), ("c", 2000)] {
        sessions.learn(agent, &push(1, 1, 0, &slots), &keys(first..first + 1000));
    }
    assert!(sessions.resolve("a", &push(1, 2, 1, &[]), &[7]).is_ok());
    for (agent, first) in [("d", 3000_u128), ("e", 4000)] {
        sessions.learn(agent, &push(1, 1, 0, &slots), &keys(first..first + 1000));
    }
    assert!(sessions.size().1 <= 4 * 120_000);
    assert!(sessions.resolve("b", &push(1, 2, 1, &[]), &[7]).is_err());
    assert!(sessions.resolve("a", &push(1, 2, 1, &[]), &[7]).is_ok());
    for agent in ["a", "b", "c", "d", "e"] {
        sessions.forget(agent, 1);
    }
    assert_eq!(sessions.size(), (0, 0));
}

#[test]
fn a_fleet_with_the_same_stacks_keeps_each_key_once() {
    let slots: Vec<u32> = (1..=1000).collect();
    let sessions = Sessions::new(64 << 20);
    for agent in 0..100 {
        sessions.learn(&agent.to_string(), &push(1, 1, 0, &slots), &keys(0..1000));
    }
    let (count, bytes) = sessions.size();
    assert_eq!(count, 100);
    assert!(bytes < 100 * 1000 * 6, "{bytes}");
}

#[test]
fn a_session_larger_than_the_room_is_not_kept() {
    let sessions = Sessions::new(1000);
    sessions.learn("a", &push(1, 1, 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), &keys(0..10));
    assert_eq!(sessions.size(), (0, 0));
}
