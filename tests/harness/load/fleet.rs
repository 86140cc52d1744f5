//! Which services run on which host, and what their stacks are.

use std::collections::HashMap;

use profiler_common::wire::v1::FrameKind;

use super::recorded::{Program, programs};
use super::zipf::Zipf;

/// How large a fleet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetSize {
    /// Hosts, each with one agent.
    pub agents: u32,
    /// Hosts that run the same services.
    pub hosts_per_group: u32,
    /// Services on each host.
    pub services: u32,
    /// Different stacks of a service in one window.
    pub rows: u32,
}

impl FleetSize {
    /// The fleet that the published figures are about: groups of 100 hosts, each host with 10 services of 200 stacks.
    #[must_use]
    pub const fn of(agents: u32) -> Self {
        Self { agents, hosts_per_group: 100, services: 10, rows: 200 }
    }

    /// Stack rows in a batch.
    #[must_use]
    pub const fn rows_per_batch(self) -> u64 {
        self.services as u64 * self.rows as u64
    }
}

/// A frame by its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FrameOf {
    pub(super) kind: FrameKind,
    pub(super) function: u32,
    pub(super) module: u32,
}

/// A service of the fleet.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) executable: &'static str,
    /// Numbers of stacks of the fleet, the most frequent first.
    pub(super) stacks: std::ops::Range<u32>,
    pub(super) zipf: Zipf,
}

/// What runs on the hosts of a fleet. Services differ in all frames but the kernel's: each is a binary of its own.
#[derive(Debug)]
pub struct Fleet {
    pub(super) size: FleetSize,
    pub(super) seed: u64,
    pub(super) texts: Vec<String>,
    pub(super) frames: Vec<FrameOf>,
    /// Root first, as indices into the frames.
    pub(super) stacks: Vec<Box<[u32]>>,
    pub(super) services: Vec<Service>,
}

impl Fleet {
    /// Makes a fleet; the same seed makes the same one.
    #[must_use]
    pub fn new(size: FleetSize, seed: u64) -> Self {
        let groups = size.agents.div_ceil(size.hosts_per_group.max(1)).max(1);
        let mut build = Build::default();
        let programs = programs();
        let services = (0..groups * size.services)
            .map(|number| build.service(number, &programs[number as usize % programs.len()]))
            .collect();
        let Build { texts, frames, stacks, .. } = build;
        Self { size, seed, texts, frames, stacks, services }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> FleetSize {
        self.size
    }

    /// Name of a service by its number; those of the first group come first.
    #[must_use]
    pub fn service_name(&self, number: u32) -> &str {
        &self.services[number as usize].name
    }

    /// Numbers of the services on an agent's host.
    #[must_use]
    pub fn services_of(&self, agent: u32) -> std::ops::Range<u32> {
        let first = agent / self.size.hosts_per_group.max(1) * self.size.services;
        first..first + self.size.services
    }

    /// Name of an agent's host.
    #[must_use]
    pub fn host(agent: u32) -> String {
        format!("host-{agent:04}")
    }
}

#[derive(Default)]
struct Build {
    texts: Vec<String>,
    numbers: HashMap<String, u32>,
    frames: Vec<FrameOf>,
    frame_numbers: HashMap<FrameOf, u32>,
    stacks: Vec<Box<[u32]>>,
}

impl Build {
    fn service(&mut self, number: u32, program: &Program) -> Service {
        let name = format!("{}-{number:03}", program.name);
        let first = self.stacks.len() as u32;
        let module = self.text(&name);
        let kernel = self.text("[kernel]");
        let frames: Vec<u32> = program
            .functions
            .iter()
            .map(|(function, is_kernel)| {
                let function = self.text(function);
                self.frame(if *is_kernel {
                    FrameOf { kind: FrameKind::Kernel, function, module: kernel }
                } else {
                    FrameOf { kind: FrameKind::Native, function, module }
                })
            })
            .collect();
        let named = |stack: &Vec<u32>| stack.iter().map(|at| frames[*at as usize]).collect();
        self.stacks.extend(program.stacks.iter().map(named));
        Service {
            name,
            executable: program.name,
            stacks: first..self.stacks.len() as u32,
            zipf: Zipf::new(program.stacks.len()),
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn frame(&mut self, frame: FrameOf) -> u32 {
        let next = self.frames.len() as u32;
        let number = *self.frame_numbers.entry(frame).or_insert(next);
        if number == next {
            self.frames.push(frame);
        }
        number
    }
}
