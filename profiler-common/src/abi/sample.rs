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

/// Declares the ends with name and sentence, so that no place can forget one.
macro_rules! walk_ends {
    ($($(#[doc = $doc:literal])+ $variant:ident = $index:literal, $name:literal;)+) => {
        /// How the walk over the user stack ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum WalkEnd { $($(#[doc = $doc])+ $variant = $index,)+ }

        impl WalkEnd {
            /// All ends, in the order of their indices.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name in metrics, tables and markers.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for tables and documentation.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }

        impl TryFrom<u32> for WalkEnd {
            type Error = u32;

            fn try_from(value: u32) -> Result<Self, u32> {
                match value { $($index => Ok(Self::$variant),)+ unknown => Err(unknown) }
            }
        }
    };
}

walk_ends! {
    /// The stack is whole: it reached the entry of its program or thread.
    Root = 0, "whole";
    /// The stack is deeper than the limit; the frames nearest the root are missing.
    Truncated = 1, "too deep";
    /// The thread has no user stack: a kernel thread, or one that is nearly gone.
    NoUserStack = 2, "no user stack";
    /// The memory of the stack could not be read.
    Unreadable = 3, "unreadable";
    /// The process, or the code, had no table yet; a process without any is walked by frame pointers as far as they lead.
    NoTables = 4, "no tables yet";
    /// An address lies in no mapping that the tables know.
    Unmapped = 5, "unmapped";
    /// The code has no table, and its frame pointer leads nowhere.
    FramePointerLost = 6, "frame pointer lost";
    /// The table has a rule that the walk cannot follow.
    UnsupportedRule = 7, "unsupported rule";
    /// The rule does not lead up the stack.
    Stuck = 8, "stuck";
    /// The program is a 32-bit one; its frame pointers were followed as far as they led.
    Compat32 = 9, "32-bit";
}

/// Number of ends.
pub const WALK_ENDS: usize = WalkEnd::ALL.len();
