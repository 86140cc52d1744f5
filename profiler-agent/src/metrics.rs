//! Every metric of the agent, with its help text.
//!
//! The accounting and the agent's own cost are read when they are asked for; the rest is set by the pipeline.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use profiler_common::abi::outcome::{Class, Outcome};
use profiler_common::abi::sample::WalkEnd;
use profiler_common::profile::Quality;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};

use crate::ship::{SharedOutbox, reason};
use crate::unwind::UnwindMetrics;

/// What the pipeline sets. Cloning shares the values.
#[derive(Debug, Clone)]
pub struct Metrics {
    outcomes: Family<Vec<(String, String)>, Counter>,
    frames: Family<Vec<(String, String)>, Counter>,
    stacks: Family<Vec<(String, String)>, Counter>,
    /// Time between the end of a window and its lying in the spool, in seconds.
    pub window_work: Histogram,
    /// Length of the windows, in seconds.
    pub window_length: Histogram,
    /// Samples per second and CPU.
    pub frequency: Gauge,
    /// How the unwind tables stand.
    pub unwinding: UnwindMetrics,
    /// Processes and CPUs that are sampled may change; failures to follow them count here.
    pub attach_failures: Counter,
}

impl Metrics {
    /// Registers all metrics of the agent.
    #[must_use]
    pub fn register(registry: &mut Registry, outbox: SharedOutbox) -> Self {
        let metrics = Self {
            outcomes: Family::default(),
            frames: Family::default(),
            stacks: Family::default(),
            window_work: Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]),
            window_length: Histogram::new([1.0, 5.0, 9.0, 10.5, 12.0, 20.0, 60.0, 300.0]),
            frequency: Gauge::default(),
            unwinding: UnwindMetrics::default(),
            attach_failures: Counter::default(),
        };
        // Ends that never come stand at zero, so that an alert on one can be written before it does.
        for end in WalkEnd::ALL {
            metrics.add_walks(end.name(), 0);
        }
        let agent = registry.sub_registry_with_prefix("flamewatch_agent");
        agent.register(
            "kernel_outcomes",
            "Passes through the kernel program by how they ended",
            metrics.outcomes.clone(),
        );
        agent.register(
            "frames",
            "Unique frames of each window by whether they got a name",
            metrics.frames.clone(),
        );
        agent.register(
            "stacks",
            "Samples by how the walk over their user stack ended",
            metrics.stacks.clone(),
        );
        agent.register(
            "window_work_seconds",
            "Time to name, fold and spool a window",
            metrics.window_work.clone(),
        );
        agent.register(
            "window_length_seconds",
            "Length of windows; longer than asked for when naming the last one took too long",
            metrics.window_length.clone(),
        );
        agent.register("frequency_hertz", "Samples per second and CPU", metrics.frequency.clone());
        agent.register(
            "attach_failures",
            "Failed tries to sample a CPU that came online",
            metrics.attach_failures.clone(),
        );
        metrics.unwinding.register(agent.sub_registry_with_prefix("unwind"));
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        agent.register("build", "Version of this program", Info::new(version));
        registry.register_collector(Box::new(OnDemand { outbox, kernel_lost: known_reasons() }));
        metrics
    }

    /// Sets the counter of one outcome to its total.
    pub fn set_outcome(&self, outcome: Outcome, total: u64) {
        let label = vec![("outcome".to_owned(), outcome.name().to_owned())];
        raise(self.outcomes.get_or_create(&label).inner(), total);
    }

    /// Counts the unique frames of a window.
    pub fn add_frames(&self, named: u64, unnamed: u64) {
        for (naming, frames) in [("named", named), ("unnamed", unnamed)] {
            let label = vec![("naming".to_owned(), naming.to_owned())];
            self.frames.get_or_create(&label).inc_by(frames);
        }
    }

    /// Counts the samples of a window by how the walk over their user stack ended.
    pub fn add_quality(&self, walks: &Quality) {
        walks.ends().for_each(|(end, samples)| self.add_walks(end, samples));
    }

    fn add_walks(&self, end: &str, samples: u64) {
        let label = vec![("end".to_owned(), end.to_owned())];
        self.stacks.get_or_create(&label).inc_by(samples);
    }
}

fn raise(counter: &AtomicU64, total: u64) {
    counter.fetch_max(total, Ordering::Relaxed);
}

fn known_reasons() -> Vec<&'static str> {
    let kernel = Outcome::ALL.iter().filter(|outcome| outcome.class() == Class::SampleLost);
    kernel.map(|outcome| outcome.name()).chain(reason::ALL.iter().copied()).collect()
}

/// What is read at each scrape.
#[derive(Debug)]
struct OnDemand {
    outbox: SharedOutbox,
    kernel_lost: Vec<&'static str>,
}

impl Collector for OnDemand {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (totals, (spool_bytes, spool_batches)) = {
            let outbox = self.outbox.lock();
            (outbox.totals(), outbox.spooled())
        };
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)
        };
        counter("flamewatch_agent_samples_taken", "Samples that the kernel took", totals.taken)?;
        counter(
            "flamewatch_agent_samples_acknowledged",
            "Samples that the collector has stored",
            totals.acknowledged,
        )?;
        let mut gauge = |name: &str, help: &str, value: u64| {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)
        };
        gauge(
            "flamewatch_agent_samples_pending",
            "Samples on their way: in the kernel's ring, in the window, or in the spool",
            totals.pending,
        )?;
        gauge("flamewatch_agent_spool_bytes", "Bytes that wait for the collector", spool_bytes)?;
        gauge(
            "flamewatch_agent_spool_batches",
            "Batches that wait for the collector",
            spool_batches as u64,
        )?;
        gauge("flamewatch_agent_resident_bytes", "Memory of this process", resident_bytes())?;
        let metric = encoder.encode_descriptor(
            "flamewatch_agent_cpu_seconds",
            "CPU time of this process",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(cpu_seconds()).encode(metric)?;
        let mut lost = encoder.encode_descriptor(
            "flamewatch_agent_samples_lost",
            "Samples that never arrive, by reason",
            None,
            MetricType::Counter,
        )?;
        let mut reasons = totals.lost;
        for reason in &self.kernel_lost {
            reasons.entry((*reason).to_owned()).or_default();
        }
        for (reason, samples) in reasons {
            let label = [("reason", reason.as_str())];
            ConstCounter::new(samples).encode(lost.encode_family(&label)?)?;
        }
        Ok(())
    }
}

/// CPU time of this process in seconds, user and kernel.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory of this process in bytes; 0 when /proc does not say.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
