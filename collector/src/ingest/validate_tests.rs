//! What is accepted, what is refused, and that nothing panics.

use super::*;
use profiler_common::wire::SLOTS_MAX;
use proptest::prelude::*;
use prost::Message as _;

const NOW: u64 = 1_700_000_000_000_000_000;
const RETENTION: u64 = 86_400 * 1_000_000_000;

pub(crate) fn valid() -> v1::Batch {
    let frame = v1::Frame { kind: 1, function: 2, module: 3, file: 0, line: 0, build_id: 0 };
    let syscall = v1::SyscallLatency {
        name: 4,
        waiting: false,
        calls: 1,
        sum_ns: 9,
        max_ns: 9,
        buckets: vec![9],
        bucket_counts: vec![1],
        errors: vec![v1::ErrnoCount { errno: 11, count: 1 }],
    };
    let service = v1::ServiceProfile {
        service: 1,
        version: 0,
        unit: 0,
        labels: vec![v1::Label { key: 3, value: 0 }],
        period_ns: 52_631_578,
        stacks: vec![0],
        counts: vec![3],
        syscalls: vec![syscall],
        walks: vec![walk("whole", 2), walk("no user stack", 1)],
        stack_steps: Vec::new(),
    };
    v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: "0f3c-1".to_owned(),
        epoch: NOW,
        sequence: 1,
        host: "host".to_owned(),
        start_unix_ns: NOW - 10_000_000_000,
        end_unix_ns: NOW,
        strings: ["", "svc", "main", "app", "read"].map(str::to_owned).into(),
        frames: vec![frame],
        stacks: vec![v1::Stack { frames: vec![0] }],
        services: vec![service],
        accounting: Some(v1::Accounting {
            samples_taken: 3,
            lost: vec![v1::Loss { reason: "ring_full".to_owned(), samples: 0 }],
        }),
        host_labels: Vec::new(),
    }
}

fn push(batch: v1::Batch) -> v1::PushRequest {
    v1::PushRequest { batch: Some(batch), ..Default::default() }
}

/// The batch once more, under a session that knows slot 5: rows name the stack of the batch, slot 0 and slot 5 twice.
fn with_session() -> v1::PushRequest {
    let mut batch = valid();
    batch.services[0].stacks.clear();
    batch.services[0].stack_steps = vec![0, 1, 5, 0];
    batch.services[0].counts = vec![3, 4, 5, 6];
    let session = v1::Session { id: 9, push: 4, acknowledged: 2, slots: vec![8] };
    v1::PushRequest { batch: Some(batch), session: Some(session), ..Default::default() }
}

fn walk(end: &str, samples: u64) -> v1::WalkEndCount {
    v1::WalkEndCount { end: end.to_owned(), samples }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut v1::Batch), expected: &str) {
    let mut batch = valid();
    change(&mut batch);
    let error = validate(push(batch), NOW, RETENTION).unwrap_err().to_string();
    assert!(error.contains(expected), "`{error}` does not say `{expected}`");
}

#[test]
fn a_valid_batch_is_accepted_unchanged() {
    let accepted = AcceptedPush {
        batch: valid(),
        slots: Vec::new(),
        session: None,
        skew_ns: None,
        moved: Moved::No,
    };
    assert_eq!(validate(push(valid()), NOW, RETENTION).unwrap(), accepted);
}

