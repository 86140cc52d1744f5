//! Loads the object with its settings, and attaches its programs.

use anyhow::Context as _;
use aya::maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::perf_event::{
    PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
};
use aya::programs::{PerfEvent, ProgramError, ProgramType, RawTracePoint};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};
use profiler_common::abi::latency::LatencySlot;
use profiler_common::abi::settings::Settings;
use profiler_common::abi::{self, FRAME_POINTER_FRAMES_MAX, maps, programs};

use super::{LoadError, LoadOptions, btf, log, support};

/// The kernel side, built by `cargo xtask ebpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!("../../../profiler-ebpf/prebuilt/flamewatch.bpf.o");

/// Most memory for histograms. Half of it is what a host with 8 CPUs uses; larger hosts get fewer slots a CPU, and what
/// finds no slot goes to the slower table.
const LATENCY_BYTES_MAX: usize = 32 << 20;

/// Most histograms of one CPU: 40 busy processes with 25 syscalls each.
const LATENCY_SLOTS_PER_CPU_MAX: usize = 1024;

/// Fewest histograms of one CPU, whatever the number of CPUs.
const LATENCY_SLOTS_PER_CPU_MIN: usize = 64;

/// Smallest size of a ring: what is not used should not cost memory.
const UNUSED_RING_BYTES: u32 = 4096;

/// Open files that are asked for: 1,024 CPUs, all executables of a window, and room.
const OPEN_FILES_WANTED: u64 = 16_384;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct SettingsBytes(Settings);

// SAFETY: the settings are integers without padding (their size is asserted beside the type), and the wrapper is
// transparent, so every byte is initialised.
unsafe impl Pod for SettingsBytes {}

/// Loads the object and creates its maps; no program is loaded yet.
pub(super) fn load_object(options: &LoadOptions) -> Result<Ebpf, LoadError> {
    raise_memory_limit();
    raise_file_limit();
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| cpus.max(1));
    let slots_per_cpu = if options.syscalls { latency_slots_per_cpu(cpus) } else { 0 };
    let settings = settings(options, slots_per_cpu);
    let level = if options.kernel_log { log::LEVEL_ALL } else { log::LEVEL_OFF };
    let mut loader = EbpfLoader::new();
    // The object has no relocations against the kernel's types, so reading all of them would be for nothing.
    loader.btf(None);
    loader.override_global(abi::SETTINGS, &settings, true);
    loader.override_global(log::LEVEL, &level, true);
    if options.syscalls {
        // Fits: at least 64 slots a CPU, at most 32 MiB or 64 slots a CPU in all.
        loader.map_max_entries(maps::LATENCY, (cpus * slots_per_cpu) as u32);
    } else {
        for unused in [maps::CALL_STARTS, maps::CALL_STARTS_OVERFLOW, maps::LATENCY_OVERFLOW] {
            loader.map_max_entries(unused, 1);
        }
    }
    if !options.kernel_log {
        loader.map_max_entries(log::RING, UNUSED_RING_BYTES);
    }
    if options.cpu_samples {
        loader.map_max_entries(maps::RULE_CACHES, cpus as u32);
    } else {
        loader.map_max_entries(maps::SAMPLES, UNUSED_RING_BYTES);
        loader.map_max_entries(maps::SPACES, 1);
    }
    loader.load(OBJECT).map_err(explain)
}

/// A refusal that comes from missing capabilities says which.
fn explain(error: EbpfError) -> LoadError {
    let missing = support::missing_capabilities();
    if missing.is_empty() {
        LoadError::Object(Box::new(error))
    } else {
        LoadError::NotPermitted { missing: missing.join(" and "), source: Box::new(error) }
    }
}

