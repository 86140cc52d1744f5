//! Every map and the settings, in one place. The agent sets the final sizes when it loads the object.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, CgroupArray, HashMap, PerCpuArray, ProgramArray, RingBuf};
use profiler_common::abi;
use profiler_common::abi::latency::LatencySlot;
use profiler_common::abi::outcome::OUTCOMES as OUTCOMES_LEN;
use profiler_common::abi::row::{
    CHUNK_ROWS, CHUNKS_MAX, CachedRule, MAPPING_ROWS_MAX, MappingRow, PAGES_MAX, Page,
    RULE_CACHE_ENTRIES, RULES_MAX, Rule, SPACES_MAX, Space,
};
use profiler_common::abi::sample::SampleHeader;
use profiler_common::abi::settings::Settings;

use crate::registers::UserRegisters;
use crate::walk::WalkState;

/// A sample while it is put together: the program's own stack of 512 bytes is too small for it.
#[repr(C)]
pub struct Scratch {
    /// What goes to the ring: the header, and as many frames as there are.
    pub header: SampleHeader,
    pub frames: [u64; FRAMES_MAX],
    /// What the walk keeps from one program to the next.
    pub walk: WalkState,
    pub registers: UserRegisters,
}

/// A piece of the user's stack, read at once. It is a value of its own and not a part of the scratch, because who holds
/// the scratch may rely on it that nobody else writes there.
#[repr(C)]
pub struct Window {
    /// Address of the first byte, a multiple of 8.
    pub start: u64,
    /// Bytes that are there.
    pub bytes: u64,
    pub content: [u8; WINDOW_BYTES_MAX],
}

/// Room for frames: a power of two, so that a masked index is one that the verifier believes.
pub const FRAMES_MAX: usize = 1024;

/// Most bytes of the stack that are read at once; reads end with the memory page.
pub const WINDOW_BYTES_MAX: usize = 4096;

const _: () = assert!(abi::KERNEL_FRAMES_MAX + abi::USER_FRAMES_MAX < FRAMES_MAX);

#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(abi::SAMPLES_RING_BYTES, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(abi::EVENTS_RING_BYTES, 0);

#[map]
pub static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(OUTCOMES_LEN as u32, 0);

#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static TARGETS: HashMap<u32, u8> = HashMap::with_max_entries(abi::TARGETS_MAX, 0);

#[map]
pub static TARGET_CGROUP: CgroupArray = CgroupArray::with_max_entries(1, 0);

#[map]
pub static SPACES: HashMap<u32, Space> = HashMap::with_max_entries(SPACES_MAX, 0);

#[map]
pub static MAPPINGS: Array<[MappingRow; MAPPING_ROWS_MAX]> =
    Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static PAGES: Array<[Page; PAGES_MAX]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static RULES: Array<[Rule; RULES_MAX]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// One chunk of rows.
pub type Chunk = BtfArray<[u32; CHUNK_ROWS], 1, { BPF_F_MMAPABLE as usize }>;

#[btf_map]
pub static CHUNKS: ArrayOfMaps<Chunk, CHUNKS_MAX> = ArrayOfMaps::new();

/// One cache for each CPU. A value of a per-CPU map may not be as large.
#[map]
pub static RULE_CACHES: Array<[CachedRule; RULE_CACHE_ENTRIES]> = Array::with_max_entries(1, 0);

#[map]
pub static WALKS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
pub static CALL_STARTS: Array<u64> = Array::with_max_entries(abi::CALL_STARTS, 0);

#[map]
pub static CALL_STARTS_OVERFLOW: HashMap<u32, u64> =
    HashMap::with_max_entries(abi::CALL_STARTS_OVERFLOW_MAX, 0);

#[map]
pub static LATENCY: Array<LatencySlot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub static LATENCY_OVERFLOW: HashMap<u64, LatencySlot> =
    HashMap::with_max_entries(abi::LATENCY_OVERFLOW_MAX, 0);

/// An empty histogram to insert into `LATENCY_OVERFLOW`: it is larger than the program's stack.
#[map]
pub static LATENCY_EMPTY: PerCpuArray<LatencySlot> = PerCpuArray::with_max_entries(1, 0);

/// Read-only once loaded, so that the verifier drops the code of what is off.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    task_group_leader: 0,
    task_start_boottime: 0,
    task_tgid: 0,
    task_mm: 0,
    task_signal: 0,
    signal_live: 0,
    task_stack: 0,
    binprm_filename: 0,
    registers_by_helper: 0,
    scope: 0,
    latency_slots_per_cpu: 0,
    stack_frames_max: abi::FRAME_POINTER_FRAMES_MAX as u32,
};

/// Reads one field of the settings. The compiler must not know the value, the verifier shall.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: the pointer comes from a live static; volatile, because the agent overwrites the static's bytes
        // before the object is loaded.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::settings().$field) }
    };
}
pub(crate) use setting;

#[inline(always)]
pub fn settings() -> &'static Settings {
    &SETTINGS
}
