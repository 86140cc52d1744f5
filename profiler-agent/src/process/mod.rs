//! The process table: who runs on this host, what is mapped where, and which service it is.

/// A process, told apart from an earlier one with the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process, as the initial pid namespace counts it.
    pub tgid: u32,
    /// Start in nanoseconds since boot (`CLOCK_BOOTTIME`); 0 where the kernel gave none.
    pub start_ns: u64,
}

/// Which service a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Name of the service.
    pub service: String,
    /// Its version; the build id of the executable when nothing else gives one.
    pub version: String,
    /// The unit of replication: service instance, pod, container or host, the first that is known.
    pub unit: String,
    /// Further facts, sorted by key: container, pod, environment, executable.
    pub labels: Vec<(String, String)>,
}
