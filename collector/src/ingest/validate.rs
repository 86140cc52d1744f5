//! Decides whether a batch from outside can be stored. Pure; its cost is linear in the size of the batch.

use std::collections::BTreeSet;

use profiler_common::abi::latency::BUCKETS;
use profiler_common::wire::{
    DICTIONARY_ENTRIES_MAX, PROTOCOL_VERSION, SERVICES_MAX, STACK_FRAMES_MAX, STRING_BYTES_MAX,
    WALK_ENDS_MAX, v1,
};
use thiserror::Error;

use super::clock::{Moved, TooFar, correct, skew_ns};
use super::references::unfold;

/// Longest agent id: a UUID with a prefix, and room.
const AGENT_ID_BYTES_MAX: usize = 128;

/// Longest host name, as in DNS.
const HOST_BYTES_MAX: usize = 255;

/// Longest window: agents close one every 10 s; an hour allows for any setting that is of use.
const WINDOW_NS_MAX: u64 = 3600 * 1_000_000_000;

/// Most samples in a batch: an hour at 99 Hz on 24,000 CPUs.
const SAMPLES_MAX: u64 = 1 << 33;

/// Longest time that one sample stands for: a rate of 1 Hz.
const PERIOD_NS_MAX: u64 = 1_000_000_000;

// CPU time is stored as a signed number of nanoseconds.
const _: () = assert!(SAMPLES_MAX <= i64::MAX as u64 / PERIOD_NS_MAX);

/// Most calls in one count: an hour at 20 million calls a second on 4,000 CPUs.
const CALLS_MAX: u64 = 1 << 48;

/// Most bytes of names and labels of all services together, once each service has its own copy, as the store keeps them.
/// A host with 500 services has below one MiB; without a limit a batch could name one long text a million times.
const SERVICE_TEXT_BYTES_MAX: usize = 64 << 20;

/// Most labels of a service or a host.
const LABELS_MAX: usize = 64;

/// Most syscalls of a service: Linux has about 450, some under two names.
const SYSCALLS_MAX: usize = 1024;

/// Largest errno of Linux.
const ERRNO_MAX: u32 = 4095;

/// Most reasons of loss in a batch, and the longest name of one.
const LOSSES_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 64;

/// Longest name of a walk's end.
const WALK_END_BYTES_MAX: usize = 32;

/// A push that can be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedPush {
    /// The batch. Its services name its own stacks, and behind them those of [`slots`](Self::slots).
    pub batch: v1::Batch,
    /// Slots of the session that rows name, each once.
    pub slots: Vec<u32>,
    /// The session, where there is one.
    pub session: Option<v1::Session>,
    /// How far the agent's clock is ahead, in nanoseconds; `None` where it does not say.
    pub skew_ns: Option<i64>,
    /// How its window was moved for that.
    pub moved: Moved,
}

/// Why a batch is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Made by another generation of agents.
    #[error(
        "batch speaks protocol {0}, this collector speaks {PROTOCOL_VERSION}: \
         run an agent of the same release"
    )]
    Protocol(u32),
    /// Its window ended before what this collector still keeps.
    #[error(
        "batch ended {age_seconds} s ago, which is past the retention of {retention_seconds} s"
    )]
    TooOld {
        /// Age of the window's end.
        age_seconds: u64,
        /// How long windows are kept.
        retention_seconds: u64,
    },
    /// The clocks of agent and collector are too far apart to say when it was taken.
    #[error(transparent)]
    Clock(#[from] TooFar),
    /// It breaks a rule of the format.
    #[error("batch is invalid: {0}")]
    Invalid(String),
}

impl Rejection {
    /// The reason's name in metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "protocol",
            Self::TooOld { .. } => "too_old",
            Self::Clock(_) => "clock",
            Self::Invalid(_) => "invalid",
        }
    }

    /// Whether it can never be accepted. Otherwise it can once an agent or a collector of another release runs, or a clock
    /// is set.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Protocol(_) | Self::Clock(_) => false,
            Self::TooOld { .. } | Self::Invalid(_) => true,
        }
    }
}