fn settings(options: &LoadOptions, slots_per_cpu: usize) -> SettingsBytes {
    let mut settings = Settings {
        scope: options.scope as u32,
        latency_slots_per_cpu: slots_per_cpu as u32,
        stack_frames_max: support::stack_frames_max().min(FRAME_POINTER_FRAMES_MAX as u32),
        registers_by_helper: u32::from(finds_registers_by_helper()),
        ..Settings::default()
    };
    btf::fill_offsets(&mut settings);
    SettingsBytes(settings)
}

/// Whether a sample may ask the kernel for the registers of user code. When it cannot be tried out, the older way is
/// taken, which needs no helper.
fn finds_registers_by_helper() -> bool {
    is_helper_supported(ProgramType::PerfEvent, BpfHelper::BPF_FUNC_task_pt_regs).unwrap_or(false)
}

fn latency_slots_per_cpu(cpus: usize) -> usize {
    let fit = LATENCY_BYTES_MAX / (cpus * size_of::<LatencySlot>());
    // The largest power of two that fits.
    let power = 1 << fit.max(1).ilog2();
    usize::clamp(power, LATENCY_SLOTS_PER_CPU_MIN, LATENCY_SLOTS_PER_CPU_MAX)
}

/// Before Linux 5.11 maps count against the limit of locked memory. When it cannot be raised, loading says so.
fn raise_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "failed to raise the limit of locked memory");
    }
}

/// Each CPU takes an open file, and so does each executable that is named: a large host needs more than the usual 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // No limit at all is fine as well.
    let Some(current) = limit.current else { return };
    let wanted = limit.maximum.unwrap_or(OPEN_FILES_WANTED).min(OPEN_FILES_WANTED);
    if current < wanted
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
    {
        tracing::debug!(%error, "failed to raise the limit of open files");
    }
}

pub(super) fn take_ring(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<RingBuf<MapData>, LoadError> {
    take(ebpf, name)
}

pub(super) fn take_counters(ebpf: &mut Ebpf) -> Result<PerCpuArray<MapData, u64>, LoadError> {
    take(ebpf, maps::OUTCOMES)
}

pub(super) fn take_targets(ebpf: &mut Ebpf) -> Result<HashMap<MapData, u32, u8>, LoadError> {
    take(ebpf, maps::TARGETS)
}

fn take<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError> {
    ebpf.take_map(name).and_then(|map| M::try_from(map).ok()).ok_or(LoadError::Map(name))
}

/// Attaches what tells of exec, exit and fork.
pub(super) fn process_events(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    attach_tracepoint(ebpf, programs::PROCESS_EXIT, "sched_process_exit")?;
    attach_tracepoint(ebpf, programs::PROCESS_EXEC, "sched_process_exec")?;
    attach_tracepoint(ebpf, programs::PROCESS_FORK, "sched_process_fork")
}

/// Attaches both edges of the syscalls: the end first, so that no start is left behind.
pub(super) fn syscalls(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    attach_tracepoint(ebpf, programs::CALL_EXIT, "sys_exit")?;
    attach_tracepoint(ebpf, programs::CALL_ENTER, "sys_enter")
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
) -> anyhow::Result<()> {
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).context("the object lacks the program")?.try_into()?;
    program.load().map_err(short).with_context(|| format!("failed to load program `{name}`"))?;
    program
        .attach(tracepoint)
        .with_context(|| format!("failed to attach to tracepoint `{tracepoint}`"))?;
    Ok(())
}

/// The verifier's whole log does not belong into one sentence; its end says what it did not like.
fn short(error: ProgramError) -> anyhow::Error {
    /// Lines of the verifier's log that are kept.
    const LINES_KEPT: usize = 3;
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return error.into();
    };
    let log = verifier_log.to_string();
    tracing::debug!("verifier: {log}");
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    let end = lines[lines.len().saturating_sub(LINES_KEPT)..].join(" / ");
    anyhow::Error::new(io_error).context(format!("refused by the kernel ({end})"))
}

/// Loads the program that takes samples.
pub(super) fn load_sample_program(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    load_perf_event(ebpf, programs::SAMPLE)
}

