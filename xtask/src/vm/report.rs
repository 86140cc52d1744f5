//! Reads what the guest said of each kernel, judges it, and writes the tables of `docs/kernels.md`.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::workspace::root;

/// The document, relative to the root.
const DOCUMENT: &str = "docs/kernels.md";

/// What stands around the part that is written here.
const BEGIN: &str = "<!-- begin: written by `cargo xtask vm --write` -->\n";
const END: &str = "<!-- end -->";

/// One line of the guest; its source is `profiler-agent/examples/vm_guest`.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
enum Line {
    Kernel { release: String },
    Check(Check),
    Program(Program),
    Refused { name: String, why: String },
    Scenario(Scenario),
    End,
}

/// Something that `flamewatch-agent check` does not call ok.
#[derive(Debug, PartialEq, Deserialize)]
struct Check {
    name: String,
    state: String,
    detail: String,
}

/// One program of the kernel object, as this kernel took it.
#[derive(Debug, PartialEq, Deserialize)]
struct Program {
    name: String,
    verified_instructions: Option<u32>,
    translated_bytes: Option<u32>,
    load_us: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Scenario {
    name: String,
    passed: bool,
    degraded: bool,
    detail: String,
}

/// All that the guest said of one kernel.
#[derive(Debug)]
pub(super) struct Report {
    release: String,
    checks: Vec<Check>,
    programs: Vec<Program>,
    refused: Vec<(String, String)>,
    scenarios: Vec<Scenario>,
}

impl Report {
    /// Reads the guest's lines; fails when they stop before the end.
    pub(super) fn read(text: String) -> Result<Self> {
        let mut report = Self {
            release: String::new(),
            checks: Vec::new(),
            programs: Vec::new(),
            refused: Vec::new(),
            scenarios: Vec::new(),
        };
        let mut ended = false;
        for text in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_str(text)
                .with_context(|| format!("failed to read the guest's `{text}`"))?;
            match line {
                Line::Kernel { release } => report.release = release,
                Line::Check(check) => report.checks.push(check),
                Line::Program(program) => report.programs.push(program),
                Line::Refused { name, why } => report.refused.push((name, why)),
                Line::Scenario(scenario) => report.scenarios.push(scenario),
                Line::End => ended = true,
            }
        }
        ensure!(ended, "the guest stopped before its end; it said: {text}");
        ensure!(!report.scenarios.is_empty(), "the guest ran no scenario");
        Ok(report)
    }

    /// Fails when a scenario did.
    pub(super) fn verdict(&self) -> Result<()> {
        let failed: Vec<String> = self
            .scenarios
            .iter()
            .filter(|scenario| !scenario.passed)
            .map(|scenario| format!("\n  {}: {}", scenario.name, scenario.detail))
            .collect();
        let refused = self.refused.iter().map(|(name, why)| format!("\n  {name}: {why}"));
        if !failed.is_empty() {
            bail!("{}{}{}", self.release, failed.concat(), refused.collect::<String>());
        }
        Ok(())
    }

    fn program(&self, name: &str) -> Option<&Program> {
        self.programs.iter().find(|program| program.name == name)
    }

    fn scenario(&self, name: &str) -> &'static str {
        match self.scenarios.iter().find(|scenario| scenario.name == name) {
            None => "",
            Some(Scenario { passed: false, .. }) => "**fails**",
            Some(Scenario { degraded: true, .. }) => "as `check` says",
            Some(_) => "works",
        }
    }
}

/// Writes everything as tables with a column for each kernel.
pub(super) fn tables(reports: &[(&str, &Report)]) -> String {
    let mut text = String::new();
    table(&mut text, "Scenario", reports, &scenarios(reports), |report, name| {
        report.scenario(name).to_owned()
    });
    let programs = programs(reports);
    text.push_str(
        "\nInstructions that the verifier looked at (kernels before 5.16 do not say):\n\n",
    );
    table(&mut text, "Program", reports, &programs, |report, name| {
        number(report.program(name).and_then(|program| program.verified_instructions))
    });
    text.push_str("\nBytes of the program after verification:\n\n");
    table(&mut text, "Program", reports, &programs, |report, name| {
        number(report.program(name).and_then(|program| program.translated_bytes))
    });
    text.push_str("\nMilliseconds to load, under emulation except for the running kernel:\n\n");
    table(&mut text, "Program", reports, &programs, |report, name| {
        let load = report.program(name).map(|program| program.load_us as f64 / 1000.0);
        load.map_or_else(|| "–".to_owned(), |load| format!("{load:.1}"))
    });
    text.push_str("\nWhat `flamewatch-agent check` does not call ok there:\n\n");
    for (name, report) in reports {
        for Check { name: item, state, detail } in &report.checks {
            let _ = writeln!(text, "- {name}: {item} is {state} ({detail})");
        }
    }
    if reports.iter().all(|(_, report)| report.checks.is_empty()) {
        text.push_str("- nothing, on any of them\n");
    }
    text
}

