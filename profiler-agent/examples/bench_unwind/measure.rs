//! Runs a profiler for a while, and reads what it cost: its own CPU time and memory, and the time of its programs.
//!
//! The kernel adds the time of a program that was called by a tail call to the one that it was entered by; the called
//! one itself counts nothing. So the time of a sample is that of the programs that were entered.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramFd, loaded_programs};
use procfs::process::Process;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Time between two looks at a profiler.
const POLL: Duration = Duration::from_millis(50);

/// `BPF_PROG_TYPE_PERF_EVENT` of the kernel's interface.
const PERF_EVENT: u32 = 7;

/// What the kernel says of one program.
#[derive(Debug, Clone, Copy, Default)]
struct Program {
    takes_samples: bool,
    time: Duration,
    runs: u64,
}

/// The cost of a profiler so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// CPU time of the process.
    pub(crate) process: Duration,
    /// Time of all of its programs in the kernel.
    pub(crate) programs: Duration,
    /// Time of those that take samples.
    pub(crate) sampling: Duration,
    /// How often those were entered.
    pub(crate) samples: u64,
}

impl Cost {
    /// What was added since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            process: self.process.saturating_sub(earlier.process),
            programs: self.programs.saturating_sub(earlier.programs),
            sampling: self.sampling.saturating_sub(earlier.sampling),
            samples: self.samples.saturating_sub(earlier.samples),
        }
    }

    /// Mean time of a sample in nanoseconds.
    pub(crate) fn ns_per_sample(self) -> f64 {
        self.sampling.as_nanos() as f64 / self.samples.max(1) as f64
    }

    /// CPU time of the process and of its programs, in seconds.
    pub(crate) fn cpu(self) -> f64 {
        (self.process + self.programs).as_secs_f64()
    }
}

/// What one run of a profiler cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Between the two times that were asked for: neither start nor end.
    pub(crate) steady: Cost,
    /// From its start to its end.
    pub(crate) whole: Cost,
    /// Most memory, in bytes.
    pub(crate) rss: u64,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The profiler was told for how long to run.
    ByItself,
    /// It runs until it is interrupted.
    Interrupted,
}

/// Runs a profiler, and looks closer between two times since its start.
pub(crate) fn run(command: &mut Command, from: Duration, to: Duration, end: End) -> Result<Run> {
    let mut profiler = Profiler::start(command)?;
    let (mut first, mut last, mut rss) = (None, None, 0);
    while !profiler.has_ended()? {
        std::thread::sleep(POLL);
        profiler.find_programs();
        rss = rss.max(profiler.rss());
        let elapsed = profiler.started.elapsed();
        if first.is_none() && elapsed >= from {
            first = Some(profiler.cost()?);
        }
        if last.is_none() && elapsed >= to {
            last = Some(profiler.cost()?);
            if end == End::Interrupted {
                profiler.interrupt()?;
            }
        }
    }
    let whole = profiler.cost()?;
    profiler.finish()?;
    let (first, last) = first.zip(last).context("the profiler ended before its time")?;
    Ok(Run { steady: last.since(first), whole, rss })
}

/// A process whose programs are held, so that they can be asked even after its end.
struct Profiler {
    child: Child,
    started: Instant,
    programs: BTreeMap<u32, ProgramFd>,
}

impl Profiler {
    fn start(command: &mut Command) -> Result<Self> {
        let shown = command.get_program().display().to_string();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to run `{shown}`"))?;
        let started = Instant::now();
        Ok(Self { child, started, programs: BTreeMap::new() })
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id() as i32).context("the process has no number")
    }

    /// Leaves the ended process in place, whose CPU time can then still be read.
    fn has_ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        Ok(waitid(WaitId::Pid(self.pid()?), options)?.is_some())
    }

    /// Holds the programs that the process has open; a process that just ended has none.
    fn find_programs(&mut self) {
        let ids = program_ids(self.child.id()).unwrap_or_default();
        if ids.iter().all(|id| self.programs.contains_key(id)) {
            return;
        }
        for program in loaded_programs().flatten().filter(|program| ids.contains(&program.id())) {
            if let Ok(fd) = program.fd() {
                self.programs.insert(program.id(), fd);
            }
        }
    }

    fn rss(&self) -> u64 {
        let status = Process::new(self.child.id() as i32).and_then(|process| process.status());
        status.ok().and_then(|status| status.vmhwm).unwrap_or(0) << 10
    }

    fn cost(&self) -> Result<Cost> {
        let stat = Process::new(self.child.id() as i32)?.stat()?;
        let ticks = (stat.utime + stat.stime) as f64;
        let process = Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64);
        let mut cost = Cost { process, ..Cost::default() };
        for program in self.read_programs() {
            cost.programs += program.time;
            if program.takes_samples {
                cost.sampling += program.time;
                cost.samples += program.runs;
            }
        }
        Ok(cost)
    }

    fn read_programs(&self) -> impl Iterator<Item = Program> {
        let held = loaded_programs().flatten().filter(|one| self.programs.contains_key(&one.id()));
        held.map(|program| Program {
            takes_samples: program.program_type() as u32 == PERF_EVENT,
            time: program.run_time(),
            runs: program.run_count(),
        })
    }

    fn interrupt(&self) -> Result<()> {
        kill_process(self.pid()?, Signal::INT).context("failed to interrupt the profiler")
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("failed to wait for the profiler")?;
        ensure!(status.success(), "the profiler ended with {status}");
        Ok(())
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        // Ended already unless an error came between.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers of the programs that a process has open.
fn program_ids(pid: u32) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}
