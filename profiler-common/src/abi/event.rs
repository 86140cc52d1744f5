//! Life of processes as the kernel reports it: exec and exit.

/// One event of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessEvent {
    /// Start of the process in nanoseconds since boot; 0 where the kernel gave none.
    pub start_ns: u64,
    /// Process, as the initial pid namespace counts it.
    pub tgid: u32,
    /// An [`EventKind`].
    pub kind: u32,
    /// Name of the thread at the time, zero-padded.
    pub comm: [u8; 16],
}

/// Bytes of an event.
pub const PROCESS_EVENT_BYTES: usize = size_of::<ProcessEvent>();

const _: () = assert!(PROCESS_EVENT_BYTES == 32);

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
