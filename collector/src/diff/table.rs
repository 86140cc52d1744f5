//! Prints verdicts as a table for people.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use super::values::{show, show_baseline, show_change};
use crate::detect::{Direction, Verdict};

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
            show_baseline(verdict),
            show(verdict, verdict.candidate_value),
            show_change(verdict),
            format!("{} … {}", show(verdict, verdict.ci_low), show(verdict, verdict.ci_high)),
            format!("{:.2e}", verdict.q),
            word(verdict).to_owned(),
        ]);
    }
    table.to_string()
}

fn word(verdict: &Verdict) -> &'static str {
    match (verdict.significant, verdict.explained_by.is_some(), verdict.direction) {
        (false, ..) => "no change shown",
        (true, true, _) => "explained by another",
        (true, false, Direction::Worse) => "REGRESSION",
        (true, false, Direction::Better) => "improvement",
    }
}
