//! Counts passed, failed and skipped tests from what the test runners print.

use std::{fmt, io::Write};

use anyhow::{Context as _, Result};

use super::runner::Runner;
use crate::workspace;

/// What a test prints, followed by the reason, when this machine cannot run it.
const SKIPPED: &str = "skipped: ";

/// The most reasons that are kept: more than there are tests that can skip themselves.
const REASONS_MAX: usize = 200;

/// The error of a run in which something failed; the tally has said so already.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tests failed")
    }
}

impl std::error::Error for Failed {}

/// Tests counted so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Tests that skipped themselves: their runners count them as passed.
    skipped_themselves: u64,
    /// The line before was a panic's first, so this one is its message.
    in_panic: bool,
    reasons: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    /// Counts a check that is no test of a runner, and shows its error.
    pub(crate) fn check(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                self.fail(name);
            }
        }
    }

    /// Counts one failure that no runner counted.
    pub(crate) fn fail(&mut self, what: &str) {
        self.failed += 1;
        self.failures.push(what.to_owned());
    }

    /// Counts something that could not run at all.
    pub(crate) fn skip(&mut self, reason: &str) {
        self.skipped += 1;
        self.keep_reason(reason);
    }

    /// Reads one line of a runner's output, without terminal colours.
    pub(crate) fn read_line(&mut self, line: &str, runner: Runner) {
        let line = line.trim();
        // In CI the scenarios turn a skip into a panic, which their runner counts as failed.
        let in_panic = std::mem::replace(&mut self.in_panic, line.contains(" panicked at "));
        if let Some(reason) = skip_reason(line).filter(|_| !in_panic) {
            self.skipped_themselves += 1;
            self.keep_reason(reason);
            return;
        }
        match runner {
            Runner::Nextest => self.read_nextest(line),
            Runner::Cargo => self.read_cargo(line),
            Runner::Node => self.read_node(line),
        }
    }

    /// Returns how many tests failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Prints the tally as the last line; in CI a skipped test counts as failed.
    pub(crate) fn finish(self) -> Result<()> {
        self.finish_into(&mut std::io::stdout(), workspace::is_ci())
    }

    fn finish_into(mut self, out: &mut dyn Write, is_ci: bool) -> Result<()> {
        for reason in &self.reasons {
            eprintln!("{SKIPPED}{reason}");
        }
        for failure in &self.failures {
            eprintln!("failed: {failure}");
        }
        self.passed = self.passed.saturating_sub(self.skipped_themselves);
        self.skipped += std::mem::take(&mut self.skipped_themselves);
        if is_ci && self.skipped > 0 {
            eprintln!("in CI nothing may be skipped: the skipped tests count as failed");
            self.failed += std::mem::take(&mut self.skipped);
        }
        writeln!(out, "{self}").and_then(|()| out.flush()).context("failed to print the tally")?;
        if self.failed > 0 || self.passed == 0 {
            return Err(Failed.into());
        }
        Ok(())
    }

    fn keep_reason(&mut self, reason: &str) {
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason.to_owned());
        }
    }

    /// `Summary [   1.2s] 9 tests run: 8 passed (1 slow), 1 failed, 2 skipped`
    fn read_nextest(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("Summary ").and_then(|rest| rest.split_once(" run: "))
        else {
            return;
        };
        for count in without_parentheses(counts).split(',') {
            match number_and_word(count) {
                Some((number, "passed")) => self.passed += number,
                Some((number, "failed" | "exec" | "timed")) => self.failed += number,
                Some((number, "skipped")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`
    fn read_cargo(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split(';') {
            match number_and_word(count) {
                Some((number, "passed")) => self.passed += number,
                Some((number, "failed")) => self.failed += number,
                Some((number, "ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }

    /// `# pass 5`, as the Test Anything Protocol has it.
    fn read_node(&mut self, line: &str) {
        let Some((word, number)) = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        let Ok(number) = number.parse::<u64>() else { return };
        match word {
            "pass" => self.passed += number,
            "fail" | "cancelled" => self.failed += number,
            "skipped" | "todo" => self.skipped += number,
            _ => {}
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped_themselves);
        let skipped = self.skipped + self.skipped_themselves;
        write!(f, "{passed} passed, {} failed, {skipped} skipped", self.failed)
    }
}

/// Finds a skip at the start of a line, or after the name that libtest prints before its test runs.
fn skip_reason(line: &str) -> Option<&str> {
    line.strip_prefix(SKIPPED).or_else(|| {
        let (_, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
        rest.strip_prefix(SKIPPED)
    })
}

fn number_and_word(count: &str) -> Option<(u64, &str)> {
    let mut words = count.split_whitespace();
    let number = words.next()?.parse().ok()?;
    Some((number, words.next()?))
}

fn without_parentheses(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|&character| {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runner: Runner, lines: &[&str], expected: &str) {
        let mut tally = Tally::default();
        for line in lines {
            tally.read_line(line, runner);
        }
        assert_eq!(tally.to_string(), expected);
    }

    fn finish(tally: Tally, is_ci: bool) -> (bool, String) {
        let mut out = Vec::new();
        let result = tally.finish_into(&mut out, is_ci);
        let failed = result.as_ref().is_err_and(anyhow::Error::is::<Failed>);
        assert_eq!(failed, result.is_err());
        (!failed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_summary_of_nextest_is_read() {
        check(
            Runner::Nextest,
            &["     Summary [   0.012s] 9 tests run: 5 passed (1 slow, 1 leaky), 2 failed, \
                 1 exec failed, 1 timed out, 2 skipped"],
            "5 passed, 4 failed, 2 skipped",
        );
        check(
            Runner::Nextest,
            &["Summary [   0.012s] 1 test run: 1 passed, 0 skipped"],
            "1 passed, 0 failed, 0 skipped",
        );
    }

    #[test]
    fn an_interrupted_summary_of_nextest_is_read() {
        check(
            Runner::Nextest,
            &["Summary [ 3.1s] 3/11 tests run: 2 passed, 1 failed, 8 skipped"],
            "2 passed, 1 failed, 8 skipped",
        );
    }

    #[test]
    fn the_results_of_several_test_programs_add_up() {
        check(
            Runner::Cargo,
            &[
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s",
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            ],
            "6 passed, 2 failed, 1 skipped",
        );
    }

    #[test]
    fn the_counts_of_node_are_read() {
        let lines =
            ["ok 1 - zoom", "# tests 4", "# pass 2", "# fail 1", "# cancelled 0", "# skipped 1"];
        check(Runner::Node, &lines, "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_skips_itself_is_not_a_pass() {
        check(
            Runner::Cargo,
            &[
                "test alert_names_the_function ... skipped: needs root",
                "skipped: needs BTF",
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            ],
            "1 passed, 0 failed, 2 skipped",
        );
    }

    #[test]
    fn a_skip_that_became_a_panic_is_counted_once() {
        check(
            Runner::Cargo,
            &[
                "thread 'gate' panicked at tests/harness/mod.rs:70:9:",
                "skipped: needs root; in CI a skipped scenario is a failed one",
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            ],
            "0 passed, 1 failed, 0 skipped",
        );
    }

    #[test]
    fn a_skip_that_is_only_mentioned_is_no_skip() {
        check(
            Runner::Cargo,
            &["test it_says_skipped: why ... ok"],
            "0 passed, 0 failed, 0 skipped",
        );
    }

    #[test]
    fn a_run_of_nothing_is_a_failure() {
        assert!(!finish(Tally::default(), false).0);
    }

    #[test]
    fn an_uncounted_failure_fails_the_run() {
        let mut tally = Tally::default();
        tally.check("format", Ok(()));
        tally.fail("clippy");
        assert_eq!(finish(tally, false), (false, "1 passed, 1 failed, 0 skipped\n".to_owned()));
    }

    #[test]
    fn a_skipped_test_fails_the_run_in_ci_only() {
        let tally = || {
            let mut tally = Tally::default();
            tally.check("format", Ok(()));
            tally.skip("needs root");
            tally
        };
        assert_eq!(finish(tally(), false), (true, "1 passed, 0 failed, 1 skipped\n".to_owned()));
        assert_eq!(finish(tally(), true), (false, "1 passed, 1 failed, 0 skipped\n".to_owned()));
    }
}
