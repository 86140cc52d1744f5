//! Makes batches as an agent would, for scenarios that need no kernel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use profiler_common::wire::PROTOCOL_VERSION;
use profiler_common::wire::v1::{
    Accounting, Batch, Frame, FrameKind, PushRequest, ServiceProfile, Stack,
};
use prost::Message as _;

/// A valid batch of one service with one hot function.
///
/// # Errors
///
/// When the clock stands before 1970.
pub fn batch(agent: &str, sequence: u64, samples: u64) -> Result<Batch> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let strings = ["", "forged-service", "v1", "unit", "main", "work", "forged"];
    let frame = |function| Frame {
        kind: FrameKind::Native.into(),
        function,
        module: 6,
        ..Frame::default()
    };
    Ok(Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: agent.to_owned(),
        epoch: 1,
        sequence,
        host: "forge".to_owned(),
        start_unix_ns: nanoseconds(now.saturating_sub(Duration::from_secs(10))),
        end_unix_ns: nanoseconds(now),
        strings: strings.map(str::to_owned).to_vec(),
        frames: vec![frame(4), frame(5)],
        stacks: vec![Stack { frames: vec![0, 1] }],
        services: vec![ServiceProfile {
            service: 1,
            version: 2,
            unit: 3,
            period_ns: 10_000_000,
            stacks: vec![0],
            counts: vec![samples],
            ..ServiceProfile::default()
        }],
        accounting: Some(Accounting { samples_taken: samples, lost: Vec::new() }),
        ..Batch::default()
    })
}

/// Makes a batch large: many strings that compress badly, each a frame and a stack of its own.
pub fn inflate(batch: &mut Batch, stacks: u32) {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ batch.sequence;
    for _ in 0..stacks {
        let mut name = String::new();
        for _ in 0..8 {
            name.push_str(&format!("{:016x}", next(&mut state)));
        }
        let string = u32::try_from(batch.strings.len()).unwrap_or(u32::MAX);
        let frame = u32::try_from(batch.frames.len()).unwrap_or(u32::MAX);
        let stack = u32::try_from(batch.stacks.len()).unwrap_or(u32::MAX);
        batch.strings.push(name);
        batch.frames.push(Frame {
            kind: FrameKind::Native.into(),
            function: string,
            ..Frame::default()
        });
        batch.stacks.push(Stack { frames: vec![0, frame] });
        if let Some(service) = batch.services.first_mut() {
            service.stacks.push(stack);
            service.counts.push(1);
        }
        if let Some(accounting) = &mut batch.accounting {
            accounting.samples_taken += 1;
        }
    }
}

/// Samples that a batch holds.
#[must_use]
pub fn samples_in(batch: &Batch) -> u64 {
    batch.services.iter().flat_map(|service| &service.counts).sum()
}

/// The message that carries it.
#[must_use]
pub fn message(batch: Batch) -> Vec<u8> {
    PushRequest { batch: Some(batch), ..PushRequest::default() }.encode_to_vec()
}

/// What a message carries, if it is one.
#[must_use]
pub fn parse(message: &[u8]) -> Option<Batch> {
    PushRequest::decode(message).ok()?.batch
}

/// The next number of a sequence that is the same in every run (xorshift64).
pub fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
