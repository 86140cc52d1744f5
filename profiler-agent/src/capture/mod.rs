//! One capture on demand, written as a file.
//!
//! The same stages as in `run`, but in one thread, with one window and no collector: sample, then name, then write in
//! the form that the file's ending chooses. A command is started stopped, so that its first instruction is seen.

pub mod command;
pub mod form;
pub mod summary;
mod folded;
mod html;
mod pprof;
mod quality;
mod speedscope;
mod svg;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use profiler_common::abi::settings::Scope;

use crate::args::{CaptureArguments, OutputForm, STATE_DIR_DEFAULT, UNWIND_BYTES_DEFAULT};
use crate::clock::unix_ns;
use crate::host;
use crate::kernel::{Counters, LoadOptions};
use crate::pipeline::{self, DRAIN_INTERVAL, TABLES_FOLDER};
use crate::process::TableOptions;
use crate::sampler::{LocatedWindow, Sampler};
use crate::symbolize::{Options, Symbolizer};
use crate::target::{self, Target};
use crate::unwind::UnwindOptions;
use command::Stopped;
use form::{Captured, Form};
use summary::Summary;

/// How long a capture takes when nothing else is said.
const SECONDS_DEFAULT: u64 = 10;

/// What a shell exits with after ctrl-c: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Takes one capture and returns the exit code: that of the command if there is one.
///
/// # Errors
///
/// When nothing can be sampled or the file cannot be written.
pub fn run(arguments: &CaptureArguments) -> anyhow::Result<ExitCode> {
    let form = Form::of(&arguments.out)?;
    form::check_writable(&arguments.out)?;
    let interrupted = watch_signals()?;
    let mut taking = Taking::start(arguments)?;
    let ended = taking.sample(&interrupted)?;
    let captured = taking.finish(arguments, ended)?;
    form::write(&arguments.out, &form.render(&captured)?)?;
    print(arguments, &Summary::of(&captured, &arguments.out))?;
    taking.wait(&interrupted)
}

/// Why sampling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    TimeIsOver,
    Interrupted,
    TargetsAreGone,
}

/// A capture that runs.
struct Taking {
    sampler: Sampler,
    child: Option<Child>,
    status: Option<ExitStatus>,
    pids: Vec<u32>,
    duration: Option<Duration>,
    started: Instant,
    start_unix_ns: u64,
    progress: ProgressBar,
}

impl Taking {
    fn start(arguments: &CaptureArguments) -> anyhow::Result<Self> {
        let has_command = !arguments.command.is_empty();
        let stopped = if has_command { Some(Stopped::start(&arguments.command)?) } else { None };
        let sampler = match start_sampler(arguments, stopped.as_ref().map(Stopped::id)) {
            Ok(sampler) => sampler,
            Err(error) => {
                if let Some(stopped) = stopped {
                    stopped.abandon();
                }
                return Err(error);
            }
        };
        let child = stopped.map(Stopped::go).transpose()?;
        let duration = match arguments.seconds {
            None if has_command => None,
            seconds => Some(Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT))),
        };
        Ok(Self {
            sampler,
            child,
            status: None,
            pids: arguments.pid.clone(),
            duration,
            started: Instant::now(),
            start_unix_ns: unix_ns(),
            progress: progress(duration),
        })
    }

    /// Drains until the time is over, ctrl-c, or nothing is left to sample.
    fn sample(&mut self, interrupted: &AtomicBool) -> anyhow::Result<Ended> {
        let mut samples = 0;
        loop {
            std::thread::sleep(DRAIN_INTERVAL);
            samples += self.sampler.drain()?.samples;
            self.progress.set_position(self.started.elapsed().as_millis() as u64);
            self.progress.set_message(format!("{samples} samples"));
            if interrupted.load(Ordering::Relaxed) {
                return Ok(Ended::Interrupted);
            }
            if self.duration.is_some_and(|duration| self.started.elapsed() >= duration) {
                return Ok(Ended::TimeIsOver);
            }
            if self.targets_are_gone() {
                return Ok(Ended::TargetsAreGone);
            }
        }
    }

    fn targets_are_gone(&mut self) -> bool {
        match &mut self.child {
            Some(child) => {
                self.status = child.try_wait().ok().flatten();
                self.status.is_some()
            }
            None => !self.pids.is_empty() && !self.pids.iter().any(|pid| target::exists(*pid)),
        }
    }

    /// Stops to sample and names what was seen.
    fn finish(&mut self, arguments: &CaptureArguments, ended: Ended) -> anyhow::Result<Captured> {
        self.sampler.kernel_mut().stop_sampling();
        self.sampler.drain()?;
        let window = self.sampler.take_window(self.start_unix_ns, unix_ns());
        let lost = self.lost(&window);
        let samples = window.taken;
        self.progress.finish_and_clear();
        if ended == Ended::TargetsAreGone && self.child.is_none() {
            tracing::warn!("all chosen processes ended; the capture is shorter than asked for");
        }
        let mut symbolizer = Symbolizer::new(Options::CAPTURE);
        let window = pipeline::name(window, &mut symbolizer);
        let kernel_lost: u64 = self
            .sampler
            .counters()
            .map_or(0, |counters| counters.lost().map(|(_, samples)| samples).sum());
        Ok(Captured {
            window,
            title: title(arguments),
            frequency_hz: arguments.frequency,
            taken: samples + kernel_lost,
            lost,
        })
    }

    /// Waits for the command, if there is one: it may outlive the time of the capture. A signal ends the waiting, not
    /// the command.
    fn wait(mut self, interrupted: &AtomicBool) -> anyhow::Result<ExitCode> {
        let Some(child) = &mut self.child else { return Ok(ExitCode::SUCCESS) };
        // The signal that ended the capture is dealt with; at a terminal the command got it too and ends by it.
        interrupted.store(false, Ordering::Relaxed);
        if self.status.is_none() {
            tracing::info!("waiting for the command to end");
        }
        while self.status.is_none() {
            self.status = child.try_wait().context("failed to wait for the command")?;
            if self.status.is_none() && interrupted.load(Ordering::Relaxed) {
                tracing::warn!(pid = child.id(), "told to stop; the command still runs");
                return Ok(ExitCode::from(INTERRUPTED));
            }
            std::thread::sleep(DRAIN_INTERVAL);
        }
        Ok(self.status.map_or(ExitCode::SUCCESS, command::exit_code_of))
    }

    fn lost(&self, window: &LocatedWindow) -> Vec<(String, u64)> {
        let counters = self.sampler.counters();
        let kernel = counters.iter().flat_map(Counters::lost);
        kernel
            .map(|(outcome, samples)| (outcome.name().to_owned(), samples))
            .chain(window.lost.iter().map(|(reason, samples)| ((*reason).to_owned(), *samples)))
            .collect()
    }
}

