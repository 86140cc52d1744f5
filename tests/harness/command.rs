//! Runs a program to its end and keeps what it said.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::running::quiet;

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Fails unless the exit code is the given one.
    ///
    /// # Errors
    ///
    /// With everything that it said.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code != Some(code) {
            bail!("expected exit code {code}, got {}", self.story());
        }
        Ok(self)
    }

    /// Fails unless each text stands somewhere in what it said, in upper or lower case.
    ///
    /// # Errors
    ///
    /// With the first missing text and everything that was said.
    pub fn expect_said(self, texts: &[&str]) -> Result<Self> {
        let said = format!("{}\n{}", self.stdout, self.stderr).to_lowercase();
        if let Some(missing) = texts.iter().find(|text| !said.contains(&text.to_lowercase())) {
            bail!("expected `{missing}` in {}", self.story());
        }
        Ok(self)
    }

    /// Fails when it panicked.
    ///
    /// # Errors
    ///
    /// With everything that it said.
    pub fn expect_no_panic(self) -> Result<Self> {
        if self.stderr.contains("panicked at") {
            bail!("it panicked: {}", self.story());
        }
        Ok(self)
    }

    fn story(&self) -> String {
        format!("code {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// Runs one of our programs, with none of the tester's own settings.
///
/// # Errors
///
/// When it cannot be started.
pub fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<Finished> {
    finish(quiet(program).args(arguments))
}

/// Runs a command to its end.
///
/// # Errors
///
/// When it cannot be started.
pub fn finish(command: &mut Command) -> Result<Finished> {
    let output: Output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to run {command:?}"))?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
