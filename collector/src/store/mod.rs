//! Keeps what was accepted, and answers questions about profiles.

use profiler_common::profile::{LatencyHistogram, Profile};

/// A span of time, Unix nanoseconds, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Inclusive.
    pub start_unix_ns: u64,
    /// Exclusive.
    pub end_unix_ns: u64,
}

/// Which profiles a question is about: all of a service whose labels match.
///
/// `version`, `host` and `unit` are matched like any other label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    /// The service.
    pub service: String,
    /// (key, value) pairs that must all be equal.
    pub labels: Vec<(String, String)>,
}

/// What one unit of replication did in one window: the row that the detector tests.
#[derive(Debug, Clone)]
pub struct UnitWindow {
    /// Host that the agent named.
    pub host: String,
    /// Unit of replication: instance, pod, container, or host.
    pub unit: String,
    /// Version of the service.
    pub version: String,
    /// Start of the window, Unix nanoseconds.
    pub start_unix_ns: u64,
    /// CPU time in nanoseconds: samples times the time each stands for.
    pub cpu_ns: u64,
    /// On-CPU samples.
    pub profile: Profile,
    /// Syscalls by name.
    pub syscalls: Vec<UnitSyscall>,
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
