//! Gathers named stacks and syscalls of a window by service.

use profiler_common::profile::{LatencyHistogram, Profile};

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
    /// Syscalls by name.
    pub syscalls: Vec<ServiceSyscall>,
}

/// Calls of one syscall by one service in one window.
#[derive(Debug, Clone)]
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
