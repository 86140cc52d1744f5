//! Turns one window into batches that keep the limits of the wire format.
//!
//! Usually that is one batch. A window too large for one is halved, by service and then by stack, until each part fits;
//! what fits no batch even alone is counted and left out. Identity, sequence and accounting are put in by the outbox.

use std::ops::Range;

use indexmap::{IndexMap, IndexSet};
use profiler_common::profile::{Frame, FrameKind, Quality};
use profiler_common::wire::{
    BATCH_BYTES_MAX, DICTIONARY_ENTRIES_MAX, PROTOCOL_VERSION, SERVICES_MAX, STACK_FRAMES_MAX,
    STRING_BYTES_MAX, v1,
};
use prost::Message;

use crate::fold::{ServiceSyscall, ServiceWindow, Window};
use crate::symbolize::TRUNCATED;

/// Room for what the outbox adds: agent id, host, and a loss entry for each of a few dozen reasons.
const OUTBOX_BYTES: usize = 64 << 10;

/// Stands for a name that is empty, and for a stack without frames: a collector refuses a batch with one.
const UNNAMED: &str = "[unnamed]";

/// Most syscalls of one service in a batch. Linux has fewer than 500; a process may call any number.
const SYSCALLS_MAX: usize = 1024;

/// Largest errno. It also stands for those that the kernel side does not tell apart, such as those of drivers.
const ERRNO_MAX: u32 = 4095;

/// Longest name of a host, in bytes; the kernel's own ends at 64.
const HOST_BYTES_MAX: usize = 255;

/// Facts about this host that every batch carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Name of the host.
    pub host: String,
    /// Facts that stratify comparisons: kernel, `cpu_model`, arch.
    pub labels: Vec<(String, String)>,
}

/// A window in the wire format.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// Batches without identity, and the samples of each; at least one, so that a quiet host is heard as well.
    pub batches: Vec<(v1::Batch, u64)>,
    /// Samples that fit no batch.
    pub too_large: u64,
}

/// Encodes a window within the limits of the wire format.
#[must_use]
pub fn encode(window: &Window, facts: &HostFacts) -> Encoded {
    encode_within(window, facts, BATCH_BYTES_MAX - OUTBOX_BYTES)
}

fn encode_within(window: &Window, facts: &HostFacts, bytes_max: usize) -> Encoded {
    let parts: Vec<Part<'_>> = window.services.iter().map(Part::whole).collect();
    let mut encoded = Encoded { batches: Vec::new(), too_large: 0 };
    // Each entry is a list of parts for one batch; halving ends at single stacks.
    let mut waiting = vec![parts];
    while let Some(parts) = waiting.pop() {
        let batch = Builder::new(window, facts).build(&parts);
        let samples = parts.iter().map(Part::samples).sum();
        if fits(&batch, bytes_max) {
            encoded.batches.push((batch, samples));
        } else if let Some((first, second)) = halve(parts) {
            waiting.push(second);
            waiting.push(first);
        } else {
            encoded.too_large += samples;
        }
    }
    if encoded.batches.is_empty() {
        encoded.batches.push((Builder::new(window, facts).build(&[]), 0));
    }
    encoded
}

/// A service, or some of its stacks.
#[derive(Debug, Clone)]
struct Part<'w> {
    service: &'w ServiceWindow,
    stacks: Range<usize>,
    with_syscalls: bool,
}

impl<'w> Part<'w> {
    fn whole(service: &'w ServiceWindow) -> Self {
        Self { service, stacks: 0..service.profile.stacks().len(), with_syscalls: true }
    }

