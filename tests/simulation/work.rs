//! What an agent's host does: windows of stacks, each kept here to be compared with what the store says.

use std::collections::BTreeMap;

use fastrand::Rng;
use flamewatch_agent::fold::{ServiceWindow, Window};
use flamewatch_agent::process::Identity;
use profiler_common::profile::{Frame, Profile, Quality};

/// Windows lie so far apart that no roll-up joins two of them.
pub(crate) const APART_NS: u64 = 86_400 * 1_000_000_000;

/// Start of the first window: any time within the collector's retention.
pub(crate) const FIRST_NS: u64 = 1_600_041_600_000_000_000;

/// Length of a window.
const WINDOW_NS: u64 = 10_000_000_000;

/// Services; all agents have the same.
pub(crate) const SERVICES: [&str; 2] = ["api", "database"];

/// Stacks that come again and again, in each service.
const STACKS: u64 = 40;

/// Samples by service and stack, frames joined by `;`.
pub(crate) type Content = BTreeMap<(String, String), u64>;

/// All windows of one host.
#[derive(Debug)]
pub(crate) struct Work {
    host: String,
    /// By start; a poisoned one has no content, because no collector takes it.
    pub(crate) windows: BTreeMap<u64, Content>,
    /// Share of stacks that never come again.
    novelty: f64,
    next: u64,
}

impl Work {
    pub(crate) fn new(host: String, rng: &mut Rng) -> Self {
        let novelty = rng.choice([0.0, 0.05, 0.5]).unwrap();
        Self { host, windows: BTreeMap::new(), novelty, next: 0 }
    }

    /// A window of so many samples.
    pub(crate) fn window(&mut self, samples: u64, is_poison: bool, rng: &mut Rng) -> Window {
        let number = self.next;
        self.next += 1;
        // No collector takes a window of 1970.
        let start = if is_poison { number + 1 } else { FIRST_NS + number * APART_NS };
        let mut content = Content::new();
        let mut profiles = [Profile::default(), Profile::default()];
        let mut left = samples;
        while left > 0 {
            let count = rng.u64(1..=left.min(30));
            left -= count;
            let at = rng.usize(0..SERVICES.len());
            let names = self.stack(number, rng);
            let frames: Vec<Frame> = names.iter().map(|name| Frame::marker(name)).collect();
            profiles[at].add(&frames, count);
            *content.entry((SERVICES[at].to_owned(), names.join(";"))).or_default() += count;
        }
        self.windows.insert(start, if is_poison { Content::new() } else { content });
        let services = SERVICES.iter().zip(profiles).filter(|(_, profile)| !profile.is_empty());
        Window {
            start_unix_ns: start,
            end_unix_ns: start + WINDOW_NS,
            services: services.map(|(name, profile)| service(name, profile)).collect(),
        }
    }

    fn stack(&self, window: u64, rng: &mut Rng) -> Vec<String> {
        let depth = rng.u64(1..8);
        let number = rng.u64(0..STACKS);
        let mut names: Vec<String> =
            (0..depth).map(|at| format!("f{}", number / (at + 1))).collect();
        if rng.f64() < self.novelty {
            names.push(format!("only in window {window} of {} ({number})", self.host));
        }
        names
    }
}

fn service(name: &str, profile: Profile) -> ServiceWindow {
    let identity = Identity {
        service: name.to_owned(),
        version: "v1".to_owned(),
        unit: String::new(),
        labels: Vec::new(),
    };
    let mut walks = Quality::default();
    walks.add("whole", profile.total());
    ServiceWindow { identity, period_ns: 10_000_000, profile, walks, syscalls: Vec::new() }
}
