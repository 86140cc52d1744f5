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

impl SampleHeader {
    /// Splits a record into its header and its frames, or `None` when the lengths do not agree.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<(Self, RawStack<'_>)> {
        let (header, frames) = record.split_first_chunk::<SAMPLE_HEADER_BYTES>()?;
        // SAFETY: the array has exactly the size of the header, which is made of integers only, so that any bytes are
        // a valid value; `read_unaligned` asks for no alignment.
        let header = unsafe { header.as_ptr().cast::<Self>().read_unaligned() };
        let (kernel, user) = (usize::from(header.kernel_frames), usize::from(header.user_frames));
        if kernel > KERNEL_FRAMES_MAX
            || user > USER_FRAMES_MAX
            || frames.len() != FRAME_BYTES * (kernel + user)
        {
            return None;
        }
        let (kernel, user) = frames.split_at(FRAME_BYTES * kernel);
        Some((header, RawStack { kernel, user }))
    }

    /// Writes the record that the kernel would write.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn to_record(&self, kernel: &[u64], user: &[u64]) -> Vec<u8> {
        // SAFETY: the header has no padding (its size is asserted below to be the sum of its fields), so every one of
        // its bytes is initialised.
        let header: [u8; SAMPLE_HEADER_BYTES] = unsafe { core::mem::transmute(*self) };
        let frames = kernel.iter().chain(user).flat_map(|frame| frame.to_ne_bytes());
        header.into_iter().chain(frames).collect()
    }
}

/// The frames of one record, still as bytes.
#[derive(Debug, Clone, Copy)]
pub struct RawStack<'r> {
    kernel: &'r [u8],
    user: &'r [u8],
}

impl<'r> RawStack<'r> {
    /// Kernel addresses, leaf first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> + use<'r> {
        addresses(self.kernel)
    }

    /// User addresses, leaf first.
    pub fn user(&self) -> impl Iterator<Item = u64> + use<'r> {
        addresses(self.user)
    }
}

fn addresses(bytes: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
    bytes.as_chunks::<FRAME_BYTES>().0.iter().map(|frame| u64::from_ne_bytes(*frame))
}

/// Bytes of one frame.
pub const FRAME_BYTES: usize = size_of::<u64>();

/// Bytes of the header.
pub const SAMPLE_HEADER_BYTES: usize = size_of::<SampleHeader>();

/// Bytes of the largest sample.
pub const SAMPLE_BYTES_MAX: usize =
    SAMPLE_HEADER_BYTES + FRAME_BYTES * (KERNEL_FRAMES_MAX + USER_FRAMES_MAX);

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