    fn stacks(&self) -> impl Iterator<Item = (&'w [u32], u64)> + use<'w> {
        self.service.profile.stacks().skip(self.stacks.start).take(self.stacks.len())
    }

    fn samples(&self) -> u64 {
        self.stacks().map(|(_, count)| count).sum()
    }

    /// The walks of these samples. Which end belongs to which stack is not known here, but for a whole service: of one
    /// that is split each part gets as many as it has samples, and all parts together have each once.
    fn walks(&self) -> Vec<v1::WalkEndCount> {
        let before = self.service.profile.stacks().take(self.stacks.start);
        let from = before.fold(0_u64, |sum, (_, count)| sum.saturating_add(count));
        overlap(&self.service.walks, from, from.saturating_add(self.samples()))
    }
}

/// What lies between two samples when all walks are laid in a row, end by end.
fn overlap(walks: &Quality, from: u64, to: u64) -> Vec<v1::WalkEndCount> {
    let mut begin = 0_u64;
    let mut found = Vec::new();
    for (end, samples) in walks.ends() {
        let stop = begin.saturating_add(samples);
        let samples = stop.min(to).saturating_sub(begin.max(from));
        if samples > 0 {
            found.push(v1::WalkEndCount { end: end.to_owned(), samples });
        }
        begin = stop;
    }
    found
}

/// Splits the parts of a batch in two; `None` when there is nothing left to split.
fn halve(mut parts: Vec<Part<'_>>) -> Option<(Vec<Part<'_>>, Vec<Part<'_>>)> {
    if parts.len() > 1 {
        let second = parts.split_off(parts.len() / 2);
        return Some((parts, second));
    }
    let only = parts.pop()?;
    if only.stacks.len() + usize::from(only.with_syscalls && !only.service.syscalls.is_empty()) < 2
    {
        return None;
    }
    let middle = only.stacks.start + only.stacks.len() / 2;
    let first = Part { stacks: only.stacks.start..middle, ..only.clone() };
    let second = Part { stacks: middle..only.stacks.end, with_syscalls: false, ..only };
    Some((vec![first], vec![second]))
}

fn fits(batch: &v1::Batch, bytes_max: usize) -> bool {
    batch.strings.len() <= DICTIONARY_ENTRIES_MAX
        && batch.frames.len() <= DICTIONARY_ENTRIES_MAX
        && batch.stacks.len() <= DICTIONARY_ENTRIES_MAX
        && batch.services.len() <= SERVICES_MAX
        && batch.encoded_len() <= bytes_max
}

/// Fills the dictionary of one batch.
struct Builder<'w> {
    strings: IndexSet<&'w str>,
    frames: IndexMap<&'w Frame, v1::Frame>,
    stacks: IndexSet<Vec<u32>>,
    truncated: &'w Frame,
    unnamed: &'w Frame,
    batch: v1::Batch,
}

impl<'w> Builder<'w> {
    fn new(window: &Window, facts: &'w HostFacts) -> Self {
        static TRUNCATED_FRAME: std::sync::LazyLock<Frame> =
            std::sync::LazyLock::new(|| Frame::marker(TRUNCATED));
        static UNNAMED_FRAME: std::sync::LazyLock<Frame> =
            std::sync::LazyLock::new(|| Frame::marker(UNNAMED));
        let mut builder = Self {
            strings: IndexSet::from([""]),
            frames: IndexMap::new(),
            stacks: IndexSet::new(),
            truncated: &TRUNCATED_FRAME,
            unnamed: &UNNAMED_FRAME,
            batch: v1::Batch {
                protocol: PROTOCOL_VERSION,
                host: host_name(&facts.host),
                start_unix_ns: window.start_unix_ns,
                end_unix_ns: window.end_unix_ns,
                ..v1::Batch::default()
            },
        };
        builder.batch.host_labels = builder.labels(&facts.labels);
        builder
    }

