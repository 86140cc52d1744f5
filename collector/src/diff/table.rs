//! Prints verdicts as a table for people.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use crate::detect::{Direction, Subject, SyscallMetric, Verdict};

/// Findings first, then what is nearest to being one; at most `rows`.
pub(crate) fn verdict_table(verdicts: &[Verdict], rows: usize) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "subject",
        "baseline",
        "candidate",
        "change",
        "95 % interval",
        "q",
        "verdict",
    ]);
    let findings = verdicts.iter().filter(|verdict| verdict.is_finding());
    let others = verdicts.iter().filter(|verdict| !verdict.is_finding());
    for verdict in findings.chain(others).take(rows) {
        table.add_row([
            verdict.subject.to_string(),
            verdict
                .baseline_value
                .map_or_else(|| "absent".to_owned(), |value| show(verdict, value)),
            show(verdict, verdict.candidate_value),
            verdict
                .delta_rel
                .map_or_else(|| "new".to_owned(), |change| format!("{:+.1} %", change * 100.0)),
            format!("{} … {}", show(verdict, verdict.ci_low), show(verdict, verdict.ci_high)),
            format!("{:.2e}", verdict.q),
            word(verdict).to_owned(),
        ]);
    }
    table.to_string()
}

/// A value in the unit of its subject.
pub(crate) fn show(verdict: &Verdict, value: f64) -> String {
    show_value(&verdict.subject, value)
}

/// A value in the unit of a subject.
pub(crate) fn show_value(subject: &Subject, value: f64) -> String {
    match subject {
        Subject::Syscall {
            metric: SyscallMetric::P50 | SyscallMetric::P95 | SyscallMetric::P99,
            ..
        } => show_ns(value),
        Subject::Syscall { metric: SyscallMetric::CallRate, .. } => format!("{value:.2} /CPU-s"),
        Subject::Syscall { metric: SyscallMetric::CallsPerRequest, .. } => {
            format!("{value:.3} /request")
        }
        Subject::Function { .. } | Subject::Syscall { .. } => format!("{:.2} %", value * 100.0),
    }
}

fn show_ns(ns: f64) -> String {
    match ns.abs() {
        size if size >= 1e9 => format!("{:.2} s", ns / 1e9),
        size if size >= 1e6 => format!("{:.2} ms", ns / 1e6),
        size if size >= 1e3 => format!("{:.1} us", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match (verdict.significant, verdict.explained_by.is_some(), verdict.direction) {
        (false, ..) => "no change shown",
        (true, true, _) => "explained by another",
        (true, false, Direction::Worse) => "REGRESSION",
        (true, false, Direction::Better) => "improvement",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_a_readable_unit() {
        assert_eq!(
            [12.0, 1_500.0, 2_340_000.0, -1.5e9].map(show_ns),
            ["12 ns", "1.5 us", "2.34 ms", "-1.50 s"]
        );
    }
}
