//! Turns the bytes of the sample ring into raw samples, and counts equal ones together.

use profiler_common::abi::sample::WalkEnd;

use crate::process::ProcessKey;

/// A stack of addresses of one process, and how often it was seen in the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSample {
    /// The process.
    pub process: ProcessKey,
    /// Name of the thread that was sampled first with this stack.
    pub comm: String,
    /// Cgroup (v2) of the thread.
    pub cgroup_id: u64,
    /// Kernel addresses, leaf first.
    pub kernel: Box<[u64]>,
    /// User addresses, leaf first. All but the first are return addresses.
    pub user: Box<[u64]>,
    /// How the user walk ended.
    pub walk_end: WalkEnd,
    /// Number of samples.
    pub count: u64,
}
