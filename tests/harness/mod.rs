//! Starts the real programs against the running kernel, and waits for what they promise.
//!
//! A scenario is one function given to [`scenario`]. It gets a folder of its own and the machine to itself; whatever it
//! started is killed when it ends, and the logs of a failed one are printed and kept.

pub mod skip;
pub mod binaries;
pub mod running;
pub mod command;
pub mod eventually;
pub mod http;
pub mod collector;
pub mod agent;
pub mod alertmanager;
pub mod workload;
pub mod browser;
pub mod tools;
pub mod mount;
pub mod batch;
pub mod load;
pub mod binomial;
pub mod truth;
pub mod symbols;
pub mod mix;
pub mod perf;
pub mod clickhouse;

use std::fs;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Lines of each log that are shown when a scenario fails.
const LOG_TAIL_LINES: usize = 60;

/// The room of one scenario.
#[derive(Debug)]
pub struct Scenario {
    folder: PathBuf,
    // Held until the end: scenarios measure the machine, so they run one at a time under plain `cargo test` too.
    _machine: File,
}

impl Scenario {
    /// The scenario's own folder, on the disk of the target folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the scenario's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Runs one scenario where the machine allows it; otherwise says why not.
///
/// # Panics
///
/// When the scenario fails, or when it cannot run and the environment says `CI=true`.
pub fn scenario(name: &str, body: impl FnOnce(&Scenario) -> Result<()>) {
    if let Some(why) = skip::reason() {
        assert!(!skip::is_ci(), "skipped: {why}; in CI a skipped scenario is a failed one");
        #[expect(clippy::print_stderr, reason = "a silent pass is worse than a failure")]
        {
            eprintln!("skipped: {why}");
        }
        return;
    }
    let scenario = prepare(name).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&scenario)));
    match outcome {
        Ok(Ok(())) => {
            // What is left over does not make a passed scenario fail.
            let _ = fs::remove_dir_all(scenario.folder());
        }
        Ok(Err(error)) => {
            print_logs(&scenario);
            panic!("{name}: {error:#}");
        }
        Err(panic) => {
            print_logs(&scenario);
            resume_unwind(panic);
        }
    }
}

/// Folder of the scenarios, beside the build results.
///
/// # Errors
///
/// When the path of the running test is not that of a cargo target folder.
pub fn e2e_folder() -> Result<PathBuf> {
    let folder = binaries::target_folder()?.join("e2e");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create `{}`", folder.display()))?;
    Ok(folder)
}

/// Prints one line of what a scenario measured; the test runner shows it.
#[expect(clippy::print_stderr, reason = "a measurement is worth seeing when it passes too")]
pub fn report(line: &str) {
    eprintln!("{line}");
}

fn prepare(name: &str) -> Result<Scenario> {
    let parent = e2e_folder()?;
    let machine = File::create(parent.join("machine.lock")).context("failed to create lock")?;
    machine.lock().context("failed to lock the machine for this scenario")?;
    let folder = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .disable_cleanup(true)
        .tempdir_in(&parent)
        .context("failed to create the scenario's folder")?
        .keep();
    Ok(Scenario { folder, _machine: machine })
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the failure")]
fn print_logs(scenario: &Scenario) {
    eprintln!("kept: {}", scenario.folder().display());
    let Ok(entries) = fs::read_dir(scenario.folder()) else { return };
    let mut logs: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    logs.sort();
    for log in logs {
        eprintln!("--- {}\n{}", log.display(), running::tail(&log, LOG_TAIL_LINES));
    }
}
