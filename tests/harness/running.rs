//! A child process with its log: killed when dropped, whatever happens.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A program that this scenario started.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program with standard output and errors in `NAME.log`; appends when it runs a second time.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("failed to open `{}`", log.display()))?;
        let errors = output.try_clone().context("failed to share the log")?;
        let child = command
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("failed to start `{name}`: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Its standard input, once, if it was piped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it has already ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("failed to ask for the exit status")? {
            bail!("`{}` has already ended with {status}", self.name);
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| anyhow!("`{}` has no process id", self.name))?;
        kill_process(pid, signal).with_context(|| format!("failed to signal `{}`", self.name))
    }

    /// Waits for the end, at most `limit`.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Self { name, child, .. } = self;
        eventually::some(&format!("`{name}` ends"), limit, || {
            child.try_wait().context("failed to ask for the exit status")
        })
    }

    /// Asks it to stop with SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// When it had already ended or does not end in time.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit)
    }

    /// Stops it with SIGTERM and insists on exit status 0.
    ///
    /// # Errors
    ///
    /// When it ends in any other way.
    pub fn stop_cleanly(&mut self, limit: Duration) -> Result<()> {
        let status = self.stop(limit)?;
        if !status.success() {
            bail!("`{}` ended with {status}:\n{}", self.name, tail(&self.log, 20));
        }
        Ok(())
    }

    /// Fails when it has ended already, with the end of its log.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("failed to ask for the exit status")? {
            bail!("`{}` ended early with {status}:\n{}", self.name, tail(&self.log, 20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command with an empty standard input that gets none of the tester's own settings.
#[must_use]
pub fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env("NO_COLOR", "1");
    let ours = |name: &str| name.starts_with("FLAMEWATCH_") || name.starts_with("OTEL_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
