//! One on-CPU sample as it lies in the ring: a header, then the kernel frames, then the user frames, leaf first.

use super::{KERNEL_FRAMES_MAX, USER_FRAMES_MAX};

/// What stands before the frames of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SampleHeader {
    /// Monotonic time of the sample in nanoseconds (`CLOCK_MONOTONIC`).
    pub time_ns: u64,
    /// Start of the process in nanoseconds since boot (`CLOCK_BOOTTIME`); 0 where the kernel gave none.
    pub start_ns: u64,
    /// Cgroup (v2) of the thread.
    pub cgroup_id: u64,
    /// Process, as the initial pid namespace counts it.
    pub tgid: u32,
    /// Thread, as the initial pid namespace counts it.
    pub tid: u32,
    /// Name of the thread, zero-padded.
    pub comm: [u8; 16],
    /// Number of kernel frames that follow.
    pub kernel_frames: u16,
    /// Number of user frames that follow the kernel frames.
    pub user_frames: u16,
    /// How the user walk ended; see [`WalkEnd`].
    pub walk_end: u32,
}

/// Bytes of the header.
pub const SAMPLE_HEADER_BYTES: usize = size_of::<SampleHeader>();

/// Bytes of the largest sample.
pub const SAMPLE_BYTES_MAX: usize = SAMPLE_HEADER_BYTES + 8 * (KERNEL_FRAMES_MAX + USER_FRAMES_MAX);

const _: () = assert!(SAMPLE_HEADER_BYTES == 56);

/// How the walk over the user stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum WalkEnd {
    /// The walk stopped by itself: at the root, or where the chain of frame pointers broke.
    Stopped = 0,
    /// The stack is deeper than the limit; the frames nearest the root are missing.
    Truncated = 1,
    /// The thread has no user stack (a kernel thread).
    NoUserStack = 2,
    /// The user stack could not be read.
    Unreadable = 3,
}

impl TryFrom<u32> for WalkEnd {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        match value {
            0 => Ok(Self::Stopped),
            1 => Ok(Self::Truncated),
            2 => Ok(Self::NoUserStack),
            3 => Ok(Self::Unreadable),
            unknown => Err(unknown),
        }
    }
}
