//! Builds what runs on each kernel: the agent, the program that tries it, and programs to be sampled.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace::{cargo, find_program, root, run, target};

/// The program that tries everything; its source is `profiler-agent/examples/vm_guest`.
pub(super) const GUEST: &str = "vm_guest";

/// Programs to be sampled: source, name, and how it is compiled.
const SAMPLED: &[(&str, &str, &[&str])] = &[
    (
        "tests/workloads/spin.c",
        "spin",
        &["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"],
    ),
    ("tests/vm/chain.c", "chain", &["-O2", "-fomit-frame-pointer"]),
];

/// A folder with all programs.
pub(super) struct Guest {
    folder: PathBuf,
}

impl Guest {
    /// Builds everything into `target/vm/guest`.
    pub(super) fn build() -> Result<Self> {
        let folder = target().join("vm/guest");
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create `{}`", folder.display()))?;
        let mut build = cargo(&["build", "--release", "-p", "profiler-agent"]);
        run(build.args(["--bin", "flamewatch-agent", "--example", GUEST]))?;
        for built in ["release/flamewatch-agent", "release/examples/vm_guest"] {
            strip(&target().join(built), &folder)?;
        }
        for (source, name, flags) in SAMPLED {
            let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
            let mut compile = Command::new(compiler);
            compile.args(["-Wall", "-Wextra"]).args(*flags).arg(root().join(source));
            run(compile.arg("-o").arg(folder.join(name)))?;
        }
        Ok(Self { folder })
    }

    /// All programs.
    pub(super) fn programs(&self) -> Result<Vec<PathBuf>> {
        let mut programs = Vec::new();
        let shown = self.folder.display();
        for entry in
            fs::read_dir(&self.folder).with_context(|| format!("failed to list `{shown}`"))?
        {
            programs.push(entry.with_context(|| format!("failed to list `{shown}`"))?.path());
        }
        programs.sort();
        Ok(programs)
    }

    /// Tries the running kernel; returns what the guest printed.
    pub(super) fn run_here(&self) -> Result<String> {
        let output = Command::new(self.folder.join(GUEST))
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("failed to try the running kernel")?;
        ensure!(output.status.success(), "`{GUEST}` ended with {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Copies a program without its debug information, which makes up most of it.
fn strip(program: &Path, folder: &Path) -> Result<()> {
    let name = program.file_name().context("a program has a name")?;
    let mut strip = Command::new(find_program("strip").context("`strip` is not installed")?);
    run(strip.arg("-o").arg(folder.join(name)).arg(program))
}
