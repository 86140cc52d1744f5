//! `cargo xtask bench memory`: what the agent takes beside a crowd of processes, and beside a compiler.
//!
//! Each line of the table is one agent from its start to its end. CPU time of the start is what it took until the end
//! of the first half of the time, less what the second half says it takes anyway.

mod crowd;
mod usage;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use self::{crowd::Crowd, usage::Usage};
use crate::{
    test::install::{self, Package},
    workspace,
};

/// How often the agent is looked at; its peak is kept by the kernel.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the agent may take to ship its last window and end, on a host with some hundred busy processes.
const GRACE: Duration = Duration::from_secs(120);

/// Functions of the program that the compiler is kept busy with.
const COMPILED_FUNCTIONS: usize = 4000;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

const PACKAGES: &[Package] = &[
    Package { program: "bpftool", package: "bpftool", why: "says how large maps are" },
    Package { program: "cc", package: "gcc", why: "compiles the crowd" },
];

/// Arguments of `cargo xtask bench memory`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each agent runs
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seconds: u64,
    /// Runs the agents beside the crowd only, or beside the compiler only
    #[arg(long, value_enum)]
    only: Option<Only>,
    /// Uses this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// What the agent runs beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Processes of many programs.
    Crowd,
    /// One large program.
    Compiler,
}

/// One line of the table.
struct Row {
    name: &'static str,
    end: Usage,
    start_cpu: Duration,
    /// Share of all CPUs that it takes in the second half of the time, in percent.
    steady: Steady,
}

/// Shares of all CPUs in percent.
struct Steady {
    /// The agent itself.
    agent: f64,
    /// Its programs in the kernel that take samples.
    sampling: f64,
    /// Those that measure syscalls.
    syscalls: f64,
}

/// Measures and prints the table.
pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(workspace::is_root(), "failed to measure: sampling needs root; run it with `sudo -E`");
    install::debian_packages(PACKAGES)?;
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => workspace::build_programs()?.agent,
    };
    let _counting = Counting::start()?;
    let time = Duration::from_secs(args.seconds);
    print_head();
    if args.only != Some(Only::Compiler) {
        let mut crowd = Crowd::start()?;
        eprintln!("{} processes of {} programs run", crowd::PROCESSES, crowd::PROGRAMS);
        let state = tempfile::tempdir().context("failed to make a folder for the agent")?;
        for (name, frequency) in
            [("19 Hz, cold cache", "19"), ("19 Hz, warm cache", "19"), ("99 Hz, warm cache", "99")]
        {
            measure(&agent, state.path(), (name, frequency), time)?.print();
        }
        crowd.check_running()?;
    }
    if args.only != Some(Only::Crowd) {
        let _compiler = Compiler::start()?;
        let state = tempfile::tempdir().context("failed to make a folder for the agent")?;
        for (name, frequency) in
            [("19 Hz, rustc, cold cache", "19"), ("99 Hz, rustc, warm cache", "99")]
        {
            measure(&agent, state.path(), (name, frequency), time)?.print();
        }
    }
    Ok(())
}

