//! Boots one kernel in QEMU, with a limit of time, and returns what came over the second serial line.

use std::{
    fs,
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    test::install::{Package, debian_packages},
    workspace::find_program,
};

const QEMU: &str = "qemu-system-x86_64";

/// What the machines need from Debian.
const PACKAGES: &[Package] = &[
    Package { program: QEMU, package: "qemu-system-x86", why: "kernels are booted" },
    Package { program: "busybox", package: "busybox-static", why: "kernels need a first program" },
    Package { program: "dpkg-deb", package: "dpkg", why: "kernels are unpacked" },
];

/// The most time from start to end: ten times what a kernel takes on two emulated processors of an idle host.
const LIMIT: Duration = Duration::from_secs(400);

/// What the kernel is told: to end at a panic, and not to test its timer against the clock of a host that is busy.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Lines of the console that are shown when a machine gave no result.
const CONSOLE_LINES: usize = 30;

/// Installs what is missing.
pub(super) fn install() -> Result<()> {
    debian_packages(PACKAGES)
}

/// Boots a kernel from its file with `image`, and returns what the guest printed.
///
/// The console and the result stay in `folder`.
pub(super) fn boot(name: &str, kernel: &Path, image: &Path, folder: &Path) -> Result<String> {
    let console = folder.join(format!("{name}.console"));
    let result = folder.join(format!("{name}.result"));
    let complaints = folder.join(format!("{name}.qemu"));
    let qemu = find_program(QEMU).with_context(|| format!("`{QEMU}` is not installed"))?;
    let mut command = Command::new(qemu);
    command
        .args(if has_kvm() { ["-accel", "kvm", "-cpu", "host"] } else { EMULATED })
        .args(["-smp", "2", "-m", "1024"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-serial", &format!("file:{}", console.display())])
        .args(["-serial", &format!("file:{}", result.display())])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", COMMAND_LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&complaints).context("failed to create a file for complaints")?);
    let mut machine = Machine(command.spawn().with_context(|| format!("failed to run `{QEMU}`"))?);
    let status = machine.wait()?;
    let text = |path: &Path| {
        fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let (said, console) = (text(&result), text(&console));
    match status {
        Some(status) if !status.success() => {
            bail!("`{QEMU}` ended with {status}: {}", text(&complaints))
        }
        Some(_) if said.is_empty() => {
            bail!("it gave no result; the end of its console:\n{}", last_lines(&console))
        }
        Some(_) => Ok(said),
        None => bail!(
            "it did not end within {} s; it said: {said}; the end of its console:\n{}",
            LIMIT.as_secs(),
            last_lines(&console)
        ),
    }
}

/// An old processor that every kernel knows and that the emulator knows whole; newer ones make some kernels panic.
///
/// One thread emulates both processors in turn: with a thread each, one may run code that the other has patched already.
const EMULATED: [&str; 4] = ["-accel", "tcg,thread=single", "-cpu", "Haswell"];

/// Says whether machines can run on the processor itself. Some hosts show the device without the means.
fn has_kvm() -> bool {
    let opens = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    opens && flags.split_whitespace().any(|flag| matches!(flag, "vmx" | "svm"))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

/// A machine that does not outlive this value.
struct Machine(Child);

impl Machine {
    /// Waits for the end; `None` when the time is over.
    fn wait(&mut self) -> Result<Option<ExitStatus>> {
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().context("failed to wait for a machine")? {
                return Ok(Some(status));
            }
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(None)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
