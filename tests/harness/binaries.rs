//! Finds the two programs, and builds them when there is none that is as new as its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// Files looked at when the age of the sources is asked for; the workspace has about 200.
const SOURCE_FILES_MAX: usize = 20_000;

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `flamewatch-agent`.
    Agent,
    /// `flamewatch-collector`.
    Collector,
}

impl Program {
    /// File name of the program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "flamewatch-agent",
            Self::Collector => "flamewatch-collector",
        }
    }

    const fn package(self) -> &'static str {
        match self {
            Self::Agent => "profiler-agent",
            Self::Collector => "collector",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Agent => "FLAMEWATCH_AGENT_BIN",
            Self::Collector => "FLAMEWATCH_COLLECTOR_BIN",
        }
    }

    const fn source_folders(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &["profiler-agent", "profiler-common", "profiler-ebpf/prebuilt"],
            Self::Collector => &["collector", "profiler-common"],
        }
    }

    /// Path of a program that is as new as its sources: the one that the environment names, else one from the target
    /// folder, else one that is built now.
    ///
    /// # Errors
    ///
    /// When the named one is missing, or when building fails.
    pub fn path(self) -> Result<PathBuf> {
        static FOUND: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        let slot = &FOUND[self as usize];
        if let Some(path) = slot.get() {
            return Ok(path.clone());
        }
        let path = self.find_or_build()?;
        Ok(slot.get_or_init(|| path).clone())
    }

    fn find_or_build(self) -> Result<PathBuf> {
        if let Some(named) = std::env::var_os(self.variable()) {
            let path = PathBuf::from(named);
            if !path.is_file() {
                bail!("`{}` names no file: `{}`", self.variable(), path.display());
            }
            return Ok(path);
        }
        let sources = self.newest_source()?;
        let beside = profile_folder()?.join(self.name());
        let release = target_folder()?.join("release").join(self.name());
        for candidate in [beside, release.clone()] {
            if modified(&candidate).is_some_and(|built| built >= sources) {
                return Ok(candidate);
            }
        }
        self.build()?;
        if !release.is_file() {
            bail!("cargo built no `{}`", release.display());
        }
        Ok(release)
    }

    // Cargo decides itself what is out of date, and its own lock lets one build run at a time.
    fn build(self) -> Result<()> {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--package", self.package(), "--bin", self.name()])
            .arg("--target-dir")
            .arg(target_folder()?)
            .current_dir(workspace_folder()?)
            .status()
            .context("failed to run cargo")?;
        if !status.success() {
            bail!("failed to build `{}`: cargo ended with {status}", self.name());
        }
        Ok(())
    }

    fn newest_source(self) -> Result<SystemTime> {
        let root = workspace_folder()?;
        let mut newest = modified(&root.join("Cargo.lock")).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut folders: Vec<PathBuf> =
            self.source_folders().iter().map(|folder| root.join(folder)).collect();
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder)
                .with_context(|| format!("failed to list `{}`", folder.display()))?;
            for entry in entries {
                let entry = entry.context("failed to read a folder's entry")?;
                seen += 1;
                if seen > SOURCE_FILES_MAX {
                    bail!("more than {SOURCE_FILES_MAX} source files under `{}`", root.display());
                }
                if entry.file_type().context("failed to read a file's type")?.is_dir() {
                    folders.push(entry.path());
                } else if let Some(time) = modified(&entry.path()) {
                    newest = newest.max(time);
                }
            }
        }
        Ok(newest)
    }
}

/// The cargo target folder that the running test was built in.
///
/// # Errors
///
/// When the test does not lie in `TARGET/PROFILE/deps`.
pub fn target_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    let parent = profile.parent().context("the running test lies in no cargo target folder")?;
    Ok(parent.to_owned())
}

/// The root of the workspace.
///
/// # Errors
///
/// When the package has no parent folder.
pub fn workspace_folder() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package.parent().context("the package lies in no workspace")?.to_owned())
}

fn profile_folder() -> Result<PathBuf> {
    let test = std::env::current_exe().context("failed to read the path of the running test")?;
    let folder = test.parent().and_then(Path::parent);
    Ok(folder.context("the running test lies in no cargo target folder")?.to_owned())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
