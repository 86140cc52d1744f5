//! What goes wrong in one run, chosen by its seed: which kinds of faults, how often, and for how long.

use std::io::ErrorKind;
use std::time::Duration;

use fastrand::Rng;

use crate::disk::Mood;
use crate::network::Traffic;

/// Kinds of faults that begin at some moment and end at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing passes between an agent and the collector.
    Partition,
    /// Nothing passes in one direction.
    OneWay,
    /// What is sent waits, and arrives later.
    Hold,
    /// An agent is killed, and started again later.
    KillAgent,
    /// The power of an agent's host goes.
    PowerCut,
    /// An agent dies between two steps of a write.
    DieInWrite,
    /// An agent is told to stop.
    StopAgent,
    /// The collector is killed, and started again later.
    KillCollector,
    /// An agent's disk refuses writes.
    AgentDisk,
    /// The collector's disk is full.
    CollectorDisk,
    /// A batch in an agent's spool rots.
    Rot,
}

const KINDS: [Kind; 11] = [
    Kind::Partition,
    Kind::OneWay,
    Kind::Hold,
    Kind::KillAgent,
    Kind::PowerCut,
    Kind::DieInWrite,
    Kind::StopAgent,
    Kind::KillCollector,
    Kind::AgentDisk,
    Kind::CollectorDisk,
    Kind::Rot,
];

/// A fault that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Which agent it is about; also the direction of a one-way partition.
    pub(crate) agent: usize,
    pub(crate) to_collector: bool,
    /// When it ends.
    pub(crate) until: Duration,
}

/// The plan of one run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) agents: usize,
    /// How long things go wrong.
    pub(crate) length: Duration,
    /// Time between two windows of an agent.
    pub(crate) window: Duration,
    /// Share of windows that no collector takes.
    pub(crate) poison: f64,
    /// Share of messages that break their connection, and how slow the others are.
    pub(crate) breaks: f64,
    pub(crate) latency_max: Duration,
    pub(crate) traffic: Traffic,
    /// Faults of each kind a second.
    rates: [f64; KINDS.len()],
    /// Longest fault.
    duration_max: Duration,
}

impl Plan {
    /// Draws a plan. Each run has other kinds of faults: those that never rest hide what happens between them.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let choose = |rng: &mut Rng, from: &[f64]| rng.choice(from.iter().copied()).unwrap();
        let seconds = |rng: &mut Rng, from: &[f64]| Duration::from_secs_f64(choose(rng, from));
        let per_minute = choose(rng, &[0.5, 1.0, 3.0]);
        let mut rates = [0.0; KINDS.len()];
        for rate in &mut rates {
            if rng.bool() {
                *rate = rng.f64() * per_minute / 60.0;
            }
        }
        Self {
            agents: rng.usize(1..=3),
            length: seconds(rng, &[60.0, 120.0, 240.0]),
            window: seconds(rng, &[2.0, 5.0, 10.0]),
            poison: choose(rng, &[0.0, 0.0, 0.05]),
            breaks: choose(rng, &[0.0, 0.0, 0.002, 0.01]),
            latency_max: seconds(rng, &[0.1, 0.1, 1.0, 5.0]),
            traffic: Traffic {
                late: choose(rng, &[0.0, 0.02, 0.2]),
                twice: choose(rng, &[0.0, 0.1, 0.5]),
            },
            rates,
            duration_max: seconds(rng, &[5.0, 30.0, 90.0]),
        }
    }

    /// The faults that begin within the next `step` after `now`.
    pub(crate) fn begin(&self, now: Duration, step: Duration, rng: &mut Rng) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (kind, rate) in KINDS.into_iter().zip(self.rates) {
            if rng.f64() < rate * step.as_secs_f64() {
                faults.push(Fault {
                    kind,
                    agent: rng.usize(0..self.agents),
                    to_collector: rng.bool(),
                    until: now + self.duration_max.mul_f64(rng.f64()),
                });
            }
        }
        faults
    }
}

/// How a failing disk fails.
pub(crate) fn draw_mood(rng: &mut Rng) -> Mood {
    let kind = rng.choice([ErrorKind::StorageFull, ErrorKind::Other]).unwrap();
    Mood::Failing { share: rng.choice([0.1, 0.5, 1.0]).unwrap(), kind }
}
