//! Life of processes as the kernel reports it: exec and exit.

/// One event of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessEvent {
    /// Start of the process in nanoseconds since boot; 0 where the kernel gave none.
    pub start_ns: u64,
    /// Cgroup (v2) of the thread.
    pub cgroup_id: u64,
    /// Process, as the initial pid namespace counts it.
    pub tgid: u32,
    /// An [`EventKind`].
    pub kind: u32,
    /// Name of the thread at the time, zero-padded.
    pub comm: [u8; 16],
    /// Path of the program as it was given to exec, cut off and zero-padded; empty at exit and where unknown.
    pub path: [u8; PATH_BYTES],
}

/// Most bytes of a path, the last one zero.
pub const PATH_BYTES: usize = 128;

impl ProcessEvent {
    /// Reads a record, or `None` when its length is not that of an event.
    #[must_use]
    pub fn parse(record: &[u8]) -> Option<Self> {
        let record: &[u8; PROCESS_EVENT_BYTES] = record.try_into().ok()?;
        // SAFETY: the array has exactly the size of the event, which is made of integers only, so that any bytes are a
        // valid value; `read_unaligned` asks for no alignment.
        Some(unsafe { record.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// Writes the record that the kernel would write.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        // SAFETY: the event has no padding (its size is asserted below to be the sum of its fields), so every one of
        // its bytes is initialised.
        let record: [u8; PROCESS_EVENT_BYTES] = unsafe { core::mem::transmute(*self) };
        record.to_vec()
    }
}

/// Bytes of an event.
pub const PROCESS_EVENT_BYTES: usize = size_of::<ProcessEvent>();

const _: () = assert!(PROCESS_EVENT_BYTES == 40 + PATH_BYTES);

/// What happened to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// It runs another program now.
    Exec = 1,
    /// Its last thread ended.
    Exit = 2,
}

impl TryFrom<u32> for EventKind {
    type Error = u32;

    fn try_from(value: u32) -> Result<Self, u32> {
        match value {
            1 => Ok(Self::Exec),
            2 => Ok(Self::Exit),
            unknown => Err(unknown),
        }
    }
}
