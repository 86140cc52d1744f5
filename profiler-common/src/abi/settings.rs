//! What the agent tells the kernel program when it loads it: read-only for the kernel afterwards.

/// Settings of one loaded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Settings {
    /// Offset of `group_leader` in `task_struct`, from the kernel's BTF; 0 where unknown, as for all offsets here.
    pub task_group_leader: u32,
    /// Offset of `start_boottime` in `task_struct`.
    pub task_start_boottime: u32,
    /// Offset of `tgid` in `task_struct`.
    pub task_tgid: u32,
    /// Offset of `mm` in `task_struct`.
    pub task_mm: u32,
    /// Offset of `signal` in `task_struct`.
    pub task_signal: u32,
    /// Offset of `live`, the number of threads, in `signal_struct`.
    pub signal_live: u32,
    /// Offset of `stack`, the kernel stack, in `task_struct`.
    pub task_stack: u32,
    /// Offset of `filename` in `linux_binprm`.
    pub binprm_filename: u32,
    /// Whether the kernel has a helper that finds the user's registers (5.15); without it they are at the end of the
    /// kernel stack, which newer kernels may pad.
    pub registers_by_helper: u32,
    /// Which processes are sampled; see [`Scope`].
    pub scope: u32,
    /// Latency slots of each CPU, a power of two; 0 when syscalls are not traced.
    pub latency_slots_per_cpu: u32,
    /// Most frames that this kernel gives for a stack (`kernel.perf_event_max_stack`).
    pub stack_frames_max: u32,
}

const _: () = assert!(size_of::<Settings>() == 48);

/// Which processes are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Scope {
    /// All of this host.
    #[default]
    All = 0,
    /// Those whose tgid is in the map `TARGETS`, and their children.
    Targets = 1,
    /// Those in the cgroup of the map `TARGET_CGROUP` and below it.
    Cgroup = 2,
}
