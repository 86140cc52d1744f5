//! Writes an answer for people at a terminal.

use std::io::{self, Write};

use crate::diff::{Paint, groups_table};

use super::describe;
use super::{GateAnswer, GateResult};

/// Most groups that are shown.
const GROUPS_MAX: usize = 20;

/// Writes the costs, the groups, the verdict and why.
pub(crate) fn answer_table(
    answer: &GateAnswer,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    for cost in &answer.costs {
        writeln!(out, "{}", describe::cost(cost))?;
    }
    if !answer.groups.is_empty() {
        writeln!(out, "{}", groups_table(&answer.groups, GROUPS_MAX, paint))?;
    }
    let word = answer.verdict.name();
    let word = match answer.result {
        GateResult::Pass => paint.good(word),
        GateResult::Fail | GateResult::Error => paint.bad(word),
        GateResult::Hold => paint.unsure(word),
    };
    match answer.look {
        Some(number @ 1..) => writeln!(out, "{word} (look {number} of {})", answer.looks)?,
        _ => writeln!(out, "{word}")?,
    }
    if answer.result.name() != answer.verdict.name() {
        writeln!(out, "  result: {}", answer.result.name())?;
    }
    for reason in &answer.reasons {
        writeln!(out, "  {reason}")?;
    }
    for check in &answer.checks {
        if !answer.reasons.contains(&check.sentence) {
            writeln!(out, "  note: {}", check.sentence)?;
        }
    }
    let side = |side: &super::GateSide| {
        format!("{} samples, {} replicates", side.samples, side.replicates)
    };
    let (before, after) = (side(&answer.baseline), side(&answer.candidate));
    writeln!(out, "  baseline: {before}; candidate: {after}")
}
