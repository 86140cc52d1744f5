//! Makes the batch of one agent and window: self-contained, as an agent's spool holds it.

use std::cell::RefCell;

use fastrand::Rng;
use profiler_common::abi::latency::bucket_of;
use profiler_common::wire::PROTOCOL_VERSION;
use profiler_common::wire::v1::{
    Accounting, Batch, Frame, Label, ServiceProfile, Stack, SyscallLatency, WalkEndCount,
};

use super::fleet::{Fleet, Service};

/// CPU time of one sample at 19 Hz, the agent's default.
const PERIOD_NS: u64 = 1_000_000_000 / 19;

/// Draws for one window of a service end here even when there are not yet enough different stacks.
const DRAWS_MAX: u32 = 1 << 20;

/// Windows of 10 s between two releases of a service: a day.
const RELEASE_WINDOWS: u64 = 8640;

/// How far apart, in windows, the releases of two services are.
const RELEASE_STEP: u64 = 997;

/// Syscalls of each service, with the median of their latency.
const SYSCALLS: [(&str, bool, u64); 3] =
    [("read", false, 1_500), ("write", false, 4_000), ("epoll_wait", true, 2_000_000)];

/// Calls of a syscall whose latencies are drawn; the counts are scaled up.
const LATENCIES_DRAWN: u64 = 24;

/// The span of time that a batch covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Inclusive, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// Exclusive, Unix nanoseconds.
    pub end_unix_ns: u64,
}

/// A batch is known by these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentBatch {
    /// Number of the agent.
    pub agent: u32,
    /// Its start.
    pub epoch: u64,
    /// Counts from 1.
    pub sequence: u64,
    /// What it covers.
    pub window: Window,
}