#[test]
fn every_broken_rule_is_named() {
    check_refused(|b| b.protocol = 7, "protocol 7");
    check_refused(|b| b.agent_id = "a b".to_owned(), "agent id");
    check_refused(|b| b.agent_id = "a".repeat(129), "agent id");
    check_refused(|b| b.host.clear(), "host");
    check_refused(|b| b.sequence = 0, "sequence");
    check_refused(|b| b.epoch = u64::MAX, "epoch");
    check_refused(|b| b.end_unix_ns = b.start_unix_ns, "not after its start");
    check_refused(|b| b.start_unix_ns = 0, "longer than an hour");
    check_refused(|b| b.strings[0] = "x".to_owned(), "first string");
    check_refused(|b| b.strings.clear(), "first string");
    check_refused(|b| b.strings.push("x".repeat(STRING_BYTES_MAX + 1)), "bytes in a string");
    check_refused(|b| b.frames[0].kind = 99, "frame kind `99`");
    check_refused(|b| b.frames[0].module = 5, "index `5`");
    check_refused(|b| b.stacks[0].frames[0] = 1, "frame `1`");
    check_refused(|b| b.stacks[0].frames.clear(), "no frames");
    check_refused(|b| b.stacks[0].frames = vec![0; STACK_FRAMES_MAX + 1], "frames in a stack");
    check_refused(|b| b.services[0].service = 0, "service has no name");
    check_refused(|b| b.services[0].stacks[0] = 1, "stack `1`");
    check_refused(|b| b.services[0].counts.push(1), "1 stacks and 2 counts");
    check_refused(|b| b.services[0].counts[0] = u64::MAX, "samples");
    check_refused(|b| b.services[0].period_ns = 0, "period");
    check_refused(|b| b.services[0].labels = vec![v1::Label { key: 1, value: 0 }; 65], "labels");
    check_refused(|b| b.services[0].syscalls[0].buckets[0] = BUCKETS as u32, "bucket");
    check_refused(|b| b.services[0].syscalls[0].bucket_counts.clear(), "0 counts");
    check_refused(|b| b.services[0].syscalls[0].errors[0].errno = 0, "errno");
    check_refused(|b| b.services[0].walks[0].samples = 3, "4 walks and 3 samples");
    check_refused(|b| b.services[0].walks[0].samples = u64::MAX, "walks");
    check_refused(|b| b.services[0].walks[0].end.clear(), "a walk's end is not");
    check_refused(|b| b.services[0].walks[0].end = "Whole\n".to_owned(), "a walk's end is not");
    check_refused(|b| b.services[0].walks[0].end = "x".repeat(33), "a walk's end is not");
    check_refused(|b| b.services[0].walks[0] = walk("no user stack", 0), "stands twice");
    check_refused(
        |b| b.services[0].walks = vec![walk("whole", 0); WALK_ENDS_MAX + 1],
        "walks of a service",
    );
    check_refused(
        |b| b.accounting.as_mut().unwrap().lost[0].reason = "Ring full".to_owned(),
        "reason of loss",
    );
}

#[test]
fn references_become_indices_of_definitions_and_behind_them_of_slots() {
    let accepted = validate(with_session(), NOW, RETENTION).unwrap();
    assert_eq!(accepted.slots, [0, 5]);
    assert_eq!(accepted.batch.services[0].stacks, [0, 1, 2, 2]);
    assert_eq!(accepted.session, with_session().session);
}

#[test]
fn a_session_that_breaks_a_rule_is_refused() {
    let check = |change: fn(&mut v1::Session, &mut v1::ServiceProfile), expected: &str| {
        let mut request = with_session();
        let service = &mut request.batch.as_mut().unwrap().services[0];
        change(request.session.as_mut().unwrap(), service);
        let error = validate(request, NOW, RETENTION).unwrap_err().to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
    };
    check(|session, _| session.acknowledged = 4, "push `4` of a session acknowledges push `4`");
    check(|session, _| session.slots = vec![1, 2], "2 slots for 1 stacks");
    check(|session, _| session.slots = vec![SLOTS_MAX as u32 + 1], "slot `16384` is not below");
    check(|_, service| service.stacks = vec![0], "names stacks by index");
    check(|_, service| service.stack_steps[1] = SLOTS_MAX as u32 + 1, "is not below 1 + 16384");
    check(|_, service| service.stack_steps[1] = u32::MAX, "is not below 1 + 16384");
    check(|_, service| service.counts.truncate(3), "4 stacks and 3 counts");
    check_refused(|b| b.services[0].stack_steps = vec![0], "without a session");
}

#[test]
fn two_stacks_cannot_get_one_slot() {
    let mut request = with_session();
    let batch = request.batch.as_mut().unwrap();
    batch.stacks.push(batch.stacks[0].clone());
    request.session.as_mut().unwrap().slots = vec![8, 8];
    let error = validate(request, NOW, RETENTION).unwrap_err().to_string();
    assert!(error.contains("slot `7` is given twice"), "{error}");
}

#[test]
fn a_batch_that_invents_ends_of_walks_is_refused() {
    let invent = |batch: &mut v1::Batch| {
        let service = batch.services[0].clone();
        batch.services = (0..=WALK_ENDS_MAX)
            .map(|index| v1::ServiceProfile {
                walks: vec![walk(&format!("end {index}"), 1)],
                ..service.clone()
            })
            .collect();
    };
    check_refused(invent, "33 ends of walks");
}

#[test]
fn every_end_that_our_agents_know_is_accepted() {
    let mut batch = valid();
    let ends = profiler_common::abi::sample::WalkEnd::ALL;
    batch.services[0].walks = ends.iter().map(|end| walk(end.name(), 0)).collect();
    assert!(validate(push(batch), NOW, RETENTION).is_ok());
}