/// Checks every rule of the format, and moves the window to the collector's clock, which was `now_unix_ns` when the push
/// arrived.
///
/// # Errors
///
/// When the push breaks a rule; the error names the first one.
pub fn validate(
    request: v1::PushRequest,
    now_unix_ns: u64,
    retention_ns: u64,
) -> Result<AcceptedPush, Rejection> {
    let v1::PushRequest { batch, sent_unix_ns, session } = request;
    let mut batch = batch.ok_or_else(|| Rejection::Invalid("request holds no batch".to_owned()))?;
    if batch.protocol != PROTOCOL_VERSION {
        return Err(Rejection::Protocol(batch.protocol));
    }
    origin(&batch)?;
    let skew_ns = skew_ns(sent_unix_ns, now_unix_ns);
    let times = (&mut batch.start_unix_ns, &mut batch.end_unix_ns);
    let moved = correct(times, skew_ns.unwrap_or(0), now_unix_ns)?;
    window(&batch, now_unix_ns, retention_ns)?;
    dictionary(&batch)?;
    labels(&batch, &batch.host_labels)?;
    at_most("services", batch.services.len(), SERVICES_MAX)?;
    let slots = match &session {
        Some(session) => unfold(&mut batch, session)?,
        None => Vec::new(),
    };
    services(&batch, slots.len())?;
    if let Some(accounting) = &batch.accounting {
        losses(accounting)?;
    }
    Ok(AcceptedPush { batch, slots, session, skew_ns, moved })
}

/// Checks the services of a batch whose rows name so many slots.
fn services(batch: &v1::Batch, slots: usize) -> Result<(), Rejection> {
    let mut samples = 0_u64;
    let mut text_bytes = 0;
    let mut ends = BTreeSet::new();
    for service in &batch.services {
        let counted = service_profile(batch, service, slots)?;
        walks(service, counted, &mut ends)?;
        text_bytes += text_of_service(batch, service)?;
        at_most("bytes of text in all services", text_bytes, SERVICE_TEXT_BYTES_MAX)?;
        samples = sum(samples, counted, SAMPLES_MAX, "samples")?;
    }
    Ok(())
}

fn origin(batch: &v1::Batch) -> Result<(), Rejection> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    let id = &batch.agent_id;
    check(!id.is_empty() && id.len() <= AGENT_ID_BYTES_MAX && id.bytes().all(is_id), || {
        format!("agent id is not 1 to {AGENT_ID_BYTES_MAX} of the characters a-z A-Z 0-9 . _ : -")
    })?;
    let host = &batch.host;
    let is_name = !host.is_empty() && !host.chars().any(char::is_control);
    check(is_name && host.len() <= HOST_BYTES_MAX, || {
        format!("host is not 1 to {HOST_BYTES_MAX} bytes without control characters")
    })?;
    check(i64::try_from(batch.epoch).is_ok(), || "epoch is 2^63 or more".to_owned())?;
    check(batch.sequence >= 1 && i64::try_from(batch.sequence).is_ok(), || {
        "sequence is not between 1 and 2^63".to_owned()
    })
}

fn window(batch: &v1::Batch, now: u64, retention: u64) -> Result<(), Rejection> {
    let (start, end) = (batch.start_unix_ns, batch.end_unix_ns);
    check(start < end, || format!("window ends at `{end}`, not after its start at `{start}`"))?;
    check(end - start <= WINDOW_NS_MAX, || "window is longer than an hour".to_owned())?;
    check(i64::try_from(end).is_ok(), || format!("window ends at `{end}`, after the year 2262"))?;
    if end <= now.saturating_sub(retention) {
        return Err(Rejection::TooOld {
            age_seconds: now.saturating_sub(end) / 1_000_000_000,
            retention_seconds: retention / 1_000_000_000,
        });
    }
    Ok(())
}

