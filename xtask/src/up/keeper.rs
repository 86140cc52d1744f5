//! Keeps one program running, with its output in a log file, and ends it cleanly.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The shell program that stands between us and the kept program.
const KEEPER: &str = include_str!("keeper.sh");

/// How long a program may take to end before it is killed: the agent ships its last window, which
/// takes one round trip and one durable write.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How often a program is looked at while it ends.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many lines of its log are shown when a program ends by itself.
const TAIL_LINES: usize = 15;

/// As whom a program runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunAs {
    /// The user who runs xtask.
    Us,
    /// Root, by sudo.
    Root,
}

/// One running program. Dropping it ends the program.
pub(crate) struct Kept {
    name: &'static str,
    log: PathBuf,
    keeper: Child,
    orders: Option<ChildStdin>,
}

impl Kept {
    /// Starts `program` with its output in `log`, which is written anew.
    pub(crate) fn start(
        name: &'static str,
        program: &[String],
        run_as: RunAs,
        log: &Path,
    ) -> Result<Self> {
        let file =
            File::create(log).with_context(|| format!("failed to write `{}`", log.display()))?;
        let mut command = match run_as {
            RunAs::Us => {
                let mut command = Command::new("/bin/sh");
                // Ctrl-C reaches only us: we end the programs in their order.
                command.process_group(0);
                command
            }
            RunAs::Root => {
                // Sudo stays in our group: only the terminal's foreground group may ask for a password.
                let mut command = Command::new("sudo");
                command.args(["--", "/bin/sh"]);
                command
            }
        };
        let mut keeper = command
            .args(["-c", KEEPER, "keeper"])
            .args(program)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().context("failed to share the log file")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        let orders = keeper.stdin.take();
        Ok(Self { name, log: log.to_owned(), keeper, orders })
    }

    /// Fails with the end of its log when the program has ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let ended =
            self.keeper.try_wait().with_context(|| format!("failed to watch {}", self.name));
        match ended? {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended by itself ({status}); the end of `{}`:\n{}",
                self.name,
                self.log.display(),
                tail(&self.log)
            ),
        }
    }

    /// Asks the program to end, waits for it, and kills it when that takes longer than `grace`.
    ///
    /// # Errors
    ///
    /// When the program had to be killed or did not exit with 0: it did not end cleanly.
    pub(crate) fn stop(mut self, grace: Duration) -> Result<()> {
        self.order("stop");
        if let Some(status) = self.wait(grace)? {
            if status.success() {
                return Ok(());
            }
            bail!(
                "{} did not end cleanly ({status}); the end of `{}`:\n{}",
                self.name,
                self.log.display(),
                tail(&self.log)
            );
        }
        self.order("kill");
        self.wait(grace)?;
        bail!("{} did not end within {} s and was killed", self.name, grace.as_secs())
    }

    /// Sends one order. A keeper that is gone already needs none, so a broken pipe is no error.
    fn order(&mut self, word: &str) {
        if let Some(orders) = &mut self.orders
            && writeln!(orders, "{word}").is_err()
        {
            self.orders = None;
        }
    }

    /// Waits for the program to end, for at most `time`.
    fn wait(&mut self, time: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        loop {
            let ended = self.keeper.try_wait();
            let status = ended.with_context(|| format!("failed to wait for {}", self.name))?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The keeper ends the program when this pipe closes; waiting leaves no zombie behind.
        self.orders = None;
        if !matches!(self.wait(GRACE), Ok(Some(_))) {
            eprintln!("warning: {} is still running", self.name);
        }
    }
}

/// Returns the last lines of a log.
fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines[first..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str) -> (tempfile::TempDir, Kept) {
        let folder = tempfile::tempdir().unwrap();
        let program = ["sh", "-c", script].map(str::to_owned);
        let kept =
            Kept::start("the program", &program, RunAs::Us, &folder.path().join("log")).unwrap();
        (folder, kept)
    }

    fn wait_for_line(folder: &tempfile::TempDir, line: &str) {
        while !tail(&folder.path().join("log")).contains(line) {
            thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn a_program_that_is_asked_to_stop_ends_cleanly() {
        let (folder, mut kept) =
            start("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
        wait_for_line(&folder, "up");
        kept.check_running().unwrap();
        kept.stop(GRACE).unwrap();
        assert!(tail(&folder.path().join("log")).contains("bye"));
    }

    #[test]
    fn a_program_that_does_not_stop_is_killed() {
        let (folder, kept) = start("trap '' TERM; echo $$; while :; do sleep 0.05; done");
        wait_for_line(&folder, "\n");
        let pid = tail(&folder.path().join("log")).trim().to_owned();
        let error = kept.stop(Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("was killed"), "{error}");
        assert!(!Path::new("/proc").join(pid).exists());
    }

    #[test]
    fn a_program_that_ends_by_itself_is_reported_with_the_end_of_its_log() {
        let (_folder, mut kept) = start("echo first; echo the port is taken >&2; exit 3");
        let error = loop {
            if let Err(error) = kept.check_running() {
                break error.to_string();
            }
        };
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("    first\n    the port is taken\n"), "{error}");
    }

    #[test]
    fn a_dropped_program_is_ended() {
        let (folder, kept) = start("echo $$; exec sleep 600");
        wait_for_line(&folder, "\n");
        let pid = tail(&folder.path().join("log")).trim().to_owned();
        drop(kept);
        assert!(!Path::new("/proc").join(pid).exists());
    }
}
