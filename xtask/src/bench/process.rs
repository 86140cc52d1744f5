//! A program that a measurement starts: its memory, its CPU time, and its end.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::up::http;

/// Longest time to be ready, and to stop: a store of several GB is closed within seconds.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it with standard output and errors in a file.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let output =
            File::create(log).with_context(|| format!("failed to create `{}`", log.display()))?;
        let errors = output.try_clone().context("failed to share the log")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).env("NO_COLOR", "1");
        let child = command.spawn().with_context(|| format!("failed to start `{name}`"))?;
        Ok(Self { name, child })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub(crate) fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().context("failed to ask for the exit status")? {
            Some(status) => bail!("`{}` ended early with {status}", self.name),
            None => Ok(()),
        }
    }

    /// Stops it with SIGTERM and insists on exit status 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.still_runs()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("`{}` has no process id", self.name))?;
        kill_process(pid, Signal::TERM)
            .with_context(|| format!("failed to stop `{}`", self.name))?;
        let deadline = Instant::now() + WAIT_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("failed to wait")? {
                ensure!(status.success(), "`{}` ended with {status}", self.name);
                return Ok(());
            }
            sleep(PAUSE);
        }
        bail!("`{}` did not stop within {} s", self.name, WAIT_MAX.as_secs())
    }

    /// A number of KiB in `/proc/PID/status`, such as `VmRSS` or, the most so far, `VmHWM`.
    pub(crate) fn status_kib(&self, field: &str) -> Result<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("`{}` has no {field}", self.name))
    }

    /// CPU time so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name may hold anything, so counting begins behind it: fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').context("no name in the status of a process")?;
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Number of open descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.pid());
        let files = fs::read_dir(&folder).with_context(|| format!("failed to list `{folder}`"))?;
        Ok(files.count())
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A collector on free ports.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Its process.
    pub(crate) process: Process,
    /// Where agents send.
    pub(crate) grpc: SocketAddr,
    /// Where people look.
    pub(crate) http: SocketAddr,
    /// How long it took from the start until it was ready.
    pub(crate) opened_in: Duration,
}

impl Collector {
    /// Starts one with this store, and waits until it is ready.
    pub(crate) fn start(program: &Path, store: &Path, log: &Path) -> Result<Self> {
        let (grpc, http) = (free_address()?, free_address()?);
        let begun = Instant::now();
        let mut command = Command::new(program);
        command.args(["serve", "--grpc", &grpc.to_string(), "--http", &http.to_string()]);
        command.arg("--store").arg(format!("sqlite:{}", store.display()));
        let mut process = Process::start("the collector", &mut command, log)?;
        while http::get(http, "/-/ready").is_err() {
            process.still_runs()?;
            ensure!(begun.elapsed() < WAIT_MAX, "the collector is not ready; `{}`", log.display());
            sleep(PAUSE);
        }
        Ok(Self { process, grpc, http, opened_in: begun.elapsed() })
    }

    /// Asks for JSON below `/api/v1/`.
    pub(crate) fn api(&self, question: &str) -> Result<serde_json::Value> {
        let answer = http::get(self.http, &format!("/api/v1/{question}"))?;
        serde_json::from_str(&answer).context("the collector answered no JSON")
    }
}

/// Bytes of a store with all its files.
pub(crate) fn store_bytes(store: &Path) -> u64 {
    let files = ["", "-wal"].map(|ending| PathBuf::from(format!("{}{ending}", store.display())));
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a port")?;
    listener.local_addr().context("failed to read a port")
}
