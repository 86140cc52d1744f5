//! All stages in order: the one file that sees them all.
//!
//! Two threads share the work, so that naming a window never delays the kernel's ring:
//!
//! - sampling: drain → process table → normalize, every 100 ms; closes a window when it is due *and* the other thread is
//!   ready for it, so a slow host gets longer windows instead of a queue;
//! - naming: symbolize → fold → ship, once per window.
//!
//! The end of each stage ends the next: sampling, naming, shipping, admin. An end that nobody asked for is an error.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Pulse, Readiness};
use crate::args::RunArguments;
use crate::clock::{unix_ns, window_times};
use crate::fold::{Folder, Window};
use crate::host;
use crate::kernel::{LoadOptions, give_memory_back};
use crate::metrics::Metrics;
use crate::process::TableOptions;
use crate::sampler::{LocatedWindow, Sampler};
use crate::ship::client::Client;
use crate::ship::encode::HostFacts;
use crate::ship::{Outbox, OutboxOptions, SharedOutbox, Shipper};
use crate::symbolize::Symbolizer;
use crate::target::Target;
use crate::unwind::UnwindOptions;

/// Time between two drains; the kernel's ring holds several seconds.
pub const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// Folder inside the state folder that keeps unwind tables from one run to the next.
pub const TABLES_FOLDER: &str = "unwind";

/// Drains between two readings of the kernel's counters.
const DRAINS_PER_COUNT: u32 = 10;

/// How long the stages may take to end: orchestrators kill after 30 s, and then nothing more is written. A read of
/// `/proc` may hang for as long as the process that it is about.
const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// How long writing the books at the end may take.
const LAST_WORD_DEADLINE: Duration = Duration::from_secs(3);

/// Names and folds a window.
#[must_use]
pub fn name(window: LocatedWindow, symbolizer: &mut Symbolizer) -> Window {
    let mut folder = Folder::new(window.period_ns);
    // Each stack goes as soon as it is folded: those of compilers are deep.
    for (identity, sample) in window.stacks {
        folder.add_stack(&identity, &symbolizer.name(&sample), sample.walk_end, sample.count);
    }
    symbolizer.close_window();
    for (identity, syscall) in window.syscalls {
        folder.add_syscall(&identity, syscall);
    }
    folder.finish(window.start_unix_ns, window.end_unix_ns)
}

/// Samples this host until SIGTERM or ctrl-c.
///
/// # Errors
///
/// When something cannot be set up, or a stage ends by itself.
pub async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let host = arguments.host.clone().unwrap_or_else(host::name);
    let epoch = unix_ns();
    let client = make_client(&arguments)?;
    let listener = TcpListener::bind(arguments.admin).await.with_context(|| {
        format!("failed to listen on `{}`; choose another with --admin", arguments.admin)
    })?;
    let facts = HostFacts { host: host.clone(), labels: host::labels() };
    let options = OutboxOptions { spool_bytes_max: arguments.spool_bytes_max, epoch, facts };
    let outbox = SharedOutbox::new(Outbox::open(&arguments.state_dir, options)?);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, outbox.clone());
    metrics.frequency.set(i64::from(arguments.frequency));
    let table = TableOptions {
        host,
        service: arguments.service.clone(),
        version: arguments.service_version.clone(),
    };
    let load = load_options(&arguments)?;
    let unwind = UnwindOptions {
        bytes_max: arguments.unwind_bytes_max,
        cache: Some(arguments.state_dir.join(TABLES_FOLDER)),
    };
    let start = move || Sampler::start(&load, table, &unwind);
    let sampler = tokio::task::spawn_blocking(start).await??;
    log_start(&arguments, &outbox);

    let stop = CancellationToken::new();
    let (readiness, pulse) = (Readiness::default(), Pulse::new());
    let (sender, receiver) = mpsc::channel(1);
    let sampling = Sampling {
        sampler,
        outbox: outbox.clone(),
        metrics: metrics.clone(),
        window: Duration::from_secs(arguments.window),
        windows: sender,
        pulse: pulse.clone(),
        stop: stop.clone(),
    };
    let naming =
        Naming { outbox: outbox.clone(), metrics, windows: receiver, readiness: readiness.clone() };
    let shipper = Shipper { outbox: outbox.clone(), client };
    let admin = Admin { listener, registry, readiness, pulse };
    let stages = spawn(sampling, naming, shipper, admin);
    notify_service_manager(&[sd_notify::NotifyState::Ready]);

    let ended = supervise(stages, stop).await;
    // A stage that hangs may hold the books.
    let last_word = tokio::task::spawn_blocking(move || finish(&outbox));
    if timeout(LAST_WORD_DEADLINE, last_word).await.is_err() {
        tracing::warn!("the state folder does not answer; the accounting was not written");
    }
    ended
}

