//! Runs a test runner: its output is shown as it comes, and counted.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, Write, pipe, stdout},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::tally::Tally;
use crate::workspace;

/// Whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo nextest run`.
    Nextest,
    /// `cargo test`, doc tests included.
    Cargo,
    /// `node --test` with the reporter `tap`.
    Node,
}

/// Runs one runner to its end and counts its tests.
///
/// # Errors
///
/// When the runner cannot be started. Failed tests are counted, and so is a runner that fails
/// without a failed test, which is how code that does not compile looks.
pub(crate) fn run(command: &mut Command, runner: Runner, tally: &mut Tally) -> Result<()> {
    run_into(&mut stdout(), command, runner, tally)
}

/// Runs one runner and shows its output in `out`.
fn run_into(
    out: &mut dyn Write,
    command: &mut Command,
    runner: Runner,
    tally: &mut Tally,
) -> Result<()> {
    let shown = workspace::shown(command);
    eprintln!("$ {shown}");
    let failed_before = tally.failed();
    // One pipe for both streams keeps a failure's text beside its test.
    let (output, input) = pipe().context("failed to make a pipe")?;
    command
        .stdout(input.try_clone().context("failed to share a pipe")?)
        .stderr(input)
        .env("CARGO_TERM_COLOR", if stdout().is_terminal() { "always" } else { "never" });
    let mut child = command.spawn().with_context(|| format!("failed to run `{shown}`"))?;
    // The command holds the writing ends: without them closed the output never ends.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());

    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("failed to read the output of `{shown}`"))?;
        show(out, &line)?;
        tally.read_line(&without_colours(&String::from_utf8_lossy(&line)), runner);
    }
    let status = child.wait().with_context(|| format!("failed to wait for `{shown}`"))?;
    if !status.success() && tally.failed() == failed_before {
        tally.fail(&format!("`{shown}` ended with {status}"));
    }
    Ok(())
}

fn show(out: &mut dyn Write, line: &[u8]) -> Result<()> {
    out.write_all(line)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .context("failed to show the output of a test runner")
}

/// Removes the escape sequences that colour text: from `ESC [` to the first letter.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|character: char| character.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(script: &str) -> String {
        let mut tally = Tally::default();
        let mut command = Command::new("sh");
        let mut shown = Vec::new();
        command.args(["-c", script]);
        run_into(&mut shown, &mut command, Runner::Cargo, &mut tally).unwrap();
        assert!(!shown.is_empty());
        tally.to_string()
    }

    #[test]
    fn colours_are_removed_and_the_text_stays() {
        assert_eq!(without_colours("\u{1b}[32;1m9 passed\u{1b}[0m, none"), "9 passed, none");
        assert_eq!(without_colours("plain [1m"), "plain [1m");
        assert_eq!(without_colours("cut off \u{1b}[3"), "cut off ");
    }

    #[test]
    fn both_streams_of_a_runner_are_counted() {
        let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        let script = format!("echo '{result}'; echo '{result}' >&2");
        assert_eq!(ran(&script), "2 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_runner_that_fails_without_a_failed_test_counts_as_a_failure() {
        assert_eq!(
            ran("echo 'error: does not compile' >&2; exit 101"),
            "0 passed, 1 failed, 0 skipped"
        );
    }

    #[test]
    fn a_counted_failure_is_not_counted_again() {
        let script = "echo 'test result: FAILED. 0 passed; 1 failed; 0 ignored'; exit 101";
        assert_eq!(ran(script), "0 passed, 1 failed, 0 skipped");
    }
}