thread_local! {
    /// As large as the fleet, so there is one for each thread and not one for each agent.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Tables that are used again for each batch.
#[derive(Debug, Default)]
struct Scratch {
    texts: Renumbered,
    frames: Renumbered,
    stacks: Renumbered,
    counts: Vec<u32>,
}

/// Numbers of the fleet as numbers of one batch.
#[derive(Debug, Default)]
struct Renumbered {
    /// Number in the batch + 1; 0 for those that it lacks.
    own: Vec<u32>,
    /// Numbers of the fleet, in the order of the batch.
    listed: Vec<u32>,
}

impl Renumbered {
    fn begin(&mut self, fleet_entries: usize) {
        for number in self.listed.drain(..) {
            self.own[number as usize] = 0;
        }
        self.own.resize(fleet_entries, 0);
    }

    fn number(&mut self, number: u32) -> u32 {
        let own = &mut self.own[number as usize];
        if *own == 0 {
            self.listed.push(number);
            *own = self.listed.len() as u32;
        }
        *own - 1
    }
}

impl Fleet {
    /// The batch; the same one each time.
    #[must_use]
    pub fn batch(&self, sent: SentBatch) -> Batch {
        SCRATCH.with_borrow_mut(|scratch| self.batch_with(sent, None, scratch))
    }

    /// A batch that stands for many of its window: each service has about so many samples, and all stacks that so many
    /// samples hit.
    #[must_use]
    pub fn summed(&self, sent: SentBatch, samples: u32) -> Batch {
        SCRATCH.with_borrow_mut(|scratch| self.batch_with(sent, Some(samples), scratch))
    }

    fn batch_with(
        &self,
        sent: SentBatch,
        samples_each: Option<u32>,
        scratch: &mut Scratch,
    ) -> Batch {
        let mut random = Rng::with_seed(
            self.seed ^ u64::from(sent.agent) << 40 ^ sent.sequence.wrapping_mul(0x9e37_79b9),
        );
        scratch.texts.begin(self.texts.len());
        scratch.frames.begin(self.frames.len());
        scratch.stacks.begin(self.stacks.len());
        let mut names = Names { scratch, own: Vec::new() };
        let host_labels = [("kernel", "6.12.9"), ("cpu_model", "EPYC 9354"), ("arch", "x86_64")]
            .map(|(key, value)| names.label(key, value));
        let services: Vec<ServiceProfile> = self
            .services_of(sent.agent)
            .map(|number| {
                let rows = match samples_each {
                    None => self.rows(&self.services[number as usize], names.scratch, &mut random),
                    Some(samples) => self.spread(number, samples, names.scratch, &mut random),
                };
                self.service((number, sent), rows, &mut names, &mut random)
            })
            .collect();
        let Names { scratch, own } = names;
        let samples = services.iter().flat_map(|service| &service.counts).sum();
        let stacks = self.stacks_of(scratch);
        let frames = self.frames_of(scratch, own.len() as u32);
        let texts = scratch.texts.listed.iter().map(|text| self.texts[*text as usize].clone());
        Batch {
            protocol: PROTOCOL_VERSION,
            agent_id: format!("load-{:04}", sent.agent),
            epoch: sent.epoch,
            sequence: sent.sequence,
            host: Self::host(sent.agent),
            start_unix_ns: sent.window.start_unix_ns,
            end_unix_ns: sent.window.end_unix_ns,
            strings: std::iter::once(String::new()).chain(own).chain(texts).collect(),
            frames,
            stacks,
            services,
            accounting: Some(Accounting { samples_taken: samples, lost: Vec::new() }),
            host_labels: host_labels.to_vec(),
        }
    }

    fn service(
        &self,
        (number, sent): (u32, SentBatch),
        (stacks, counts): (Vec<u32>, Vec<u64>),
        names: &mut Names<'_>,
        random: &mut Rng,
    ) -> ServiceProfile {
        let service = &self.services[number as usize];
        let ten_seconds = sent.window.start_unix_ns / 10_000_000_000;
        let release = (ten_seconds + u64::from(number) * RELEASE_STEP) / RELEASE_WINDOWS;
        let samples: u64 = counts.iter().sum();
        let truncated = samples / 50;
        ServiceProfile {
            service: names.text(&service.name),
            version: names.text(&format!("1.{release}")),
            unit: names.text(&format!("{}-{:04}", service.name, sent.agent)),
            labels: vec![names.label("executable", service.executable), names.label("env", "prod")],
            period_ns: PERIOD_NS,
            stacks,
            counts,
            syscalls: SYSCALLS.map(|syscall| names.syscall(syscall, random)).to_vec(),
            walks: vec![
                WalkEndCount { end: "whole".to_owned(), samples: samples - truncated },
                WalkEndCount { end: "truncated".to_owned(), samples: truncated },
            ],
            ..ServiceProfile::default()
        }
    }

    /// Draws samples until there are as many different stacks as a window has rows.
    fn rows(
        &self,
        service: &Service,
        scratch: &mut Scratch,
        random: &mut Rng,
    ) -> (Vec<u32>, Vec<u64>) {
        let first = service.stacks.start;
        let rows = self.size.rows.min(service.stacks.len() as u32) as usize;
        scratch.counts.clear();
        scratch.counts.resize(service.stacks.len(), 0);
        let mut ranks = Vec::with_capacity(rows);
        for _ in 0..DRAWS_MAX {
            if ranks.len() == rows {
                break;
            }
            let rank = service.zipf.rank(random.f64());
            if scratch.counts[rank] == 0 {
                ranks.push(rank as u32);
            }
            scratch.counts[rank] += 1;
        }
        let counts = ranks.iter().map(|rank| scratch.counts[*rank as usize].into()).collect();
        let stacks = ranks.iter().map(|rank| scratch.stacks.number(first + rank)).collect();
        (stacks, counts)
    }

    /// Gives each stack its share of the samples, rounded up or down so that the mean is right.
    fn spread(
        &self,
        number: u32,
        samples: u32,
        scratch: &mut Scratch,
        random: &mut Rng,
    ) -> (Vec<u32>, Vec<u64>) {
        let service = &self.services[number as usize];
        let shares = service.stacks.clone().zip(service.zipf.shares());
        shares
            .map(|(stack, share)| (stack, (share * f64::from(samples) + random.f64()) as u64))
            .filter(|(_, count)| *count > 0)
            .map(|(stack, count)| (scratch.stacks.number(stack), count))
            .unzip()
    }

    fn stacks_of(&self, scratch: &mut Scratch) -> Vec<Stack> {
        let Scratch { stacks, frames, .. } = scratch;
        let named = |stack: &u32| {
            let stack = &self.stacks[*stack as usize];
            Stack { frames: stack.iter().map(|frame| frames.number(*frame)).collect() }
        };
        stacks.listed.iter().map(named).collect()
    }

    /// Frames name texts of the fleet, which stand after the empty one and the `own` ones of the batch.
    fn frames_of(&self, scratch: &mut Scratch, own: u32) -> Vec<Frame> {
        let Scratch { texts, frames, .. } = scratch;
        let listed = frames.listed.iter().map(|frame| self.frames[*frame as usize]);
        listed
            .map(|frame| Frame {
                kind: frame.kind.into(),
                function: 1 + own + texts.number(frame.function),
                module: 1 + own + texts.number(frame.module),
                ..Frame::default()
            })
            .collect()
    }
}

/// Texts that only this batch has; a few dozen, so a list is searched as fast as a table.
struct Names<'s> {
    scratch: &'s mut Scratch,
    own: Vec<String>,
}