fn dictionary(batch: &v1::Batch) -> Result<(), Rejection> {
    at_most("strings", batch.strings.len(), DICTIONARY_ENTRIES_MAX)?;
    at_most("frames", batch.frames.len(), DICTIONARY_ENTRIES_MAX)?;
    at_most("stacks", batch.stacks.len(), DICTIONARY_ENTRIES_MAX)?;
    check(batch.strings.first().is_some_and(String::is_empty), || {
        "the first string is not empty".to_owned()
    })?;
    for text in &batch.strings {
        at_most("bytes in a string", text.len(), STRING_BYTES_MAX)?;
    }
    for frame in &batch.frames {
        let kind = v1::FrameKind::try_from(frame.kind);
        check(kind.is_ok_and(|kind| kind != v1::FrameKind::Unspecified), || {
            format!("frame kind `{}` is not known", frame.kind)
        })?;
        for index in [frame.function, frame.module, frame.file, frame.build_id] {
            text(batch, index)?;
        }
        check(frame.function != 0, || "a frame has no function".to_owned())?;
    }
    for stack in &batch.stacks {
        check(!stack.frames.is_empty(), || "a stack has no frames".to_owned())?;
        at_most("frames in a stack", stack.frames.len(), STACK_FRAMES_MAX)?;
        for index in &stack.frames {
            check((*index as usize) < batch.frames.len(), || {
                format!("a stack names frame `{index}` of {}", batch.frames.len())
            })?;
        }
    }
    Ok(())
}

fn labels(batch: &v1::Batch, labels: &[v1::Label]) -> Result<(), Rejection> {
    at_most("labels", labels.len(), LABELS_MAX)?;
    for label in labels {
        check(!text(batch, label.key)?.is_empty(), || "a label has no key".to_owned())?;
        text(batch, label.value)?;
    }
    Ok(())
}

/// Bytes of all texts that the store keeps with the service.
fn text_of_service(batch: &v1::Batch, service: &v1::ServiceProfile) -> Result<usize, Rejection> {
    let names = [service.service, service.version, service.unit];
    let labels = batch.host_labels.iter().chain(&service.labels);
    let labels = labels.flat_map(|label| [label.key, label.value]);
    let syscalls = service.syscalls.iter().map(|syscall| syscall.name);
    let mut bytes = 0;
    for index in names.into_iter().chain(labels).chain(syscalls) {
        bytes += text(batch, index)?.len();
    }
    Ok(bytes)
}

/// Checks one service and counts its samples.
fn service_profile(
    batch: &v1::Batch,
    service: &v1::ServiceProfile,
    slots: usize,
) -> Result<u64, Rejection> {
    check(!text(batch, service.service)?.is_empty(), || "a service has no name".to_owned())?;
    text(batch, service.version)?;
    text(batch, service.unit)?;
    labels(batch, &service.labels)?;
    at_most("stacks of a service", service.stacks.len(), DICTIONARY_ENTRIES_MAX)?;
    check(service.stack_steps.is_empty(), || {
        "a service names stacks by reference without a session".to_owned()
    })?;
    check(service.stacks.len() == service.counts.len(), || {
        let (stacks, counts) = (service.stacks.len(), service.counts.len());
        format!("a service has {stacks} stacks and {counts} counts")
    })?;
    check(service.stacks.is_empty() || (1..=PERIOD_NS_MAX).contains(&service.period_ns), || {
        format!("period of `{}` ns is not between 1 and {PERIOD_NS_MAX}", service.period_ns)
    })?;
    let stacks = batch.stacks.len() + slots;
    let mut samples = 0_u64;
    for (index, count) in service.stacks.iter().zip(&service.counts) {
        check((*index as usize) < stacks, || {
            format!("a service names stack `{index}` of {stacks}")
        })?;
        samples = sum(samples, *count, SAMPLES_MAX, "samples")?;
    }
    at_most("syscalls of a service", service.syscalls.len(), SYSCALLS_MAX)?;
    for syscall in &service.syscalls {
        syscall_latency(batch, syscall)?;
    }
    Ok(samples)
}