#[test]
fn a_window_past_retention_is_refused_for_good() {
    let at = |end: u64| {
        let mut batch = valid();
        batch.start_unix_ns = end - 1;
        batch.end_unix_ns = end;
        validate(push(batch), NOW, RETENTION)
    };
    assert!(at(NOW - RETENTION + 1).is_ok());
    let refused = at(NOW - RETENTION).unwrap_err();
    assert_eq!((refused.name(), refused.is_final()), ("too_old", true));
}

#[test]
fn a_window_of_the_future_is_moved_and_no_clock_loses_a_batch() {
    const HOUR: u64 = 3600 * 1_000_000_000;
    let at = |ahead: u64, sent_unix_ns: u64| {
        let mut batch = valid();
        batch.start_unix_ns += ahead;
        batch.end_unix_ns += ahead;
        validate(v1::PushRequest { sent_unix_ns, ..push(batch) }, NOW, RETENTION)
    };
    let moved = at(2 * HOUR, NOW + 3 * HOUR).unwrap();
    assert_eq!((moved.moved, moved.batch.end_unix_ns), (Moved::BySkew, NOW - HOUR));
    assert_eq!(moved.skew_ns, Some(3 * HOUR as i64));
    let moved = at(2 * HOUR, NOW).unwrap();
    assert_eq!((moved.moved, moved.batch.end_unix_ns), (Moved::ToNow, NOW));
    let refused = at(50 * HOUR, NOW + 50 * HOUR).unwrap_err();
    assert_eq!((refused.name(), refused.is_final()), ("clock", false));
}

proptest! {
    #[test]
    fn mutated_bytes_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
        has_session: bool,
    ) {
        let mut bytes = if has_session { with_session() } else { push(valid()) }.encode_to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(request) = v1::PushRequest::decode(&*bytes)
            && let Ok(accepted) = validate(request, NOW, RETENTION)
            && accepted.slots.is_empty()
        {
            // What is accepted can be stored.
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store.db");
            use crate::store::Store as _;
            let store = crate::store::SqliteStore::open(&path, Default::default()).unwrap();
            store.write_whole(&accepted.batch).unwrap();
        }
    }

    #[test]
    fn random_indices_never_panic(
        indices in proptest::collection::vec(any::<u32>(), 0..9),
        counts in proptest::collection::vec(any::<u64>(), 0..9),
        steps in proptest::collection::vec(0..20_000_u32, 0..9),
        slots in proptest::collection::vec(0..20_000_u32, 0..3),
        (sent, acknowledged) in any::<(u64, u64)>(),
        (start, end) in any::<(u64, u64)>(),
        now in any::<u64>(),
        retention in any::<u64>(),
    ) {
        let mut batch = valid();
        batch.stacks.push(v1::Stack { frames: indices.clone() });
        batch.services[0].stacks = indices.clone();
        batch.services[0].counts = counts.clone();
        batch.services[0].walks =
            counts.iter().map(|count| walk("whole", *count)).collect();
        batch.services[0].syscalls[0].buckets = indices;
        batch.services[0].syscalls[0].bucket_counts = counts;
        batch.start_unix_ns = start;
        batch.end_unix_ns = end;
        batch.services[0].stack_steps = steps;
        let session = v1::Session { id: 1, push: sent, acknowledged, slots: slots.clone() };
        drop(validate(push(batch.clone()), now, retention));
        batch.services[0].stacks.clear();
        let request = v1::PushRequest { session: Some(session), ..push(batch) };
        if let Ok(accepted) = validate(request, now, retention) {
            let named = accepted.batch.stacks.len() + accepted.slots.len();
            let services = &accepted.batch.services;
            prop_assert!(services[0].stacks.iter().all(|stack| (*stack as usize) < named));
            prop_assert!(accepted.slots.len() <= SLOTS_MAX);
        }
    }
}

#[test]
fn a_batch_that_repeats_one_long_text_for_many_services_is_refused() {
    let repeat = |batch: &mut v1::Batch| {
        batch.strings.push("x".repeat(STRING_BYTES_MAX));
        let label = v1::Label { key: 3, value: 5 };
        batch.services[0].labels = vec![label; LABELS_MAX];
        let service = batch.services[0].clone();
        batch.services.resize(1000, service);
    };
    check_refused(repeat, "bytes of text in all services");
}
