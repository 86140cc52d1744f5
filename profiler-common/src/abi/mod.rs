//! The interface between the kernel program and the agent: map names, limits, and records.
//!
//! Every record is `repr(C)`, has explicit sizes and no padding, and asserts its size at compile time. Values that both
//! sides need live here once.

pub mod event;
pub mod latency;
pub mod outcome;
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
    /// Memory-mapped array of [`LatencySlot`](super::latency::LatencySlot), `slots_per_cpu` for each CPU.
    pub const LATENCY: &str = "LATENCY";
    /// Hash of [`LatencySlot`](super::latency::LatencySlot) for those that found their slot taken.
    pub const LATENCY_OVERFLOW: &str = "LATENCY_OVERFLOW";
    /// Array of packed start times, indexed by the low bits of the tid.
    pub const CALL_STARTS: &str = "CALL_STARTS";
    /// Hash of packed start times for those that found their slot taken.
    pub const CALL_STARTS_OVERFLOW: &str = "CALL_STARTS_OVERFLOW";
}

/// Bytes of the sample ring. 4 MiB hold about 6,000 samples of 80 frames: more than 4 s of a 16-CPU host at 99 Hz,
/// while the agent drains ten times a second.
pub const SAMPLES_RING_BYTES: u32 = 4 << 20;

/// Bytes of the event ring: 32 bytes an event, so 8,192 processes between two drains.
pub const EVENTS_RING_BYTES: u32 = 256 << 10;

/// Most kernel frames of a sample; the kernel's own default limit (`kernel.perf_event_max_stack`).
pub const KERNEL_FRAMES_MAX: usize = 127;

/// Most user frames of a sample.
pub const USER_FRAMES_MAX: usize = 127;

/// Most processes a capture can follow at once.
pub const TARGETS_MAX: u32 = 8192;