/// Runs one agent for that time.
fn measure(
    agent: &Path,
    state: &Path,
    (name, frequency): (&'static str, &str),
    time: Duration,
) -> Result<Row> {
    eprintln!("{name}: {} s", time.as_secs());
    let mut agent = Agent::start(agent, state, frequency)?;
    let started = Instant::now();
    let mut half = None;
    let mut last = Usage::default();
    while started.elapsed() < time {
        sleep(LOOK_EVERY);
        agent.check_running()?;
        last = Usage::of(agent.id())?;
        if half.is_none() && started.elapsed() >= time / 2 {
            half = Some((started.elapsed(), last));
        }
    }
    let (half_time, half) = half.context("the time is too short")?;
    let rest = (started.elapsed() - half_time).as_secs_f64();
    let capacity = rest * std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let share =
        |before: Duration, after: Duration| 100.0 * (after - before).as_secs_f64() / capacity;
    let anyway = (last.cpu - half.cpu).mul_f64(half_time.as_secs_f64() / rest);
    let end = Usage::with_maps(agent.id())?;
    agent.stop()?;
    Ok(Row {
        name,
        end,
        start_cpu: half.cpu.saturating_sub(anyway),
        steady: Steady {
            agent: share(half.cpu, last.cpu),
            sampling: share(half.sampling, last.sampling),
            syscalls: share(half.syscalls, last.syscalls),
        },
    })
}

#[expect(clippy::print_stdout, reason = "the table is what this command is for")]
fn print_head() {
    println!(
        "| {:<24} | RSS MB | anonymous | peak | maps MB | start CPU s | steady: agent CPU % | sampling % | syscalls % |",
        "agent"
    );
    println!("|{}|---:|---:|---:|---:|---:|---:|---:|---:|", "-".repeat(26));
}

impl Row {
    #[expect(clippy::print_stdout, reason = "the table is what this command is for")]
    fn print(&self) {
        let Self { name, end, start_cpu, steady } = self;
        println!(
            "| {name:<24} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {:.3} | {:.3} | {:.3} |",
            megabytes(end.rss_kib << 10),
            megabytes(end.anonymous_kib << 10),
            megabytes(end.peak_kib << 10),
            megabytes(end.map_bytes),
            start_cpu.as_secs_f64(),
            steady.agent,
            steady.sampling,
            steady.syscalls,
        );
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// An agent whose collector is down, so that it keeps what it has: the worst case.
struct Agent(Child);

impl Agent {
    fn start(program: &Path, state: &Path, frequency: &str) -> Result<Self> {
        let log = File::create(state.join("log")).context("failed to write the agent's log")?;
        let mut command = Command::new(program);
        command
            .args(["run", "--collector", "http://127.0.0.1:9", "--admin", "127.0.0.1:0"])
            .args(["--frequency", frequency, "--state-dir"])
            .arg(state.join("state"))
            .stdin(Stdio::null())
            .stderr(log);
        command.spawn().context("failed to start the agent").map(Self)
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn check_running(&mut self) -> Result<()> {
        let ended = self.0.try_wait().context("failed to watch the agent")?;
        ensure!(ended.is_none(), "the agent ended by itself: {ended:?}");
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the agent has no pid")?, Signal::TERM)
            .context("failed to stop the agent")?;
        let deadline = Instant::now() + GRACE;
        while self.0.try_wait().context("failed to wait for the agent")?.is_none() {
            ensure!(Instant::now() < deadline, "the agent does not end");
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Compiles the same large program again and again.
struct Compiler {
    _folder: tempfile::TempDir,
    child: Child,
}

impl Compiler {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder for the compiler")?;
        let mut source = String::new();
        for number in 0..COMPILED_FUNCTIONS {
            source.push_str(&format!(
                "pub fn work_{number}(list: &[u64]) -> Vec<String> {{ let mut all: Vec<String> = list.iter()\
                 .filter(|n| **n % {number}.max(1) != 3).map(|n| format!(\"{{n}} {number}\")).collect(); \
                 all.sort_by(|a, b| b.len().cmp(&a.len())); all }}\n"
            ));
        }
        fs::write(folder.path().join("large.rs"), source).context("failed to write a program")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c"]);
        command.arg(
            "while :; do rustc -O --crate-type lib --cap-lints allow large.rs || exit 1; done",
        );
        command.current_dir(folder.path()).stdin(Stdio::null());
        let child = std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn();
        Ok(Self { _folder: folder, child: child.context("failed to start the compiler")? })
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let _ended = self.child.wait();
    }
}

/// Makes the kernel count the time of its programs, and leaves the setting as it was.
struct Counting(String);

impl Counting {
    fn start() -> Result<Self> {
        let before =
            fs::read_to_string(STATS).with_context(|| format!("failed to read `{STATS}`"))?;
        fs::write(STATS, "1").with_context(|| format!("failed to write `{STATS}`"))?;
        Ok(Self(before))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATS, &self.0) {
            eprintln!("warning: failed to restore `{STATS}`: {error}");
        }
    }
}
