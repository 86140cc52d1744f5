//! `cargo xtask tidy`: the house rules that the compiler and clippy cannot check.
//!
//! It also runs as a test of this package, so a plain `cargo test` finds what it finds.

mod files;
mod source;
mod links;

use std::fmt;

use anyhow::{Result, bail};
use files::File;

use crate::workspace;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &File, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        match line {
            0 => write!(f, "{path}: {message}"),
            line => write!(f, "{path}:{line}: {message}"),
        }
    }
}

/// Checks every file of the checkout and fails with all broken rules.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let files = files::read_all(root)?;
    let paths = files::Paths::new(&files);
    let findings: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let mut findings = source::check(file);
            findings.extend(links::check(file, &paths));
            findings
        })
        .map(|finding| finding.to_string())
        .collect();
    if !findings.is_empty() {
        bail!("{} house rules are broken:\n{}", findings.len(), findings.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_follows_the_house_rules() {
        if let Err(error) = run() {
            panic!("{error:#}");
        }
    }

    #[test]
    fn a_finding_names_the_file_and_the_line() {
        let finding = |line| Finding { path: "a.rs".into(), line, message: "too long".into() };
        assert_eq!(finding(0).to_string(), "a.rs: too long");
        assert_eq!(finding(7).to_string(), "a.rs:7: too long");
    }
}