/// Loads the program that goes on with deep stacks, and lets the other one and itself call it.
pub(super) fn load_walk_program(ebpf: &mut Ebpf) -> anyhow::Result<()> {
    load_perf_event(ebpf, programs::WALK_ON)?;
    let program = perf_event(ebpf, programs::WALK_ON)?.fd()?.try_clone()?;
    let walks = ebpf.map_mut(maps::WALKS).context("the object lacks the table of programs")?;
    ProgramArray::try_from(walks)?.set(0, &program, 0)?;
    Ok(())
}

pub(super) fn sample_program(ebpf: &mut Ebpf) -> anyhow::Result<&mut PerfEvent> {
    perf_event(ebpf, programs::SAMPLE)
}

fn load_perf_event(ebpf: &mut Ebpf, name: &'static str) -> anyhow::Result<()> {
    perf_event(ebpf, name)?
        .load()
        .map_err(short)
        .with_context(|| format!("failed to load program `{name}`"))
}

fn perf_event<'e>(ebpf: &'e mut Ebpf, name: &'static str) -> anyhow::Result<&'e mut PerfEvent> {
    Ok(ebpf.program_mut(name).context("the object lacks the program")?.try_into()?)
}

/// Samples everything on one CPU.
pub(super) fn attach_cpu(
    program: &mut PerfEvent,
    cpu: u32,
    frequency_hz: u32,
) -> anyhow::Result<PerfEventLinkId> {
    program
        .attach(
            PerfEventConfig::Software(SoftwareEvent::CpuClock),
            PerfEventScope::AllProcessesOneCpu { cpu },
            SamplePolicy::Frequency(u64::from(frequency_hz)),
            false,
        )
        .with_context(|| format!("failed to sample CPU {cpu} at {frequency_hz} Hz"))
}

/// Opens and closes the event that samples a CPU, to see whether this process may.
pub(super) fn try_cpu_clock() -> std::io::Result<()> {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    /// `PERF_TYPE_SOFTWARE`; the configuration 0 is `PERF_COUNT_SW_CPU_CLOCK`.
    const SOFTWARE: u64 = 1;
    /// `PERF_ATTR_SIZE_VER0`: type and size, configuration, period, and five words that stay 0.
    const ATTRIBUTE_WORDS: usize = 8;
    const PERIOD_NS: u64 = 1_000_000_000;
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    let mut attributes = [0u64; ATTRIBUTE_WORDS];
    attributes[0] = (SOFTWARE | (8 * ATTRIBUTE_WORDS as u64) << 32).to_le();
    attributes[2] = PERIOD_NS;
    let cpu = online_cpus().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0);
    // SAFETY: the kernel reads as many bytes as the size in the attributes says, which is that of the array; all other
    // arguments are numbers: every process, one CPU, no group.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, CLOSE_ON_EXEC)
    };
    let fd = i32::try_from(fd).map_err(std::io::Error::other)?;
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just now and belongs to nobody else.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

pub(super) fn online_cpus() -> anyhow::Result<Vec<u32>> {
    aya::util::online_cpus().map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("failed to read `{path}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        use rustix::process::{Resource, getrlimit};
        raise_file_limit();
        let limit = getrlimit(Resource::Nofile);
        let allowed = limit.maximum.map_or(OPEN_FILES_WANTED, |most| most.min(OPEN_FILES_WANTED));
        assert!(limit.current.is_none_or(|current| current >= allowed));
    }

    #[test]
    fn slots_are_a_power_of_two_within_the_memory_limit() {
        for cpus in 1..=8192 {
            let slots = latency_slots_per_cpu(cpus);
            assert!(slots.is_power_of_two());
            let bytes = slots * cpus * size_of::<LatencySlot>();
            assert!(bytes <= LATENCY_BYTES_MAX || slots == LATENCY_SLOTS_PER_CPU_MIN, "{cpus}");
            assert!(u32::try_from(slots * cpus).is_ok());
        }
    }
}