impl Names<'_> {
    fn text(&mut self, text: &str) -> u32 {
        let found = self.own.iter().position(|known| known == text);
        let at = found.unwrap_or_else(|| {
            self.own.push(text.to_owned());
            self.own.len() - 1
        });
        1 + at as u32
    }

    fn label(&mut self, key: &str, value: &str) -> Label {
        Label { key: self.text(key), value: self.text(value) }
    }

    fn syscall(
        &mut self,
        (name, waiting, median_ns): (&str, bool, u64),
        random: &mut Rng,
    ) -> SyscallLatency {
        let mut found: Vec<(u32, u64)> = Vec::new();
        let (mut sum_ns, mut max_ns, mut calls) = (0, 0, 0);
        for _ in 0..LATENCIES_DRAWN {
            // The sum of uniform numbers is near enough to a normal one, its power to a log-normal one.
            let normal = (0..4).map(|_| random.f64()).sum::<f64>() - 2.0;
            let latency_ns = (median_ns as f64 * 2_f64.powf(normal)) as u64;
            let count = random.u64(1..200);
            match found.iter_mut().find(|(bucket, _)| *bucket == bucket_of(latency_ns)) {
                Some((_, known)) => *known += count,
                None => found.push((bucket_of(latency_ns), count)),
            }
            sum_ns += latency_ns * count;
            max_ns = latency_ns.max(max_ns);
            calls += count;
        }
        found.sort_unstable();
        let (buckets, bucket_counts) = found.into_iter().unzip();
        let name = self.text(name);
        SyscallLatency {
            name,
            waiting,
            calls,
            sum_ns,
            max_ns,
            buckets,
            bucket_counts,
            errors: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::samples_in;
    use crate::load::FleetSize;

    fn sent(agent: u32, sequence: u64) -> SentBatch {
        let window = Window { start_unix_ns: 10, end_unix_ns: 20 };
        SentBatch { agent, epoch: 1, sequence, window }
    }

    #[test]
    fn a_batch_has_the_rows_of_its_size_and_names_only_what_it_brings() {
        let fleet = Fleet::new(FleetSize::of(200), 1);
        for agent in [0, 150, 0] {
            let batch = fleet.batch(sent(agent, 3));
            let rows: usize = batch.services.iter().map(|service| service.stacks.len()).sum();
            assert_eq!((batch.services.len(), rows as u64), (10, fleet.size().rows_per_batch()));
            let stacks = batch.services.iter().flat_map(|service| &service.stacks);
            assert_eq!(stacks.max().copied(), Some(batch.stacks.len() as u32 - 1));
            let frames = batch.stacks.iter().flat_map(|stack| &stack.frames);
            assert_eq!(frames.max().copied(), Some(batch.frames.len() as u32 - 1));
            let texts = batch.frames.iter().flat_map(|frame| [frame.function, frame.module]);
            assert_eq!(texts.max(), Some(batch.strings.len() as u32 - 1));
            let service = &batch.strings[batch.services[0].service as usize];
            assert_eq!(service, fleet.service_name(fleet.services_of(agent).start));
        }
    }

    #[test]
    fn a_batch_that_stands_for_many_has_their_samples_and_nearly_all_stacks() {
        let fleet = Fleet::new(FleetSize::of(1), 1);
        let batch = fleet.summed(sent(0, 1), 27_600);
        for service in &batch.services {
            let samples: u64 = service.counts.iter().sum();
            assert!((27_000..28_200).contains(&samples), "{samples}");
            assert!(service.stacks.len() > 850, "{}", service.stacks.len());
        }
    }

    #[test]
    fn a_batch_is_the_same_each_time_and_another_for_each_agent_and_sequence() {
        let fleet = Fleet::new(FleetSize { services: 2, rows: 20, ..FleetSize::of(2) }, 1);
        let first = fleet.batch(sent(0, 1));
        let second = fleet.batch(sent(0, 2));
        let neighbour = fleet.batch(sent(1, 1));
        assert_eq!(first, fleet.batch(sent(0, 1)));
        assert_ne!(first.services, second.services);
        assert_ne!(first.services[0].counts, neighbour.services[0].counts);
        assert!(samples_in(&first) > 40);
    }
}
