//! Where a program runs while it is measured: a folder of its own, a user without rights, and an end that is sure.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The user and group of Debian that own nothing.
const NOBODY: u32 = 65534;

/// How long a program may take until it listens: a database starts in a second, on a busy host in some.
const START: Duration = Duration::from_secs(30);

/// How long a program may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How often a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A folder that the measured program may write to, and that goes with this value.
pub(super) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// Makes the folder.
    pub(super) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("flamewatch-").tempdir();
        let folder = folder.context("failed to make a folder for the program")?;
        chown(folder.path(), Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("failed to give `{}` away", folder.path().display()))?;
        // Databases refuse a folder that others can read.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700))
            .with_context(|| format!("failed to close `{}` to others", folder.path().display()))?;
        Ok(Self { folder })
    }

    /// Path of the folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("failed to make `{}`", parent.display()))?;
        }
        fs::write(&path, contents)
            .with_context(|| format!("failed to write `{}`", path.display()))?;
        for owned in path.ancestors().take_while(|owned| *owned != self.path()) {
            chown(owned, Some(NOBODY), Some(NOBODY))
                .with_context(|| format!("failed to give `{}` away", owned.display()))?;
        }
        Ok(path)
    }

    /// A command that runs as nobody in the folder, and dies with us however we end.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let log = self.path().join("log");
        let log = File::options().create(true).append(true).open(&log);
        let log = log.context("failed to open the program's log")?;
        let mut command = Command::new("setpriv");
        let user = NOBODY.to_string();
        command
            .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--pdeathsig", "INT"])
            .arg("--")
            .arg(program)
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("failed to share the program's log")?)
            .stderr(log)
            // A signal to us from a terminal is not one to them: they end in their order.
            .process_group(0);
        Ok(command)
    }

    /// Runs a command to its end; fails with the end of the log.
    pub(super) fn finish(&self, mut command: Command) -> Result<()> {
        let shown = crate::workspace::shown(&command);
        let status = command.status().with_context(|| format!("failed to run `{shown}`"))?;
        if !status.success() {
            bail!("`{shown}` ended with {status}:\n{}", self.log_end());
        }
        Ok(())
    }

    /// Starts a command.
    pub(super) fn start(&self, mut command: Command) -> Result<Running> {
        let name = crate::workspace::shown(&command);
        let child = command.spawn().with_context(|| format!("failed to start `{name}`"))?;
        Ok(Running { name, child })
    }

    /// Waits until a program listens.
    pub(super) fn wait_for_port(&self, port: u16, running: &mut Running) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            self.check_running(running)?;
            if Instant::now() >= deadline {
                bail!("`{}` does not listen:\n{}", running.name, self.log_end());
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Fails when a program has ended by itself.
    pub(super) fn check_running(&self, running: &mut Running) -> Result<()> {
        match running.child.try_wait().context("failed to watch a program")? {
            None => Ok(()),
            Some(status) => bail!("`{}` ended with {status}:\n{}", running.name, self.log_end()),
        }
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// A program that runs until this value goes.
pub(super) struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal, group: bool) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // An error means that it ended by itself.
        let _gone = match pid {
            Some(pid) if group => kill_process_group(pid, signal),
            Some(pid) => kill_process(pid, signal),
            None => Ok(()),
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Databases and web servers end their own children when they are asked to; what is left over is killed.
        self.signal(Signal::INT, false);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(LOOK_EVERY);
        }
        self.signal(Signal::KILL, true);
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Finds a port that nobody listens on.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("failed to find a free port")?;
    Ok(listener.local_addr().context("failed to find a free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::is_root;

    #[test]
    fn a_program_ends_with_its_children_when_its_value_goes() {
        if !is_root() {
            eprintln!("skipped: another user can be chosen by root only");
            return;
        }
        let sandbox = Sandbox::new().unwrap();
        let mut command = sandbox.command("sh").unwrap();
        command.args(["-c", "trap '' INT; sleep 600 & echo $! > pid; wait; sleep 600"]);
        let running = sandbox.start(command).unwrap();
        let pid = sandbox.path().join("pid");
        let pid = loop {
            match fs::read_to_string(&pid) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => sleep(LOOK_EVERY),
            }
        };
        let folder = sandbox.path().to_owned();
        drop(running);
        drop(sandbox);
        let gone = || !Path::new("/proc").join(&pid).join("exe").exists();
        let deadline = Instant::now() + GRACE;
        while !gone() && Instant::now() < deadline {
            sleep(LOOK_EVERY);
        }
        assert!(gone() && !folder.exists());
    }
}