fn start_sampler(arguments: &CaptureArguments, command: Option<u32>) -> anyhow::Result<Sampler> {
    let mut load = LoadOptions {
        frequency_hz: arguments.frequency,
        scope: Scope::All,
        targets: Vec::new(),
        cgroup_id: 0,
        cpu_samples: true,
        syscalls: arguments.syscalls,
        kernel_log: arguments.kernel_log,
    };
    let target = match (command, &arguments.cgroup, arguments.pid.as_slice()) {
        (Some(pid), _, _) => Target::Processes(vec![pid]),
        (None, Some(folder), _) => Target::Cgroup(folder.clone()),
        (None, None, []) => Target::Host,
        (None, None, pids) => Target::Processes(pids.to_vec()),
    };
    target.apply(&mut load)?;
    let table = TableOptions { host: host::name(), ..TableOptions::default() };
    let unwind = UnwindOptions {
        bytes_max: UNWIND_BYTES_DEFAULT,
        cache: Some(Path::new(STATE_DIR_DEFAULT).join(TABLES_FOLDER)),
    };
    Sampler::start(&load, table, &unwind)
}

fn title(arguments: &CaptureArguments) -> String {
    if !arguments.command.is_empty() {
        let words: Vec<_> = arguments.command.iter().map(|word| word.to_string_lossy()).collect();
        return words.join(" ");
    }
    let pids: Vec<String> = arguments.pid.iter().map(u32::to_string).collect();
    match (&arguments.cgroup, pids.is_empty()) {
        (Some(folder), _) => format!("cgroup {}", folder.display()),
        (None, false) => format!("pid {}", pids.join(", ")),
        (None, true) => format!("host {}", host::name()),
    }
}

/// Ctrl-c and SIGTERM end the capture, not the agent: what was taken is still written. Who does not want to wait for
/// that says so once more.
fn watch_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    ctrlc::set_handler(handler).context("failed to watch for ctrl-c")?;
    Ok(interrupted)
}

fn progress(duration: Option<Duration>) -> ProgressBar {
    let bar = match duration {
        Some(duration) => ProgressBar::new(duration.as_millis() as u64),
        None => ProgressBar::no_length(),
    };
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    bar.set_draw_target(target);
    let template =
        if duration.is_some() { "{wide_bar} {elapsed} {msg}" } else { "{spinner} {elapsed} {msg}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn print(arguments: &CaptureArguments, summary: &Summary) -> anyhow::Result<()> {
    let printed = match arguments.output {
        OutputForm::Json => summary.write_json(&mut io::stdout().lock()),
        OutputForm::Table => {
            let mut text = Vec::new();
            summary.write_text(&mut text)?;
            if arguments.quality {
                writeln!(text)?;
                summary.write_quality(&mut text)?;
            }
            if arguments.syscalls {
                writeln!(text)?;
                summary.write_syscalls(&mut text)?;
            }
            io::stderr().lock().write_all(&text)
        }
    };
    printed.context("failed to print the summary")
}
