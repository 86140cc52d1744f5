//! Turns the kernel's growing syscall histograms into those of one window.

use profiler_common::profile::LatencyHistogram;

use crate::process::ProcessKey;

/// Calls of one syscall by one process in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallWindow {
    /// The process.
    pub process: ProcessKey,
    /// Name of the syscall, or `syscall_NUMBER`.
    pub name: String,
    /// Whether the call waits by design (`epoll_wait`, `futex`, `nanosleep`).
    pub waiting: bool,
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (positive errno, calls), by rising errno; 0 stands for an unknown one.
    pub errors: Vec<(u32, u64)>,
}
