//! Runs the agent's program as a person would, and reads what it says of this kernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// What Rust programs exit with after a panic.
const PANICKED: i32 = 101;

/// The agent, and the folder that it lies in together with the programs to be sampled.
pub(crate) struct Agent {
    folder: PathBuf,
    scratch: tempfile::TempDir,
}

/// What `flamewatch-agent check` says.
#[derive(Deserialize)]
pub(crate) struct Report {
    items: Vec<Item>,
}

/// One line of it.
#[derive(Deserialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) detail: String,
}

impl Report {
    /// What does not work, or not fully.
    pub(crate) fn not_ok(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.state != "ok")
    }

    /// State of one item.
    pub(crate) fn state(&self, name: &str) -> Result<&str> {
        let found = self.items.iter().find(|item| item.name == name);
        Ok(&found.with_context(|| format!("`check` says nothing of `{name}`"))?.state)
    }

    /// Whether everything in `needs` is ok; if not, what is not.
    pub(crate) fn expects(&self, needs: &[&str]) -> Result<(), String> {
        let lacking: Vec<&str> = needs
            .iter()
            .copied()
            .filter(|name| self.state(name).is_ok_and(|state| state != "ok"))
            .collect();
        if lacking.is_empty() { Ok(()) } else { Err(lacking.join(", ")) }
    }
}

impl Agent {
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        let scratch = tempfile::tempdir().context("failed to make a folder for captures")?;
        Ok(Self { folder, scratch })
    }

    /// A program of the folder.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file for what a capture writes.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Looks at this kernel.
    pub(crate) fn check(&self) -> Result<Report> {
        let output = self.run(&["check", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no report in {}", said(&output)))
    }

    /// Captures a command from its first instruction to its end; what is printed is JSON.
    pub(crate) fn capture(&self, file: &Path, more: &[&str], command: &[&str]) -> Result<String> {
        let file = file.to_str().context("a path that is no text")?;
        let mut arguments = vec!["capture", "--output", "json", "-o", file];
        arguments.extend(more);
        arguments.push("--");
        arguments.extend(command);
        let output = self.run(&arguments)?;
        ensure!(
            output.status.success(),
            "`capture` ended with {}: {}",
            output.status,
            said(&output)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs the agent with these arguments; fails when it panics or is killed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(self.program("flamewatch-agent"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("failed to start the agent")?;
        let code = output.status.code();
        ensure!(code.is_some_and(|code| code != PANICKED), "{}: {}", output.status, said(&output));
        Ok(output)
    }
}

/// The last lines that the agent printed, the most telling ones.
pub(crate) fn said(output: &Output) -> String {
    const LINES: usize = 4;
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}
