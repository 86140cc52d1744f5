//! From the kernel's rings to located stacks: the stages that one thread runs, in `run` and in `capture`.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::monotonic_ms;
use crate::drain::{Drain, DrainReport, DrainedWindow, Shown};
use crate::kernel::{Counters, Kernel, LoadOptions, support};
use crate::latency::{LatencyReader, SyscallWindow};
use crate::normalize::{LocatedSample, locate};
use crate::process::{self, Identity, ProcessKey, ProcessTable, TableOptions};
use crate::unwind::{UnwindOptions, UnwindReport, Unwinder};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// From the kernel's rings to located stacks.
#[derive(Debug)]
pub struct Sampler {
    kernel: Kernel,
    drain: Drain,
    table: ProcessTable,
    /// `None` where the kernel cannot unwind by tables.
    unwinder: Option<Unwinder>,
    latency: Option<LatencyReader>,
    period_ns: u64,
}

/// One window whose addresses are located and not yet named.
#[derive(Debug)]
pub struct LocatedWindow {
    pub(crate) period_ns: u64,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) stacks: Vec<(Arc<Identity>, LocatedSample)>,
    pub(crate) syscalls: Vec<(Arc<Identity>, SyscallWindow)>,
    /// Samples drained, those lost since included.
    pub taken: u64,
    /// Samples lost on the way, by reason.
    pub lost: Vec<(&'static str, u64)>,
}

impl Sampler {
    /// Loads the kernel program and starts to sample.
    ///
    /// # Errors
    ///
    /// When the kernel or the rights of this process allow nothing of what was asked for.
    pub fn start(
        load: &LoadOptions,
        table: TableOptions,
        unwind: &UnwindOptions,
    ) -> anyhow::Result<Self> {
        let mut kernel = Kernel::load(load).context("failed to start sampling")?;
        for missing in kernel.degraded() {
            tracing::warn!("{missing}; `flamewatch-agent check` says more");
        }
        if !support::sees_all_processes() {
            tracing::warn!(
                "/proc shows other process numbers than the kernel reports, so services stay unknown; \
                 run the agent on the host or with `--pid host` (`hostPID: true`)"
            );
        }
        let unwinder = kernel.unwind_tables().map(|upload| Unwinder::start(upload, unwind));
        Ok(Self {
            latency: kernel.latency_reader(),
            unwinder: unwinder.transpose().context("failed to start a thread")?,
            kernel,
            drain: Drain::new(),
            table: ProcessTable::new(table),
            period_ns: NANOS_PER_SECOND / u64::from(load.frequency_hz.max(1)),
        })
    }

    /// Takes everything out of the kernel's rings, and gives the processes that showed themselves what they need to be
    /// unwound.
    ///
    /// # Errors
    ///
    /// When the thread that makes unwind tables ended.
    pub fn drain(&mut self) -> anyhow::Result<DrainReport> {
        let Self { kernel, drain, table, unwinder, .. } = self;
        let now_ms = monotonic_ms();
        let report = drain.drain_watched(kernel, &mut |shown| match shown {
            Shown::Process(sign) => {
                table.observe(sign);
                if let Some(unwinder) = unwinder {
                    unwinder.observe(sign, now_ms);
                }
            }
            Shown::Walk(walk) => {
                if let Some(unwinder) = unwinder {
                    unwinder.sampled(walk, now_ms);
                }
            }
        });
        if let Some(unwinder) = unwinder {
            unwinder.work(table, now_ms)?;
        }
        Ok(report)
    }

    /// How the unwind tables stand; `None` where there are none.
    #[must_use]
    pub fn unwinding(&self) -> Option<UnwindReport> {
        self.unwinder.as_ref().map(Unwinder::report)
    }

    /// Ends the window: what was drained since the last one.
    pub fn take_window(&mut self, start_unix_ns: u64, end_unix_ns: u64) -> LocatedWindow {
        let DrainedWindow { samples, taken, lost } = self.drain.take_window();
        let latency = self.latency.as_mut();
        let syscalls =
            latency.map(|latency| latency.take_window(&process::is_alive)).unwrap_or_default();
        let mut identities = HashMap::new();
        let mut identity_of = |table: &ProcessTable, key: ProcessKey| {
            let known = identities.entry(key).or_insert_with(|| Arc::new(table.identity(key)));
            Arc::clone(known)
        };
        let table = &self.table;
        let stacks = samples
            .into_iter()
            .map(|sample| (identity_of(table, sample.process), locate(&sample, table)))
            .collect();
        let syscalls = syscalls
            .into_iter()
            .map(|syscall| (identity_of(table, syscall.process), syscall))
            .collect();
        self.table.close_window();
        let period_ns = self.period_ns;
        LocatedWindow { period_ns, start_unix_ns, end_unix_ns, stacks, syscalls, taken, lost }
    }

    /// The kernel side.
    pub fn kernel_mut(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Counts of every outcome in the kernel so far; `None` when it does not say.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        let counters = self.kernel.counters();
        counters.inspect_err(|error| tracing::warn!(%error, "failed to read the counters")).ok()
    }
}
