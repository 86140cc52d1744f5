//! Makes batches from a short description.

use std::collections::BTreeMap;

use flamewatch_collector::store::{Arrival, Store, StoreError, Written};
use profiler_common::wire::{PROTOCOL_VERSION, v1};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;
/// Nothing that the suite writes is older, except what retention is to delete.
pub(crate) const T0: u64 = 20 * DAY;
/// Length of every window.
pub(crate) const WINDOW: u64 = 10 * SECOND;
/// CPU time of a sample.
pub(crate) const PERIOD: u64 = 52_631_578;

/// One batch of one service.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) agent: String,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) host: String,
    pub(crate) start: u64,
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) unit: String,
    pub(crate) labels: Vec<(String, String)>,
    /// Samples of the stacks `main;f0`, `main;f1`, and so on.
    pub(crate) counts: Vec<u64>,
    /// (calls, errors with errno 11) of `read`, each of bucket 20 and of bucket 30.
    pub(crate) reads: Option<(u64, u64)>,
    pub(crate) walks: Vec<(String, u64)>,
    pub(crate) lost: u64,
    /// Numbers the strings, frames and stacks from the end: another form of the same content.
    pub(crate) is_reversed: bool,
}

impl Sent {
    /// A batch with as little as possible in it; services of one name are of one agent and host.
    pub(crate) fn new(service: &str, sequence: u64, start: u64, counts: &[u64]) -> Self {
        Self {
            agent: format!("agent-of-{service}"),
            epoch: 1,
            sequence,
            host: "host-1".to_owned(),
            start,
            service: service.to_owned(),
            version: "v1".to_owned(),
            unit: "unit-1".to_owned(),
            labels: vec![("zone".to_owned(), "a".to_owned())],
            counts: counts.to_vec(),
            reads: None,
            walks: Vec::new(),
            lost: 0,
            is_reversed: false,
        }
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    pub(crate) fn on(mut self, host: &str, unit: &str) -> Self {
        host.clone_into(&mut self.host);
        unit.clone_into(&mut self.unit);
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn reads(mut self, calls: u64, errors: u64) -> Self {
        self.reads = Some((calls, errors));
        self
    }

    pub(crate) fn walks(mut self, walks: &[(&str, u64)]) -> Self {
        self.walks = walks.iter().map(|(end, samples)| ((*end).to_owned(), *samples)).collect();
        self
    }

    pub(crate) fn reversed(mut self) -> Self {
        self.is_reversed = !self.is_reversed;
        self
    }

    pub(crate) fn samples(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The message.
    pub(crate) fn batch(&self) -> v1::Batch {
        let mut names = Names::new(self);
        let mut order: Vec<usize> = (0..self.counts.len()).collect();
        if self.is_reversed {
            order.reverse();
        }
        let service = v1::ServiceProfile {
            service: names.of(&self.service),
            version: names.of(&self.version),
            unit: names.of(&self.unit),
            labels: self
                .labels
                .iter()
                .map(|(key, value)| v1::Label { key: names.of(key), value: names.of(value) })
                .collect(),
            period_ns: PERIOD,
            stacks: (0..u32::try_from(order.len()).unwrap()).collect(),
            counts: order.iter().map(|index| self.counts[*index]).collect(),
            syscalls: self.reads.map(|reads| read(names.of("read"), reads)).into_iter().collect(),
            walks: self
                .walks
                .iter()
                .map(|(end, samples)| v1::WalkEndCount { end: end.clone(), samples: *samples })
                .collect(),
            ..v1::ServiceProfile::default()
        };
        let main = v1::Frame { function: names.of("main"), ..frame(names.of("app")) };
        let mut frames = vec![main];
        let mut stacks = Vec::new();
        for index in order {
            let function = names.of(&format!("f{index}"));
            frames.push(v1::Frame { function, ..frame(names.of("app")) });
            stacks.push(v1::Stack { frames: vec![0, u32::try_from(frames.len()).unwrap() - 1] });
        }
        let lost = v1::Loss { reason: "ring_full".to_owned(), samples: self.lost };
        v1::Batch {
            protocol: PROTOCOL_VERSION,
            agent_id: self.agent.clone(),
            epoch: self.epoch,
            sequence: self.sequence,
            host: self.host.clone(),
            start_unix_ns: self.start,
            end_unix_ns: self.start + WINDOW,
            strings: names.strings,
            frames,
            stacks,
            services: vec![service],
            accounting: Some(v1::Accounting {
                samples_taken: self.samples() + self.lost,
                lost: (self.lost > 0).then_some(lost).into_iter().collect(),
            }),
            ..v1::Batch::default()
        }
    }

    /// Writes it whole.
    pub(crate) fn write(&self, store: &dyn Store) -> Result<Written, StoreError> {
        store.write(&Arrival::whole(self.batch(), store.hash_seed())?)
    }
}

/// Numbers strings as they come.
struct Names {
    strings: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

impl Names {
    fn new(sent: &Sent) -> Self {
        let mut names = Self { strings: vec![String::new()], numbers: BTreeMap::new() };
        if sent.is_reversed {
            for name in ["app", "main", "f9", "f8", "f7", "f1", "f0"] {
                names.of(name);
            }
        }
        names
    }

    fn of(&mut self, name: &str) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = u32::try_from(self.strings.len()).unwrap();
        self.strings.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

fn frame(module: u32) -> v1::Frame {
    v1::Frame { kind: v1::FrameKind::Native.into(), module, ..v1::Frame::default() }
}

fn read(name: u32, (calls, errors): (u64, u64)) -> v1::SyscallLatency {
    v1::SyscallLatency {
        name,
        waiting: false,
        calls: calls * 2,
        sum_ns: calls * 100,
        max_ns: 50 + calls,
        buckets: vec![20, 30],
        bucket_counts: vec![calls, calls],
        errors: (errors > 0)
            .then_some(v1::ErrnoCount { errno: 11, count: errors })
            .into_iter()
            .collect(),
    }
}
