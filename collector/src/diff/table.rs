//! Prints verdicts as a table for people.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use super::Paint;
use super::values::{show, show_baseline, show_change};
use crate::detect::{Cause, Direction, Group, ShiftKind, Verdict};

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

/// Most names of partners that are told.
const PARTNERS_MAX: usize = 3;

/// What changed, by its cause; at most `rows`.
pub(crate) fn groups_table(groups: &[Group], rows: usize, paint: Paint) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "cause",
        "begins in",
        "baseline",
        "candidate",
        "change",
        "95 % interval",
        "q",
    ]);
    for group in groups.iter().take(rows) {
        let root = &group.root;
        let cause = cause_of(group);
        let cause = match (&group.cause, group.direction) {
            (Cause::CostShift(_), _) => paint.unsure(&cause),
            (Cause::Change, Direction::Worse) => paint.bad(&cause),
            (Cause::Change, Direction::Better) => paint.good(&cause),
        };
        table.add_row([
            cause,
            place_of(group),
            show_baseline(root),
            show(root, root.candidate_value),
            show_change(root),
            format!("{} … {}", show(root, root.ci_low), show(root, root.ci_high)),
            format!("{:.2e}", root.q),
        ]);
    }
    table.to_string()
}

/// What kind of change a group is, with the partners of work that moved.
pub(crate) fn cause_of(group: &Group) -> String {
    let Cause::CostShift(shift) = &group.cause else {
        let word = match group.direction {
            Direction::Worse => "REGRESSION",
            Direction::Better => "improvement",
        };
        return word.to_owned();
    };
    let kind = match shift.kind {
        ShiftKind::Rename => "renamed",
        ShiftKind::Move => "moved",
        ShiftKind::Inline => "inlined",
        ShiftKind::Split => "split",
        ShiftKind::Merge => "merged",
    };
    let word = match group.direction {
        Direction::Worse => "from",
        Direction::Better => "to",
    };
    let partners: Vec<&str> =
        shift.partners.iter().take(PARTNERS_MAX).map(String::as_str).collect();
    format!("{kind} {word} {}", partners.join(", "))
}

/// The root, and from where it is called when the change comes from one caller.
fn place_of(group: &Group) -> String {
    let root = group.root.subject.to_string();
    group.caller.as_ref().map_or_else(|| root.clone(), |caller| format!("{root} below {caller}"))
}