/// Starts all stages, chained so that the end of each, a panic included, tells the next to stop.
fn spawn(
    sampling: Sampling,
    naming: Naming,
    shipper: Shipper,
    admin: Admin,
) -> JoinSet<anyhow::Result<()>> {
    let shipping_stop = CancellationToken::new();
    let admin_stop = CancellationToken::new();
    let mut stages = JoinSet::new();
    // The naming thread ends with the channel, which ends with the sampling thread.
    stages.spawn_blocking(move || sampling.run().context("sampling failed"));
    let naming_end = shipping_stop.clone().drop_guard();
    stages.spawn_blocking(move || {
        let _at_end = naming_end;
        naming.run();
        Ok(())
    });
    let shipping_end = admin_stop.clone().drop_guard();
    stages.spawn(async move {
        let _at_end = shipping_end;
        shipper.run(shipping_stop).await.context("shipping failed")
    });
    stages.spawn(admin.run(admin_stop));
    stages
}

/// Waits for a signal or the end of a stage, then for the end of all.
async fn supervise(
    mut stages: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to wait for SIGINT")?;
    // Whatever ends this, the stages end too: the runtime waits for their threads.
    let _at_end = stop.clone().drop_guard();
    let too_late = async {
        stop.cancelled().await;
        sleep(STOP_DEADLINE).await;
    };
    tokio::pin!(too_late);
    let mut outcome = Ok(());
    loop {
        let ended = tokio::select! {
            ended = stages.join_next() => ended,
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            () = &mut too_late => {
                let seconds = STOP_DEADLINE.as_secs();
                return outcome.and(Err(anyhow!("a stage did not end within {seconds} s")));
            }
        };
        match ended {
            None if stages.is_empty() => return outcome,
            None if stop.is_cancelled() => return Err(anyhow!("told twice to stop; left at once")),
            None => {
                tracing::info!("told to stop; shipping the last window");
                notify_service_manager(&[sd_notify::NotifyState::Stopping]);
                stop.cancel();
            }
            Some(ended) => {
                let asked_for = stop.is_cancelled();
                stop.cancel();
                let ended = ended.context("a stage panicked").and_then(|ended| ended);
                if outcome.is_ok() {
                    outcome = match ended {
                        Ok(()) if !asked_for => Err(anyhow!("a stage ended by itself")),
                        ended => ended,
                    };
                }
            }
        }
    }
}

/// The thread between the kernel and the naming thread.
struct Sampling {
    sampler: Sampler,
    outbox: SharedOutbox,
    metrics: Metrics,
    window: Duration,
    windows: mpsc::Sender<LocatedWindow>,
    /// Beats while this thread drains and the naming thread takes its windows.
    pulse: Pulse,
    stop: CancellationToken,
}

impl Sampling {
    fn run(mut self) -> anyhow::Result<()> {
        let mut last_end = unix_ns();
        let mut started = Instant::now();
        for round in 1u32.. {
            std::thread::sleep(DRAIN_INTERVAL);
            if self.stop.is_cancelled() {
                break;
            }
            self.sampler.drain()?;
            if round.is_multiple_of(DRAINS_PER_COUNT)
                && let Some(mut outbox) = self.outbox.try_lock()
            {
                count(&self.sampler, &mut outbox, &self.metrics);
            }
            if started.elapsed() < self.window {
                self.pulse.beat();
                continue;
            }
            match self.windows.clone().try_reserve_owned() {
                Ok(permit) => {
                    let length = started.elapsed();
                    let (start, end) = window_times(last_end, unix_ns(), length);
                    permit.send(self.sampler.take_window(start, end));
                    self.metrics.window_length.observe(length.as_secs_f64());
                    (last_end, started) = (end, Instant::now());
                    self.follow_cpus();
                }
                // The last window is still being named: this one goes on.
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Closed(_)) => return Err(anyhow!("the naming thread is gone")),
            }
        }
        self.sampler.kernel_mut().stop_sampling();
        self.sampler.drain()?;
        let (start, end) = window_times(last_end, unix_ns(), started.elapsed());
        let last = self.sampler.take_window(start, end);
        count(&self.sampler, &mut self.outbox.lock(), &self.metrics);
        self.windows.blocking_send(last).map_err(|_window| anyhow!("the naming thread is gone"))
    }

    fn follow_cpus(&mut self) {
        match self.sampler.kernel_mut().attach_new_cpus() {
            Ok(0) => {}
            Ok(cpus) => tracing::info!(cpus, "sampling CPUs that came online"),
            Err(error) => {
                self.metrics.attach_failures.inc();
                tracing::debug!("failed to sample a CPU that came online: {error:#}");
            }
        }
    }
}