/// Checks how the walks of a service with so many samples ended; gathers the `ends` of the whole batch.
fn walks<'b>(
    service: &'b v1::ServiceProfile,
    samples: u64,
    ends: &mut BTreeSet<&'b str>,
) -> Result<(), Rejection> {
    at_most("walks of a service", service.walks.len(), WALK_ENDS_MAX)?;
    let is_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b" -_".contains(&byte);
    let mut walked = 0;
    for (index, walk) in service.walks.iter().enumerate() {
        let end = &walk.end;
        let is_short = !end.is_empty() && end.len() <= WALK_END_BYTES_MAX;
        check(is_short && end.bytes().all(is_name), || {
            format!(
                "a walk's end is not 1 to {WALK_END_BYTES_MAX} of the characters a-z 0-9 - _ and blank"
            )
        })?;
        check(service.walks[..index].iter().all(|earlier| earlier.end != *end), || {
            format!("the walk's end `{end}` stands twice in a service")
        })?;
        ends.insert(end);
        walked = sum(walked, walk.samples, SAMPLES_MAX, "walks")?;
    }
    at_most("ends of walks", ends.len(), WALK_ENDS_MAX)?;
    check(walked <= samples, || format!("a service has {walked} walks and {samples} samples"))
}

fn syscall_latency(batch: &v1::Batch, syscall: &v1::SyscallLatency) -> Result<(), Rejection> {
    check(!text(batch, syscall.name)?.is_empty(), || "a syscall has no name".to_owned())?;
    at_most("buckets of a syscall", syscall.buckets.len(), BUCKETS)?;
    check(syscall.buckets.len() == syscall.bucket_counts.len(), || {
        let (buckets, counts) = (syscall.buckets.len(), syscall.bucket_counts.len());
        format!("a syscall has {buckets} buckets and {counts} counts")
    })?;
    let mut calls = 0;
    for (bucket, count) in syscall.buckets.iter().zip(&syscall.bucket_counts) {
        check((*bucket as usize) < BUCKETS, || {
            format!("bucket `{bucket}` is not below {BUCKETS}")
        })?;
        calls = sum(calls, *count, CALLS_MAX, "calls")?;
    }
    at_most("errors of a syscall", syscall.errors.len(), ERRNO_MAX as usize)?;
    let mut failed = 0;
    for error in &syscall.errors {
        check((1..=ERRNO_MAX).contains(&error.errno), || {
            format!("errno `{}` is not between 1 and {ERRNO_MAX}", error.errno)
        })?;
        failed = sum(failed, error.count, CALLS_MAX, "failed calls")?;
    }
    Ok(())
}

fn losses(accounting: &v1::Accounting) -> Result<(), Rejection> {
    at_most("reasons of loss", accounting.lost.len(), LOSSES_MAX)?;
    let mut samples = sum(0, accounting.samples_taken, CALLS_MAX, "samples taken")?;
    for loss in &accounting.lost {
        let reason = &loss.reason;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_short = !reason.is_empty() && reason.len() <= REASON_BYTES_MAX;
        check(is_short && reason.bytes().all(is_name), || {
            format!("a reason of loss is not 1 to {REASON_BYTES_MAX} of the characters a-z 0-9 _")
        })?;
        samples = sum(samples, loss.samples, CALLS_MAX, "lost samples")?;
    }
    Ok(())
}

fn text(batch: &v1::Batch, index: u32) -> Result<&str, Rejection> {
    batch.strings.get(index as usize).map(String::as_str).ok_or_else(|| {
        Rejection::Invalid(format!("index `{index}` points past {} strings", batch.strings.len()))
    })
}

fn sum(left: u64, right: u64, limit: u64, what: &str) -> Result<u64, Rejection> {
    left.checked_add(right)
        .filter(|sum| *sum <= limit)
        .ok_or_else(|| Rejection::Invalid(format!("more than {limit} {what}")))
}

fn at_most(what: &str, count: usize, limit: usize) -> Result<(), Rejection> {
    check(count <= limit, || format!("{count} {what}, at most {limit} are allowed"))
}

pub(super) fn check(holds: bool, rule: impl FnOnce() -> String) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::Invalid(rule())) }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
