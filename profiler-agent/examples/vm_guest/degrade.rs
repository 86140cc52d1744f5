//! Takes things away from this kernel, and compares what `check` says then with what really happens.
//!
//! Only for a machine that is thrown away afterwards: nothing is put back.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::agent::{Agent, said};
use crate::captured::Stacks;
use crate::scenarios::Scenario;

/// All of them; the last one leaves nothing that works.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { name: "short stacks", needs: &[], run: short_stacks },
    Scenario { name: "no kernel types", needs: &[], run: no_kernel_types },
    Scenario { name: "lockdown", needs: &[], run: lockdown },
];

const SECONDS: &str = "1";

/// A few samples show that sampling goes on.
const SAMPLES_MIN: u64 = 10;

/// How long a setting may be in use by what ended just now.
const SETTING_LIMIT: Duration = Duration::from_secs(10);

const KERNEL_TYPES: &str = "/sys/kernel/btf";

/// Half of the samples: the program's start and end count too in a second.
const SHARE_MIN: f64 = 0.5;

/// The kernel gives only a few frames for a stack: shallow ones are still sampled.
fn short_stacks(agent: &Agent) -> Result<String> {
    set("/proc/sys/kernel/perf_event_max_stack", "16")?;
    says(agent, "stack depth", "degraded")?;
    still_samples(agent)
}

/// The kernel does not show its types: start times are lost, sampling goes on.
fn no_kernel_types(agent: &Agent) -> Result<String> {
    run("mount", &["-t", "tmpfs", "none", KERNEL_TYPES])?;
    says(agent, "kernel types (BTF)", "degraded")?;
    let sampled = still_samples(agent);
    run("umount", &[KERNEL_TYPES])?;
    sampled
}

/// The kernel lets nobody read its memory: `check` says that nothing works, and a capture fails with a reason.
fn lockdown(agent: &Agent) -> Result<String> {
    set("/sys/kernel/security/lockdown", "confidentiality")?;
    says(agent, "kernel lockdown", "missing")?;
    let spin = agent.program("spin");
    let file = agent.scratch("locked.folded");
    match agent.capture(&file, &[], &[&spin.to_string_lossy(), SECONDS]) {
        Ok(_) => bail!("`check` says that nothing works, but a capture succeeds"),
        Err(error) => Ok(format!("refused: {error:#}")),
    }
}

/// Writes a setting of the kernel, which takes a while to let go of programs that used it.
fn set(path: &str, value: &str) -> Result<()> {
    let limit = Instant::now() + SETTING_LIMIT;
    loop {
        match fs::write(path, value) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < limit => {
                sleep(Duration::from_millis(100));
            }
            written => {
                return written.with_context(|| format!("failed to write `{value}` to `{path}`"));
            }
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let status =
        command.args(arguments).status().with_context(|| format!("failed to run `{program}`"))?;
    ensure!(status.success(), "`{program}` ended with {status}");
    Ok(())
}

/// Checks that `check` gives an item this state, and the exit code that belongs to it.
fn says(agent: &Agent, item: &str, state: &str) -> Result<()> {
    let report = agent.check()?;
    let found = report.state(item)?;
    ensure!(found == state, "`check` says that `{item}` is {found}, not {state}");
    let output = agent.run(&["check"])?;
    let works = state != "missing";
    ensure!(
        output.status.success() == works,
        "`check` ended with {}: {}",
        output.status,
        said(&output)
    );
    Ok(())
}

fn still_samples(agent: &Agent) -> Result<String> {
    let spin = agent.program("spin");
    let file = agent.scratch("degraded.folded");
    agent.capture(&file, &[], &[&spin.to_string_lossy(), SECONDS])?;
    Stacks::read(&file)?.ensure_share(&["spin_leaf"], SHARE_MIN, SAMPLES_MIN)
}