/// Enters the kernel's counters in the books.
fn count(sampler: &Sampler, outbox: &mut Outbox, metrics: &Metrics) {
    if let Some(report) = sampler.unwinding() {
        metrics.unwinding.set(&report);
    }
    let Some(counters) = sampler.counters() else { return };
    let lost: Vec<(&str, u64)> =
        counters.lost().map(|(outcome, samples)| (outcome.name(), samples)).collect();
    let submitted = counters.taken() - lost.iter().map(|(_, samples)| samples).sum::<u64>();
    outbox.accounting_mut().observe_kernel(submitted, lost);
    outbox.note_taken();
    for (outcome, total) in counters.iter() {
        metrics.set_outcome(outcome, total);
    }
}

/// The thread between the sampling thread and the spool.
struct Naming {
    outbox: SharedOutbox,
    metrics: Metrics,
    windows: mpsc::Receiver<LocatedWindow>,
    readiness: Readiness,
}

impl Naming {
    fn run(mut self) {
        let mut symbolizer = Symbolizer::new(crate::symbolize::Options::RESIDENT);
        while let Some(window) = self.windows.blocking_recv() {
            let began = Instant::now();
            let (taken, lost) = (window.taken, window.lost.clone());
            let window = name(window, &mut symbolizer);
            let (named, unnamed) = count_frames(&window);
            self.metrics.add_frames(named, unnamed);
            window.services.iter().for_each(|service| self.metrics.add_quality(&service.walks));
            {
                let mut outbox = self.outbox.lock();
                outbox.accounting_mut().drain(taken);
                for (reason, samples) in lost {
                    outbox.accounting_mut().lose_from_window(reason, samples);
                }
                outbox.push(&window);
            }
            self.outbox.notify();
            self.readiness.latch();
            self.metrics.window_work.observe(began.elapsed().as_secs_f64());
            let services = window.services.len();
            tracing::debug!(taken, services, named, unnamed, "a window is in the spool");
            drop(window);
            // Debug information of large programs is read into memory for a moment.
            give_memory_back();
        }
    }
}

/// Unique frames of a window, (with a name, without one).
fn count_frames(window: &Window) -> (u64, u64) {
    let frames = window.services.iter().flat_map(|service| service.profile.frames());
    frames.fold((0, 0), |(named, unnamed), frame| {
        if frame.function.contains("+0x") { (named, unnamed + 1) } else { (named + 1, unnamed) }
    })
}

fn make_client(arguments: &RunArguments) -> anyhow::Result<Client> {
    let authority = match &arguments.collector_ca {
        Some(path) => Some(
            fs::read(path)
                .with_context(|| format!("failed to read the certificate `{}`", path.display()))?,
        ),
        None => None,
    };
    Ok(Client::new(&arguments.collector, authority.as_deref())?)
}

fn load_options(arguments: &RunArguments) -> anyhow::Result<LoadOptions> {
    let mut load = LoadOptions {
        frequency_hz: arguments.frequency,
        scope: profiler_common::abi::settings::Scope::All,
        targets: Vec::new(),
        cgroup_id: 0,
        cpu_samples: true,
        syscalls: !arguments.no_syscalls,
        kernel_log: arguments.kernel_log,
    };
    let target = match (&arguments.cgroup, arguments.pid.as_slice()) {
        (Some(folder), _) => Target::Cgroup(folder.clone()),
        (None, []) => Target::Host,
        (None, pids) => Target::Processes(pids.to_vec()),
    };
    target.apply(&mut load)?;
    Ok(load)
}

fn log_start(arguments: &RunArguments, outbox: &SharedOutbox) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = %rustix::system::uname().release().to_string_lossy(),
        collector = %arguments.collector,
        frequency_hz = arguments.frequency,
        window_s = arguments.window,
        syscalls = !arguments.no_syscalls,
        admin = %arguments.admin,
        agent_id = %outbox.lock().agent_id(),
        "sampling"
    );
}

/// The last word: where every sample is.
fn finish(outbox: &SharedOutbox) {
    let mut outbox = outbox.lock();
    if let Err(error) = outbox.save() {
        tracing::warn!(%error, "failed to write the accounting");
    }
    let totals = outbox.totals();
    drop(outbox);
    let lost: Vec<String> =
        totals.lost.iter().map(|(reason, samples)| format!("{reason}:{samples}")).collect();
    tracing::info!(
        taken = totals.taken,
        acknowledged = totals.acknowledged,
        pending = totals.pending,
        lost = totals.lost_total(),
        reasons = lost.join(","),
        "accounting"
    );
}

fn notify_service_manager(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "failed to notify the service manager");
    }
}