fn table(
    text: &mut String,
    corner: &str,
    reports: &[(&str, &Report)],
    rows: &[String],
    cell: impl Fn(&Report, &str) -> String,
) {
    let line = |text: &mut String, first: &str, cells: Vec<String>| {
        let _ = writeln!(text, "| {first} | {} |", cells.join(" | "));
    };
    let heads = reports.iter().map(|(name, report)| match *name {
        "running" => format!("running ({})", series(&report.release)),
        name => name.to_owned(),
    });
    line(text, corner, heads.collect());
    line(text, "---", reports.iter().map(|_| "---:".to_owned()).collect());
    for row in rows {
        line(text, row, reports.iter().map(|(_, report)| cell(report, row)).collect());
    }
}

/// First two numbers of a release.
fn series(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn number(value: Option<u32>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// Names of all scenarios, in the order in which they ran.
fn scenarios(reports: &[(&str, &Report)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for scenario in reports.iter().flat_map(|(_, report)| &report.scenarios) {
        if !names.contains(&scenario.name) {
            names.push(scenario.name.clone());
        }
    }
    names
}

fn programs(reports: &[(&str, &Report)]) -> Vec<String> {
    let names: BTreeSet<&str> =
        reports.iter().flat_map(|(_, report)| &report.programs).map(|p| p.name.as_str()).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Records the tables in the document, between the two marks.
pub(super) fn write(reports: &[(&str, &Report)]) -> Result<()> {
    let path = root().join(DOCUMENT);
    let old = fs::read_to_string(&path).with_context(|| format!("failed to read `{DOCUMENT}`"))?;
    let mut releases = String::from("Kernels:");
    for (name, report) in reports {
        let _ = write!(releases, " {name} is {};", report.release);
    }
    let generated = format!("{}.\n\n{}", releases.trim_end_matches(';'), tables(reports));
    let new = replace(&old, &generated)?;
    fs::write(&path, new).with_context(|| format!("failed to write `{DOCUMENT}`"))
}

fn replace(document: &str, generated: &str) -> Result<String> {
    let (before, rest) = document
        .split_once(BEGIN)
        .with_context(|| format!("`{DOCUMENT}` has no `{}`", BEGIN.trim_end()))?;
    let (_, after) =
        rest.split_once(END).with_context(|| format!("`{DOCUMENT}` has no `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{generated}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = r#"{"line":"kernel","release":"5.10.0-32-cloud-amd64"}
{"line":"check","name":"locked memory","state":"degraded","detail":"limited to 8 bytes"}
{"line":"program","name":"sample","verified_instructions":null,"translated_bytes":72,"load_us":1234}
{"line":"scenario","name":"load","passed":true,"degraded":false,"detail":"1 program"}
{"line":"scenario","name":"unwind","passed":true,"degraded":true,"detail":"no"}
{"line":"end"}
"#;

    #[test]
    fn what_the_guest_says_becomes_a_column() {
        let report = Report::read(SAID.to_owned()).unwrap();
        report.verdict().unwrap();
        let text = tables(&[("5.10", &report), ("running", &report)]);
        assert!(text.contains("| Scenario | 5.10 | running (5.10) |"), "{text}");
        assert!(text.contains("| unwind | as `check` says | as `check` says |"), "{text}");
        assert!(text.contains("| sample | – | – |"), "{text}");
        assert!(text.contains("| sample | 72 | 72 |"), "{text}");
        assert!(text.contains("| sample | 1.2 | 1.2 |"), "{text}");
        assert!(text.contains("- 5.10: locked memory is degraded (limited to 8 bytes)"), "{text}");
    }

    #[test]
    fn a_failed_scenario_fails_the_kernel_and_says_why() {
        let text =
            SAID.replace(r#""passed":true,"degraded":true"#, r#""passed":false,"degraded":false"#);
        let report = Report::read(text).unwrap();
        let error = report.verdict().unwrap_err().to_string();
        assert!(error.contains("unwind: no"), "{error}");
        assert!(tables(&[("5.10", &report)]).contains("| unwind | **fails** |"));
    }

    #[test]
    fn a_guest_that_stops_early_is_no_success() {
        let half: String = SAID.lines().take(4).map(|line| format!("{line}\n")).collect();
        assert!(Report::read(half).unwrap_err().to_string().contains("before its end"));
        assert!(Report::read("{\"line\":\"end\"}\n".to_owned()).is_err());
        assert!(Report::read("Kernel panic\n".to_owned()).is_err());
    }

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let document = format!("# Kernels\n\n{BEGIN}\nold\n\n{END}\n\nmore\n");
        let new = replace(&document, "new\n").unwrap();
        assert_eq!(new, format!("# Kernels\n\n{BEGIN}\nnew\n\n{END}\n\nmore\n"));
        assert!(replace("# Kernels\n", "new").is_err());
    }
}
