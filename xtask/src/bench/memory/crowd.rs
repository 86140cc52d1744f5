//! A crowd of processes of many programs, each with libraries of its own, each at work for a moment now and then.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// Programs that differ.
pub(super) const PROGRAMS: usize = 40;

/// Processes of all of them.
pub(super) const PROCESSES: usize = 300;

/// Libraries that each program loads beside its own.
const LIBRARIES: usize = 3;

/// Where Debian keeps libraries.
const LIBRARY_FOLDER: &str = "/usr/lib/x86_64-linux-gnu";

/// Sizes of libraries that are loaded: large enough to matter. Compilers are measured by themselves.
const LIBRARY_BYTES: std::ops::Range<u64> = 1 << 20..32 << 20;

const SOURCE: &str = include_str!("crowd.c");

/// The processes; they end with this value.
pub(super) struct Crowd {
    _folder: tempfile::TempDir,
    children: Vec<Child>,
}

impl Crowd {
    /// Compiles the programs and starts the processes.
    pub(super) fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("failed to make a folder for the programs")?;
        let source = folder.path().join("crowd.c");
        fs::write(&source, SOURCE).context("failed to write the source of the programs")?;
        let programs: Vec<PathBuf> = (0..PROGRAMS)
            .map(|variant| compile(&source, folder.path(), variant))
            .collect::<Result<_>>()?;
        let libraries = libraries()?;
        ensure!(!libraries.is_empty(), "there are no libraries in `{LIBRARY_FOLDER}`");
        let mut crowd = Self { _folder: folder, children: Vec::with_capacity(PROCESSES) };
        for number in 0..PROCESSES {
            let variant = number % PROGRAMS;
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&programs[variant]);
            let loaded = (0..LIBRARIES).map(|step| (variant + step * PROGRAMS) % libraries.len());
            command.args(loaded.map(|index| &libraries[index]));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.process_group(0).spawn();
            crowd.children.push(child.context("failed to start a process of the crowd")?);
        }
        Ok(crowd)
    }

    /// Fails when a process has ended by itself.
    pub(super) fn check_running(&mut self) -> Result<()> {
        for child in &mut self.children {
            let ended = child.try_wait().context("failed to watch a process of the crowd")?;
            ensure!(ended.is_none(), "a process of the crowd ended by itself: {ended:?}");
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ended = child.kill();
        }
        for child in &mut self.children {
            let _ended = child.wait();
        }
    }
}

fn compile(source: &Path, folder: &Path, variant: usize) -> Result<PathBuf> {
    let program = folder.join(format!("crowd-{variant}"));
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O2", "-fomit-frame-pointer", "-Wl,--build-id", "-o"])
        .arg(&program)
        .arg(format!("-DVARIANT={variant}"))
        .arg(source)
        .arg("-ldl");
    let shown = workspace::shown(&compiler);
    let status = compiler.status().with_context(|| format!("failed to run `{shown}`"))?;
    ensure!(status.success(), "`{shown}` ended with {status}");
    Ok(program)
}

/// The largest libraries of this host, at most one for each place that they fill, in the order of their names.
fn libraries() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(LIBRARY_FOLDER)
        .with_context(|| format!("failed to list `{LIBRARY_FOLDER}`"))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let status = fs::symlink_metadata(entry.path()).ok()?;
            // Sanitizers end a program that loads them late.
            let wanted = name.contains(".so.") && !name.contains("san.so") && status.is_file();
            (wanted && LIBRARY_BYTES.contains(&status.size()))
                .then(|| (status.size(), entry.path()))
        })
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.truncate(PROGRAMS * LIBRARIES);
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    paths.sort();
    Ok(paths)
}
