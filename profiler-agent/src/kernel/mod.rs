//! Loads the kernel program, attaches it, and gives access to its rings, counters and histograms.
//!
//! The program is built by `cargo xtask ebpf` and embedded here. Dropping [`Kernel`] detaches all of it.

mod attach;
mod btf;
mod cgroup;
mod cost;
mod counters;
mod heap;
mod log;
mod slots;
mod tables;
pub mod support;

pub use cost::{ProgramCost, program_costs};
pub use counters::Counters;
pub use heap::give_memory_back;

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::perf_event::PerfEventLinkId;
use aya::programs::{Program, ProgramError};
use profiler_common::abi::maps;
use profiler_common::abi::settings::Scope;
use tracing::warn;

use crate::latency::LatencyReader;
use crate::source::SampleSource;
use crate::unwind::Upload;
use tables::KernelTables;

/// What to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Samples a second on each CPU.
    pub frequency_hz: u32,
    /// Which processes are sampled and traced.
    pub scope: Scope,
    /// The first targets, when the scope is [`Scope::Targets`].
    pub targets: Vec<u32>,
    /// Id (inode) of the cgroup of version 2, when the scope is [`Scope::Cgroup`]; those below it count too.
    pub cgroup_id: u64,
    /// Whether CPUs are sampled.
    pub cpu_samples: bool,
    /// Whether syscalls are timed.
    pub syscalls: bool,
    /// Whether the kernel side logs what it does; it costs nothing when it does not.
    pub kernel_log: bool,
}