    fn build(mut self, parts: &[Part<'w>]) -> v1::Batch {
        let services = parts.iter().map(|part| self.service(part)).collect();
        v1::Batch {
            strings: self.strings.into_iter().map(str::to_owned).collect(),
            frames: self.frames.into_values().collect(),
            stacks: self.stacks.into_iter().map(|frames| v1::Stack { frames }).collect(),
            services,
            ..self.batch
        }
    }

    fn service(&mut self, part: &Part<'w>) -> v1::ServiceProfile {
        let ServiceWindow { identity, period_ns, profile, walks: _, syscalls } = part.service;
        let (mut stacks, mut counts) = (Vec::new(), Vec::new());
        for (stack, count) in part.stacks() {
            let cut = stack.len().saturating_sub(STACK_FRAMES_MAX);
            // The marker takes the place of one more frame.
            let kept = &stack[if cut > 0 { cut + 1 } else { 0 }..];
            let marker = (cut > 0).then_some(self.truncated);
            let marker = if stack.is_empty() { Some(self.unnamed) } else { marker };
            let frames = marker
                .into_iter()
                .chain(kept.iter().filter_map(|index| profile.frames().get_index(*index as usize)));
            let frames: Vec<u32> = frames.map(|frame| self.frame(frame)).collect();
            stacks.push(index_of(self.stacks.insert_full(frames).0));
            counts.push(count);
        }
        let syscalls = if part.with_syscalls { syscalls.as_slice() } else { &[] };
        v1::ServiceProfile {
            service: self.name(&identity.service),
            version: self.string(&identity.version),
            unit: self.string(&identity.unit),
            labels: self.labels(&identity.labels),
            period_ns: *period_ns,
            stacks,
            counts,
            syscalls: busiest(syscalls).into_iter().map(|syscall| self.syscall(syscall)).collect(),
            walks: part.walks(),
            stack_steps: Vec::new(),
        }
    }

    fn syscall(&mut self, syscall: &'w ServiceSyscall) -> v1::SyscallLatency {
        let histogram = &syscall.histogram;
        let (buckets, bucket_counts) = histogram.buckets().unzip();
        let error = |(errno, count): &(u32, u64)| v1::ErrnoCount {
            errno: if *errno == 0 { ERRNO_MAX } else { *errno },
            count: *count,
        };
        v1::SyscallLatency {
            name: self.name(&syscall.name),
            waiting: syscall.waiting,
            calls: histogram.calls(),
            sum_ns: histogram.sum_ns,
            max_ns: histogram.max_ns,
            buckets,
            bucket_counts,
            errors: syscall.errors.iter().map(error).collect(),
        }
    }

    fn frame(&mut self, frame: &'w Frame) -> u32 {
        if let Some(index) = self.frames.get_index_of(frame) {
            return index_of(index);
        }
        let kind = match frame.kind {
            FrameKind::Native => v1::FrameKind::Native,
            FrameKind::Inlined => v1::FrameKind::Inlined,
            FrameKind::Kernel => v1::FrameKind::Kernel,
            FrameKind::Jit => v1::FrameKind::Jit,
            FrameKind::Marker => v1::FrameKind::Marker,
        };
        let encoded = v1::Frame {
            kind: kind.into(),
            function: self.name(&frame.function),
            module: self.string(&frame.module),
            file: self.string(&frame.file),
            line: frame.line,
            build_id: self.string(&frame.build_id),
        };
        index_of(self.frames.insert_full(frame, encoded).0)
    }

    fn labels(&mut self, labels: &'w [(String, String)]) -> Vec<v1::Label> {
        labels
            .iter()
            .map(|(key, value)| v1::Label { key: self.string(key), value: self.string(value) })
            .collect()
    }

    /// A string that may not be empty.
    fn name(&mut self, name: &'w str) -> u32 {
        self.string(if name.is_empty() { UNNAMED } else { name })
    }

    fn string(&mut self, string: &'w str) -> u32 {
        index_of(self.strings.insert_full(cut(string)).0)
    }
}

/// The syscalls with the most calls, in their order, when there are more than fit.
fn busiest(syscalls: &[ServiceSyscall]) -> Vec<&ServiceSyscall> {
    let mut chosen: Vec<&ServiceSyscall> = syscalls.iter().collect();
    if chosen.len() > SYSCALLS_MAX {
        chosen.sort_by_key(|syscall| std::cmp::Reverse(syscall.histogram.calls()));
        chosen.truncate(SYSCALLS_MAX);
        chosen.sort_by_key(|syscall| &syscall.name);
    }
    chosen
}

/// The name without what a collector refuses in one.
fn host_name(host: &str) -> String {
    let name: String = host.chars().filter(|c| !c.is_control()).collect();
    let name = &name[..name.floor_char_boundary(HOST_BYTES_MAX)];
    if name.is_empty() { UNNAMED.to_owned() } else { name.to_owned() }
}

/// Cuts a string to the limit of the wire format, between characters.
fn cut(string: &str) -> &str {
    &string[..string.floor_char_boundary(STRING_BYTES_MAX)]
}

fn index_of(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 entries fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Identity;
    use profiler_common::abi::sample::WalkEnd;
    use profiler_common::profile::{LatencyHistogram, Profile};

    fn service(name: &str, stacks: &[(Vec<Frame>, u64)]) -> ServiceWindow {
        let mut profile = Profile::default();
        let mut walks = Quality::default();
        for (frames, count) in stacks {
            profile.add(frames, *count);
            walks.add(WalkEnd::Root.name(), count / 2);
            walks.add(WalkEnd::Truncated.name(), count - count / 2);
        }
        let mut histogram = LatencyHistogram::default();
        histogram.add(3, 2);
        ServiceWindow {
            identity: Identity {
                service: name.to_owned(),
                version: "v1".to_owned(),
                unit: "host".to_owned(),
                labels: vec![("exe".to_owned(), name.to_owned())],
            },
            period_ns: 1,
            profile,
            walks,
            syscalls: vec![ServiceSyscall {
                name: "fsync".to_owned(),
                waiting: false,
                histogram,
                errors: vec![(5, 1)],
            }],
        }
    }

    fn window(services: Vec<ServiceWindow>) -> Window {
        Window { start_unix_ns: 1, end_unix_ns: 2, services }
    }

    /// (service, folded stack, count) of all batches, sorted: what a collector would read.
    fn read(batches: &[(v1::Batch, u64)]) -> Vec<(String, String, u64)> {
        let mut read = Vec::new();
        for (batch, _) in batches {
            let string = |index: u32| batch.strings[index as usize].clone();
            for service in &batch.services {
                for (stack, count) in service.stacks.iter().zip(&service.counts) {
                    let frames = &batch.stacks[*stack as usize].frames;
                    let names: Vec<String> =
                        frames.iter().map(|f| string(batch.frames[*f as usize].function)).collect();
                    read.push((string(service.service), names.join(";"), *count));
                }
            }
        }
        read.sort();
        read
    }

    fn many_stacks(count: usize) -> Vec<(Vec<Frame>, u64)> {
        (0..count)
            .map(|i| (vec![Frame::marker("main"), Frame::marker(&format!("f{i}"))], i as u64 + 1))
            .collect()
    }

    #[test]
    fn a_quiet_window_is_still_a_batch() {
        let encoded = encode(&window(Vec::new()), &HostFacts::default());
        assert_eq!(encoded.batches.len(), 1);
        assert_eq!(encoded.batches[0].0.strings, [""]);
        assert_eq!(encoded.batches[0].1, 0);
    }

    #[test]
    fn splitting_keeps_every_sample_and_each_syscall_once() {
        let whole = window(vec![service("a", &many_stacks(50)), service("b", &many_stacks(200))]);
        let facts = HostFacts { host: "h".to_owned(), labels: Vec::new() };
        let one = encode(&whole, &facts);
        let many = encode_within(&whole, &facts, 1_000);
        assert_eq!(one.batches.len(), 1);
        assert!(many.batches.len() > 5);
        assert_eq!(many.too_large, 0);
        assert_eq!(read(&many.batches), read(&one.batches));
        let syscalls = |encoded: &Encoded| -> usize {
            encoded.batches.iter().flat_map(|(b, _)| &b.services).map(|s| s.syscalls.len()).sum()
        };
        assert_eq!((syscalls(&one), syscalls(&many)), (2, 2));
        assert_eq!(walks(&many.batches), walks(&one.batches));
        assert_eq!(walks(&one.batches), {
            let mut all = Quality::default();
            whole.services.iter().for_each(|service| all.merge(&service.walks));
            all
        });
        for (batch, samples) in &many.batches {
            assert!(batch.encoded_len() <= 1_000);
            assert_eq!(*samples, batch.services.iter().flat_map(|s| &s.counts).sum::<u64>());
            for service in &batch.services {
                let walked: u64 = service.walks.iter().map(|walk| walk.samples).sum();
                assert_eq!(walked, service.counts.iter().sum::<u64>());
            }
        }
    }

    /// How the walks of all batches ended.
    fn walks(batches: &[(v1::Batch, u64)]) -> Quality {
        let mut read = Quality::default();
        let services = batches.iter().flat_map(|(batch, _)| &batch.services);
        for walk in services.flat_map(|service| &service.walks) {
            read.add(&walk.end, walk.samples);
        }
        read
    }

    #[test]
    fn what_fits_no_batch_is_counted() {
        let giant = vec![Frame::marker(&"x".repeat(2_000))];
        let mut stacks = many_stacks(3);
        stacks.push((giant, 40));
        let encoded =
            encode_within(&window(vec![service("a", &stacks)]), &HostFacts::default(), 1_000);
        assert_eq!(encoded.too_large, 40);
        assert_eq!(read(&encoded.batches).iter().map(|(_, _, count)| count).sum::<u64>(), 6);
    }

    #[test]
    fn long_strings_and_deep_stacks_are_cut_to_the_limits() {
        let deep: Vec<Frame> = (0..2_000).map(|i| Frame::marker(&format!("f{i}"))).collect();
        let long = vec![Frame::marker(&"é".repeat(STRING_BYTES_MAX))];
        let encoded =
            encode(&window(vec![service("a", &[(deep, 1), (long, 1)])]), &HostFacts::default());
        let batch = &encoded.batches[0].0;
        assert!(batch.strings.iter().all(|string| string.len() <= STRING_BYTES_MAX));
        let deepest = &batch.stacks[0].frames;
        assert_eq!(deepest.len(), STACK_FRAMES_MAX);
        let name = |frame: u32| &batch.strings[batch.frames[frame as usize].function as usize];
        assert_eq!(name(deepest[0]), TRUNCATED);
        assert_eq!(name(deepest[STACK_FRAMES_MAX - 1]), "f1999");
    }

    #[test]
    fn nothing_that_a_process_can_do_makes_a_batch_that_is_refused() {
        let mut nasty = service("", &[(Vec::new(), 1), (vec![Frame::marker("")], 1)]);
        nasty.syscalls[0].errors = vec![(0, 3)];
        let mut rare = nasty.syscalls[0].clone();
        rare.histogram = LatencyHistogram::default();
        rare.histogram.add(3, 1);
        for number in 0..2048 {
            rare.name = format!("ia32_syscall_{number}");
            nasty.syscalls.insert(0, rare.clone());
        }
        let host = format!("\n{}", "h".repeat(300));
        let encoded = encode(&window(vec![nasty]), &HostFacts { host, labels: Vec::new() });
        let (batch, samples) = &encoded.batches[0];
        assert_eq!((*samples, encoded.too_large), (2, 0));
        assert_eq!(batch.host, "h".repeat(HOST_BYTES_MAX));
        assert!(batch.stacks.iter().all(|stack| !stack.frames.is_empty()));
        assert!(batch.frames.iter().all(|frame| frame.function != 0));
        let service = &batch.services[0];
        assert_ne!(service.service, 0);
        assert_eq!(service.syscalls.len(), SYSCALLS_MAX);
        let fsync = service.syscalls.iter().find(|s| batch.strings[s.name as usize] == "fsync");
        assert_eq!(fsync.unwrap().errors, [v1::ErrnoCount { errno: ERRNO_MAX, count: 3 }]);
    }
}
