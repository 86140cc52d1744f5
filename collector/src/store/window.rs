//! What one unit did in one window.

use profiler_common::profile::{LatencyHistogram, Quality};

use super::WindowProfile;

/// What one unit of replication did in one window: the row that the detector tests.
#[derive(Debug, Clone, Default)]
pub struct UnitWindow {
    /// Host that the agent named.
    pub host: String,
    /// Unit of replication: instance, pod, container, or host.
    pub unit: String,
    /// Version of the service.
    pub version: String,
    /// CPU model and kernel of its host, as the agent named them; empty where it named none.
    pub machine: String,
    /// Start of the first window of this unit and version that is kept, Unix nanoseconds.
    pub since_unix_ns: u64,
    /// Start of the window, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// CPU time in nanoseconds: samples times the time each stands for.
    pub cpu_ns: u64,
    /// On-CPU samples.
    pub profile: WindowProfile,
    /// How the walks over the user stacks of these samples ended.
    pub quality: Quality,
    /// What the agents of its host took and lost in that time.
    pub lost: LostSamples,
    /// Syscalls by name.
    pub syscalls: Vec<UnitSyscall>,
}

/// Samples that agents took, and those of them that they lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostSamples {
    /// Samples taken; 0 where no agent said.
    pub taken: u64,
    /// Samples lost.
    pub lost: u64,
}

impl LostSamples {
    /// Adds those of another time or host.
    pub fn add(&mut self, other: Self) {
        self.taken = self.taken.saturating_add(other.taken);
        self.lost = self.lost.saturating_add(other.lost);
    }

    /// Share that was lost, 0 to 1; `None` where no agent said.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.taken > 0).then(|| (self.lost as f64 / self.taken as f64).min(1.0))
    }
}

/// Calls of one syscall by one unit in one window.
#[derive(Debug, Clone)]
pub struct UnitSyscall {
    /// Name of the syscall.
    pub name: String,
    /// Whether the call waits by design.
    pub waiting: bool,
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (positive errno, calls), by rising errno.
    pub errors: Vec<(u32, u64)>,
}

impl UnitSyscall {
    /// Adds all calls of the same syscall in another window or unit.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        for (errno, calls) in &other.errors {
            match self.errors.binary_search_by_key(errno, |(known, _)| *known) {
                Ok(at) => self.errors[at].1 = self.errors[at].1.saturating_add(*calls),
                Err(at) => self.errors.insert(at, (*errno, *calls)),
            }
        }
    }
}
