//! Where bytes from outside, or from a file, enter the collector. Each function must end, without a panic, whatever the
//! bytes are.
//!
//! The fuzz targets and the test that replays their corpus share this file.

use flamewatch_collector::diff::parse_profile;
use flamewatch_collector::history;
use flamewatch_collector::ingest::{AcceptedPush, Sessions, validate};
use flamewatch_collector::store::{Arrival, unpack_block};
use profiler_common::profile::LatencyHistogram;
use profiler_common::wire::v1;
use prost::Message as _;

/// Takes bytes from outside.
type Entry = fn(&[u8]);

/// Every target with its entry.
pub(crate) const ENTRIES: [(&str, Entry); 6] = [
    ("push", push),
    ("pprof", pprof),
    ("folded", folded),
    ("block", block),
    ("history", history),
    ("histogram", histogram),
];

/// Gives bytes to the entry of a target.
pub(crate) fn run(target: &str, bytes: &[u8]) {
    let entry = ENTRIES.iter().find(|(name, _)| *name == target);
    entry.expect("every target has an entry").1(bytes);
}

/// The collector's clock, and the time that it keeps.
const NOW_NS: u64 = 1_700_000_000_000_000_000;
const RETENTION_NS: u64 = 7 * 86_400 * 1_000_000_000;

/// Room for about ten sessions: they push each other out.
const SESSIONS_BYTES: usize = 10_000;

/// Pushes one after the other, each behind two bytes of its length, are stored whole or refused, and a session is what was
/// told under it.
fn push(mut bytes: &[u8]) {
    let sessions = Sessions::new(SESSIONS_BYTES);
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (message, rest) =
            rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        bytes = rest;
        let Ok(request) = v1::PushRequest::decode(message) else { continue };
        let Ok(accepted) = validate(request, NOW_NS, RETENTION_NS) else { continue };
        let AcceptedPush { batch, slots, session, .. } = accepted;
        let known = match &session {
            Some(session) => sessions.resolve(&batch.agent_id, session, &slots),
            None => Ok(Vec::new()),
        };
        let Ok(known) = known else { continue };
        let defined = batch.stacks.len();
        let arrival = Arrival::new(batch, known, 7).expect("what is accepted names what is there");
        assert_eq!(arrival.keys().len(), defined + slots.len());
        if let Some(session) = &session {
            sessions.learn(&arrival.batch().agent_id, session, &arrival.keys()[..defined]);
        }
        assert!(sessions.size().1 <= SESSIONS_BYTES);
    }
}

/// A profile of another tool becomes one of ours, or none.
fn pprof(bytes: &[u8]) {
    if let Ok(profile) = parse_profile("fuzzed.pb", bytes.to_vec()) {
        assert!(profile.stacks().all(|(stack, count)| count > 0 && stack.len() <= 1024));
    }
}

/// Text of folded stacks, plain or compressed.
fn folded(bytes: &[u8]) {
    if let Ok(profile) = parse_profile("fuzzed.folded", bytes.to_vec()) {
        assert!(!profile.is_empty());
    }
}

/// A block of the store, packed and as it is inside.
fn block(bytes: &[u8]) {
    // Either answer is right: a changed count is still a count.
    drop(unpack_block(bytes));
    let packed = zstd::bulk::compress(bytes, 1).expect("it fits");
    drop(unpack_block(&packed));
}

/// What the collector remembers of a service, packed and as it is inside.
fn history(bytes: &[u8]) {
    drop(history::unpack(bytes));
    if let Some((version, inner)) = bytes.split_first() {
        let packed = zstd::bulk::compress(inner, 1).expect("it fits");
        drop(history::unpack(&[&[*version][..], &packed].concat()));
    }
}

/// Buckets and calls, as any block may hold them: sums saturate, and quantiles rise.
fn histogram(bytes: &[u8]) {
    let mut histogram = LatencyHistogram::default();
    let (pairs, rest) = bytes.as_chunks::<12>();
    for pair in pairs {
        let (bucket, calls) = pair.split_at(4);
        let bucket = u32::from_le_bytes(bucket.try_into().expect("four bytes"));
        let calls = u64::from_le_bytes(calls.try_into().expect("eight bytes"));
        histogram.add(bucket, calls);
        histogram.max_ns = histogram.max_ns.max(calls);
    }
    let twice = histogram.clone();
    histogram.merge(&twice);
    let threshold = rest.first().map_or(0, |byte| 1 << (byte % 64));
    assert!(histogram.calls_at_least(threshold) <= histogram.calls());
    let quantiles = histogram.quantiles_ns([0.0, 0.5, 0.99, 1.0]);
    assert!(quantiles.is_sorted(), "{quantiles:?}");
}