/// Why nothing useful could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The process may not use BPF.
    #[error(
        "not allowed to use BPF: missing {missing}; run as root, or give the program CAP_BPF and CAP_PERFMON"
    )]
    NotPermitted {
        /// Capabilities that are missing.
        missing: String,
        /// What the kernel said.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refused the maps or the object.
    #[error(
        "failed to load the kernel object; `flamewatch-agent check` shows what this kernel lacks"
    )]
    Object(#[source] Box<aya::EbpfError>),
    /// A map of the object is missing or has another type; object and agent are not of one build.
    #[error("failed to open map `{0}` of the kernel object")]
    Map(&'static str),
    /// The cgroup does not exist.
    #[error("failed to find cgroup `{id}`: {reason}")]
    Cgroup {
        /// The id that was asked for.
        id: u64,
        /// Why.
        reason: String,
    },
    /// More targets than the kernel side can hold, or the map refused one.
    #[error("failed to add process `{tgid}` to the targets")]
    Target {
        /// The process.
        tgid: u32,
        /// What the kernel said.
        #[source]
        source: aya::maps::MapError,
    },
    /// None of what was asked for works on this host.
    #[error("nothing of what was asked for works on this host: {0}")]
    NothingWorks(String),
}

/// The loaded kernel program.
pub struct Kernel {
    ebpf: Ebpf,
    samples: RingBuf<MapData>,
    events: RingBuf<MapData>,
    outcomes: PerCpuArray<MapData, u64>,
    targets: HashMap<MapData, u32, u8>,
    log: Option<log::KernelLog>,
    frequency_hz: u32,
    tables: Option<KernelTables>,
    sampled_cpus: BTreeMap<u32, PerfEventLinkId>,
    samples_cpus: bool,
    traces_syscalls: bool,
    degraded: Vec<String>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Kernel")
            .field("frequency_hz", &self.frequency_hz)
            .field("sampled_cpus", &self.sampled_cpus.keys())
            .field("degraded", &self.degraded)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads and attaches what was asked for, or as much of it as this host allows; see [`Kernel::degraded`].
    ///
    /// # Errors
    ///
    /// When nothing of it works.
    pub fn load(options: &LoadOptions) -> Result<Self, LoadError> {
        let mut ebpf = attach::load_object(options)?;
        let mut kernel = Self {
            samples: attach::take_ring(&mut ebpf, maps::SAMPLES)?,
            events: attach::take_ring(&mut ebpf, maps::EVENTS)?,
            outcomes: attach::take_counters(&mut ebpf)?,
            targets: attach::take_targets(&mut ebpf)?,
            log: options.kernel_log.then(|| log::KernelLog::take(&mut ebpf)).flatten(),
            ebpf,
            frequency_hz: options.frequency_hz,
            tables: None,
            sampled_cpus: BTreeMap::new(),
            samples_cpus: false,
            traces_syscalls: false,
            degraded: Vec::new(),
        };
        kernel.set_scope(options)?;
        let sees_processes = kernel.attach_process_events();
        if options.syscalls {
            kernel.traces_syscalls = kernel.attach_syscalls(sees_processes);
        }
        if options.cpu_samples {
            kernel.samples_cpus = kernel.start_sampling();
        }
        if !kernel.traces_syscalls && !kernel.samples_cpus {
            return Err(LoadError::NothingWorks(kernel.degraded.join("; ")));
        }
        Ok(kernel)
    }

    /// What was asked for and does not work on this host, one sentence each.
    #[must_use]
    pub fn degraded(&self) -> &[String] {
        &self.degraded
    }

    /// Samples CPUs that came online since the last call, and lets go of those that went away. Returns the number of
    /// new ones.
    ///
    /// # Errors
    ///
    /// When the list of CPUs cannot be read or a CPU refuses.
    pub fn attach_new_cpus(&mut self) -> anyhow::Result<usize> {
        if !self.samples_cpus {
            return Ok(0);
        }
        let online = attach::online_cpus()?;
        let program = attach::sample_program(&mut self.ebpf)?;
        // The event of a CPU that went offline does not come back with it.
        let gone: Vec<u32> =
            self.sampled_cpus.keys().filter(|cpu| !online.contains(cpu)).copied().collect();
        for link in gone.iter().filter_map(|cpu| self.sampled_cpus.remove(cpu)) {
            program.detach(link)?;
        }
        let new: Vec<u32> =
            online.into_iter().filter(|cpu| !self.sampled_cpus.contains_key(cpu)).collect();
        for cpu in &new {
            let link = attach::attach_cpu(program, *cpu, self.frequency_hz)?;
            self.sampled_cpus.insert(*cpu, link);
        }
        Ok(new.len())
    }

    /// Adds a process to the targets; its later children follow.
    ///
    /// # Errors
    ///
    /// When the table of targets is full.
    pub fn add_target(&mut self, tgid: u32) -> Result<(), LoadError> {
        self.targets.insert(tgid, 1, 0).map_err(|source| LoadError::Target { tgid, source })
    }

    /// Detaches everything. Rings, counters and histograms stay readable, so that the last drain is exact.
    pub fn stop_sampling(&mut self) {
        self.sampled_cpus.clear();
        self.samples_cpus = false;
        for (name, program) in self.ebpf.programs_mut() {
            let unloaded = match program {
                Program::PerfEvent(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                _ => continue,
            };
            match unloaded {
                Ok(()) | Err(ProgramError::NotLoaded) => {}
                Err(error) => warn!(name, %error, "failed to unload a kernel program"),
            }
        }
    }

    /// Counts of every outcome so far.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read the counters.
    pub fn counters(&self) -> Result<Counters, aya::maps::MapError> {
        Counters::read(&self.outcomes)
    }

    /// Reads the syscall histograms; `None` when syscalls are not traced.
    #[must_use]
    pub fn latency_reader(&self) -> Option<LatencyReader> {
        if !self.traces_syscalls {
            return None;
        }
        match slots::KernelSlots::open(&self.ebpf) {
            Ok(slots) => Some(LatencyReader::new(Box::new(slots))),
            Err(error) => {
                warn!("failed to open the syscall histograms: {error:#}");
                None
            }
        }
    }

    /// Takes what writes unwind tables; `None` when CPUs are not sampled or the tables cannot be opened.
    #[must_use]
    pub fn unwind_tables(&mut self) -> Option<Box<dyn Upload>> {
        Some(Box::new(self.tables.take()?))
    }

    fn set_scope(&mut self, options: &LoadOptions) -> Result<(), LoadError> {
        match options.scope {
            Scope::All => Ok(()),
            Scope::Targets => options.targets.iter().try_for_each(|tgid| self.add_target(*tgid)),
            Scope::Cgroup => cgroup::set_target(&mut self.ebpf, options.cgroup_id),
        }
    }

    fn attach_process_events(&mut self) -> bool {
        attach::process_events(&mut self.ebpf)
            .map_err(|error| {
                self.degraded.push(format!(
                    "exec and exit are not seen, so processes are found by their samples only: {error:#}"
                ));
            })
            .is_ok()
    }

    fn attach_syscalls(&mut self, sees_processes: bool) -> bool {
        let attached = if sees_processes {
            attach::syscalls(&mut self.ebpf)
        } else {
            // Without exit events a start could outlive its thread and give a bogus latency to the next one.
            Err(anyhow::anyhow!("the end of threads is not seen"))
        };
        attached
            .map_err(|error| self.degraded.push(format!("syscalls are not timed: {error:#}")))
            .is_ok()
    }

    fn start_sampling(&mut self) -> bool {
        self.samples_cpus = true;
        match KernelTables::open(&self.ebpf) {
            Ok(tables) => self.tables = Some(tables),
            Err(error) => self
                .degraded
                .push(format!("programs without frame pointers are not unwound: {error:#}")),
        }
        if let Err(error) = attach::load_walk_program(&mut self.ebpf) {
            self.degraded.push(format!("deep stacks are cut off: {error:#}"));
        }
        let attached = attach::load_sample_program(&mut self.ebpf)
            .and_then(|()| self.attach_new_cpus().map(|_| ()));
        if let Err(error) = &attached {
            self.degraded.push(format!("CPUs are not sampled: {error:#}"));
        }
        attached.is_ok() || !self.sampled_cpus.is_empty()
    }
}

impl SampleSource for Kernel {
    fn read_samples(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        read_ring(&mut self.samples, RECORDS_PER_READ_MAX, each)
    }

    fn read_events(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        read_ring(&mut self.events, RECORDS_PER_READ_MAX, each)
    }
}

/// Most records of one read. A ring of 4 MiB holds at most 65,536 of the smallest records; the limit keeps a reader
/// that is slower than the kernel from never coming back.
const RECORDS_PER_READ_MAX: usize = 65_536;

fn read_ring(
    ring: &mut RingBuf<MapData>,
    records_max: usize,
    each: &mut dyn FnMut(&[u8]),
) -> usize {
    let mut records = 0;
    while records < records_max
        && let Some(record) = ring.next()
    {
        each(&record);
        records += 1;
    }
    records
}
