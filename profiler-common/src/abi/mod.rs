//! The interface between the kernel program and the agent: map names, limits, and records.
//!
//! Every record is `repr(C)`, has explicit sizes and no padding, and asserts its size at compile time. Values that both
//! sides need live here once.

pub mod event;
pub mod latency;
pub mod outcome;
pub mod row;
pub mod sample;
pub mod settings;

/// Names of the maps, as the kernel program declares them and the agent looks them up.
pub mod maps {
    /// Ring buffer of [`sample`](super::sample) records.
    pub const SAMPLES: &str = "SAMPLES";
    /// Ring buffer of [`event`](super::event) records.
    pub const EVENTS: &str = "EVENTS";
    /// Per-CPU array of `u64` counters, indexed by [`Outcome`](super::outcome::Outcome).
    pub const OUTCOMES: &str = "OUTCOMES";
    /// Hash of target tgids; used when [`Settings`](super::settings::Settings) asks for it.
    pub const TARGETS: &str = "TARGETS";
    /// Cgroup array whose one entry is the cgroup that is sampled.
    pub const TARGET_CGROUP: &str = "TARGET_CGROUP";
    /// Memory-mapped array of [`LatencySlot`](super::latency::LatencySlot), `slots_per_cpu` for each CPU.
    pub const LATENCY: &str = "LATENCY";
    /// Hash of [`LatencySlot`](super::latency::LatencySlot) for those that found their slot taken.
    pub const LATENCY_OVERFLOW: &str = "LATENCY_OVERFLOW";
    /// Array of packed start times, indexed by the low bits of the tid.
    pub const CALL_STARTS: &str = "CALL_STARTS";
    /// Hash of packed start times for those that found their slot taken.
    pub const CALL_STARTS_OVERFLOW: &str = "CALL_STARTS_OVERFLOW";
    /// Hash from tgid to [`Space`](super::row::Space).
    pub const SPACES: &str = "SPACES";
    /// Memory-mapped arena of [`MappingRow`](super::row::MappingRow).
    pub const MAPPINGS: &str = "MAPPINGS";
    /// Memory-mapped arena of [`Page`](super::row::Page).
    pub const PAGES: &str = "PAGES";
    /// Memory-mapped arena of [`Rule`](super::row::Rule).
    pub const RULES: &str = "RULES";
    /// Array of chunks; each is an array with one memory-mapped arena of rows.
    pub const CHUNKS: &str = "CHUNKS";
    /// Array of caches from address to rule, one for each CPU.
    pub const RULE_CACHES: &str = "RULE_CACHES";
    /// Program array of the programs that a walk goes on in.
    pub const WALKS: &str = "WALKS";
}

/// Name of the read-only [`Settings`](settings::Settings) in the object.
pub const SETTINGS: &str = "SETTINGS";

/// Names of the programs in the object.
pub mod programs {
    /// One on-CPU sample; perf event.
    pub const SAMPLE: &str = "sample";
    /// Walks the user stack of a sample; perf event, called by [`SAMPLE`].
    pub const WALK_ON: &str = "walk_on";
    /// Raw tracepoint `sched_process_exec`.
    pub const PROCESS_EXEC: &str = "process_exec";
    /// Raw tracepoint `sched_process_exit`.
    pub const PROCESS_EXIT: &str = "process_exit";
    /// Raw tracepoint `sched_process_fork`.
    pub const PROCESS_FORK: &str = "process_fork";
    /// Raw tracepoint `sys_enter`.
    pub const CALL_ENTER: &str = "call_enter";
    /// Raw tracepoint `sys_exit`.
    pub const CALL_EXIT: &str = "call_exit";
}

/// Bytes of the sample ring. 4 MiB hold about 6,000 samples of 80 frames: more than 4 s of a 16-CPU host at 99 Hz,
/// while the agent drains ten times a second. Of the deepest stacks it holds about 650.
pub const SAMPLES_RING_BYTES: u32 = 4 << 20;

/// Bytes of the event ring: 176 bytes an event with its ring header, so 1,489 of them between two drains.
pub const EVENTS_RING_BYTES: u32 = 256 << 10;

/// Most kernel frames of a sample; the kernel's own default limit (`kernel.perf_event_max_stack`).
pub const KERNEL_FRAMES_MAX: usize = 127;

/// Most user frames of a sample.
pub const USER_FRAMES_MAX: usize = 768;

/// Most user frames that the kernel's own walk by frame pointers gives (`kernel.perf_event_max_stack`).
pub const FRAME_POINTER_FRAMES_MAX: usize = 127;

/// Slots of `CALL_STARTS`: one for each value of the low 16 bits of a tid.
pub const CALL_STARTS: u32 = 1 << 16;

/// Most calls in flight that found their slot taken. With more than 65,536 thread numbers in use, two threads that
/// share the low bits must both be inside a call.
pub const CALL_STARTS_OVERFLOW_MAX: u32 = 8192;

/// Most histograms that found their slot taken; 5.8 MB.
pub const LATENCY_OVERFLOW_MAX: u32 = 2048;

/// Most processes a capture can follow at once.
pub const TARGETS_MAX: u32 = 8192;
