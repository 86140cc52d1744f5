//! Gathers named stacks and syscalls of a window by service.
//!
//! Pure: what comes out depends on what was added, never on the order in which it was.

use std::collections::BTreeMap;

use profiler_common::profile::{Frame, LatencyHistogram, Profile};

use crate::latency::SyscallWindow;
use crate::process::Identity;

/// One window of this host, ready to be shipped or written to a file.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Start, Unix time in nanoseconds, inclusive.
    pub start_unix_ns: u64,
    /// End, Unix time in nanoseconds, exclusive.
    pub end_unix_ns: u64,
    /// What each service did, sorted by identity.
    pub services: Vec<ServiceWindow>,
}

/// What one service did in a window.
#[derive(Debug, Clone)]
pub struct ServiceWindow {
    /// Which service.
    pub identity: Identity,
    /// CPU time that one sample stands for, in nanoseconds.
    pub period_ns: u64,
    /// On-CPU samples.
    pub profile: Profile,
    /// Syscalls, sorted by name; a name stands twice only when it both waits and does not.
    pub syscalls: Vec<ServiceSyscall>,
}

/// Calls of one syscall by one service in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSyscall {
    /// Name of the syscall.
    pub name: String,
    /// Whether the call waits by design.
    pub waiting: bool,
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (positive errno, calls), by rising errno.
    pub errors: Vec<(u32, u64)>,
}

/// Gathers one window; processes with the same identity become one service.
#[derive(Debug)]
pub struct Folder {
    period_ns: u64,
    services: BTreeMap<Identity, Gathered>,
}

/// What was added to one service so far.
#[derive(Debug, Default)]
struct Gathered {
    stacks: BTreeMap<Box<[Frame]>, u64>,
    syscalls: BTreeMap<(String, bool), Calls>,
}

/// Calls of one syscall so far.
#[derive(Debug, Default)]
struct Calls {
    histogram: LatencyHistogram,
    errors: BTreeMap<u32, u64>,
}

impl Folder {
    /// Starts an empty window in which each sample stands for `period_ns` nanoseconds of CPU time.
    #[must_use]
    pub fn new(period_ns: u64) -> Self {
        Self { period_ns, services: BTreeMap::new() }
    }

    /// Adds `count` samples of a stack given root first.
    pub fn add_stack(&mut self, identity: &Identity, frames: &[Frame], count: u64) {
        let stacks = &mut self.service(identity).stacks;
        if let Some(known) = stacks.get_mut(frames) {
            *known = known.saturating_add(count);
        } else {
            stacks.insert(frames.into(), count);
        }
    }

    /// Adds the calls of one syscall of one process.
    pub fn add_syscall(&mut self, identity: &Identity, window: SyscallWindow) {
        let SyscallWindow { process: _, name, waiting, histogram, errors } = window;
        let calls = self.service(identity).syscalls.entry((name, waiting)).or_default();
        calls.histogram.merge(&histogram);
        for (errno, count) in errors {
            let known = calls.errors.entry(errno).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Ends the window: services sorted by identity, stacks by frames, syscalls by name.
    #[must_use]
    pub fn finish(self, start_unix_ns: u64, end_unix_ns: u64) -> Window {
        let period_ns = self.period_ns;
        let services = self
            .services
            .into_iter()
            .map(|(identity, gathered)| gathered.into_window(identity, period_ns))
            .collect();
        Window { start_unix_ns, end_unix_ns, services }
    }

    fn service(&mut self, identity: &Identity) -> &mut Gathered {
        // Looked up first: most calls meet a known service, and an identity is dear to clone.
        if !self.services.contains_key(identity) {
            self.services.insert(identity.clone(), Gathered::default());
        }
        self.services.get_mut(identity).expect("it was inserted above if it was missing")
    }
}

impl Gathered {
    fn into_window(self, identity: Identity, period_ns: u64) -> ServiceWindow {
        let mut profile = Profile::default();
        for (stack, count) in &self.stacks {
            profile.add(stack.iter(), *count);
        }
        let syscalls = self
            .syscalls
            .into_iter()
            .map(|((name, waiting), Calls { histogram, errors })| ServiceSyscall {
                name,
                waiting,
                histogram,
                errors: errors.into_iter().collect(),
            })
            .collect();
        ServiceWindow { identity, period_ns, profile, syscalls }
    }
}
