//! Time that syscall tracing adds to each call; the measurement itself is `profiler-agent/examples/bench_syscalls.rs`.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace;

/// Builds the measurement, installs bpftrace where it can, and runs it.
pub(crate) fn run() -> Result<()> {
    ensure!(workspace::is_root(), "failed to measure: tracing needs root; run it with `sudo -E`");
    install_bpftrace();
    workspace::run(&mut workspace::cargo(&[
        "build",
        "-p",
        "profiler-agent",
        "--example",
        "bench_syscalls",
    ]))?;
    // Not built for release: the programs in the kernel are the same, and the loop is a system call.
    workspace::run(&mut Command::new(workspace::target().join("debug/examples/bench_syscalls")))
}

/// The comparison with bpftrace is left out, and said to be, where it cannot be installed.
fn install_bpftrace() {
    if workspace::find_program("bpftrace").is_some() || workspace::find_program("apt-get").is_none()
    {
        return;
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends", "bpftrace"]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    if let Err(error) = workspace::run(&mut install) {
        eprintln!("bpftrace cannot be installed: {error:#}");
    }
}
