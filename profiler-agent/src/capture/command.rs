//! Starts the command of a capture so that not even its first instruction is missed, and passes its end on.
//!
//! The agent starts itself once more as `stop-then-exec`; that process stops itself, is attached, is continued, and
//! turns into the command. So nothing unsafe has to run between fork and exec.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// What a shell exits with when a command does not exist, and when it cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that was started and waits to be continued.
#[derive(Debug)]
pub struct Stopped {
    child: Child,
}

impl Stopped {
    /// Starts the command and waits until it has stopped itself.
    ///
    /// # Errors
    ///
    /// When the process cannot be made.
    pub fn start(command: &[OsString]) -> anyhow::Result<Self> {
        let agent = std::env::current_exe().context("failed to find the agent's own program")?;
        let child = Command::new(agent)
            .arg("stop-then-exec")
            .arg("--")
            .args(command)
            .spawn()
            .context("failed to start the command")?;
        let stopped = Self { child };
        let (_, status) = waitpid(Some(stopped.pid()?), WaitOptions::UNTRACED)
            .context("failed to wait for the command")?
            .context("failed to wait for the command")?;
        if !status.stopped() {
            bail!("the command ended before it was attached");
        }
        Ok(stopped)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it run.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn go(self) -> anyhow::Result<Child> {
        kill_process(self.pid()?, Signal::CONT).context("failed to continue the command")?;
        Ok(self.child)
    }

    /// Ends it when it could not be attached.
    pub fn abandon(mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(i32::try_from(self.child.id())?).context("process id 0")
    }
}

/// The other side of [`Stopped::start`]: stops, and turns into the command once continued.
///
/// # Errors
///
/// When it cannot stop itself. A command that cannot be run is told on stderr and by the exit code, as shells do.
pub fn stop_then_exec(command: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command was given")?;
    kill_process(getpid(), Signal::STOP).context("failed to stop")?;
    let error = Command::new(program).args(arguments).exec();
    let code = if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let program = program.to_string_lossy();
    tracing::error!(%error, "failed to run `{program}`");
    Ok(ExitCode::from(code))
}

/// The exit code that a shell would give: that of the command, or 128 and the signal that ended it.
#[must_use]
pub fn exit_code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        for (raw, code) in [(0, 0u8), (7 << 8, 7), (9, 137), (15, 143)] {
            let found = exit_code_of(ExitStatus::from_raw(raw));
            assert_eq!(format!("{found:?}"), format!("{:?}", ExitCode::from(code)));
        }
    }
}
