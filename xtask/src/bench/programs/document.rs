//! Writes what was measured as tables: on the terminal, and between markers in `docs/unwinding.md`.

use std::{fmt::Write as _, fs, io::Write as _, path::PathBuf};

use anyhow::{Context as _, Result};
use profiler_common::abi::sample::WalkEnd;

use super::{Row, quality::Tally};
use crate::workspace;

/// Stands before and behind what a command writes.
const PROGRAMS: &str = "programs";
const ENDS: &str = "ends";

/// Prints the table.
pub(super) fn print(rows: &[Row]) -> Result<()> {
    std::io::stdout().lock().write_all(table(rows).as_bytes()).context("failed to print the table")
}

/// Writes the tables into the document.
pub(super) fn write(rows: &[Row], seconds: u32, frequency: u32) -> Result<()> {
    let path = path();
    let shown = path.display();
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{shown}`"))?;
    let kernel = rustix::system::uname();
    let head = format!(
        "Measured with Linux {} on {} CPUs, each program alone for {seconds} s at {frequency} Hz.\n\n",
        kernel.release().to_string_lossy(),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let text = replaced(&text, PROGRAMS, &(head + &table(rows)))?;
    let text = replaced(&text, ENDS, &ends())?;
    fs::write(&path, text).with_context(|| format!("failed to write `{shown}`"))
}

fn path() -> PathBuf {
    workspace::root().join("docs/unwinding.md")
}

/// The table of programs in Markdown.
fn table(rows: &[Row]) -> String {
    let mut text =
        "| program | package | before tables | samples | whole | native | whole | not whole |\n\
                    |---|---|---:|---:|---:|---:|---:|---|\n"
            .to_owned();
    for Row { program, package, quality } in rows {
        let (all, native) = (&quality.all, &quality.native);
        let _infallible = writeln!(
            text,
            "| {program} | {package} | {} | {} | {:.2} % | {} | {:.2} % | {} |",
            all.early,
            all.samples,
            all.whole_percent(),
            native.samples,
            native.whole_percent(),
            reasons(all),
        );
    }
    text
}

fn reasons(tally: &Tally) -> String {
    if tally.broken.is_empty() {
        return "none".to_owned();
    }
    let mut reasons: Vec<(&String, &u64)> = tally.broken.iter().collect();
    reasons.sort_by_key(|(_, samples)| std::cmp::Reverse(**samples));
    let texts: Vec<String> =
        reasons.iter().map(|(reason, samples)| format!("{reason} {samples}")).collect();
    texts.join(", ")
}

/// The table of ends in Markdown.
fn ends() -> String {
    let mut text = "| end | what it means |\n|---|---|\n".to_owned();
    for end in WalkEnd::ALL {
        let _infallible = writeln!(text, "| {} | {} |", end.name(), end.sentence().trim());
    }
    text
}

/// Replaces what stands between two markers.
fn replaced(text: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->\n"));
    let missing = || format!("the document lacks `{}`", begin.trim());
    let (head, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, tail) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{head}{begin}{part}{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::quality::Quality, *};

    #[test]
    fn the_documented_ends_are_those_of_the_program() {
        let text = fs::read_to_string(path()).unwrap();
        assert_eq!(replaced(&text, ENDS, &ends()).unwrap(), text);
    }

    #[test]
    fn the_table_names_the_commonest_reason_first() {
        let broken = BTreeMap::from([("stuck".to_owned(), 1), ("unreadable".to_owned(), 4)]);
        let all = Tally { samples: 1000, early: 12, broken };
        let native = Tally { samples: 600, early: 0, broken: BTreeMap::new() };
        let quality = Quality { all, native };
        let row = Row { program: "node", package: "nodejs 20".to_owned(), quality };
        let text = table(&[row]);
        let last = text.lines().last().unwrap();
        let expected =
            "| node | nodejs 20 | 12 | 1000 | 99.50 % | 600 | 100.00 % | unreadable 4, stuck 1 |";
        assert_eq!(last, expected);
    }

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n";
        let expected = "a\n<!-- begin: x -->\nnew\n<!-- end: x -->\nb\n";
        assert_eq!(replaced(text, "x", "new\n").unwrap(), expected);
        assert!(replaced(text, "y", "new\n").is_err());
    }
}
