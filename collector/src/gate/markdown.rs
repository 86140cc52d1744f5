//! Writes an answer as a benchmark summary in Markdown, to be pasted into a ticket or a pull request.

use std::io::{self, Write};

use clap::Args;

use crate::alert::rfc3339;
use crate::detect::Group;
use crate::diff::{cause_of, show, show_baseline, show_change, show_relative};

use super::{GateAnswer, GateSide, describe};

/// Most groups that are shown.
const GROUPS_MAX: usize = 20;

/// What only the person who asks knows; it stands in the summary as it is given.
#[derive(Debug, Clone, Default, Args)]
pub struct Summary {
    /// Where it ran, for the summary in Markdown
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub environment: String,
    /// What was compared, for the summary in Markdown
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub scenario: String,
    /// The load, for the summary in Markdown
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub workload: String,
    /// Further notes, for the summary in Markdown
    #[arg(long, value_name = "TEXT")]
    pub notes: Vec<String>,
}

/// What the answer itself does not say.
pub(crate) struct Head<'h> {
    pub(crate) service: &'h str,
    /// What the sides are: labels, or files.
    pub(crate) sides: [String; 2],
    pub(crate) now_unix_ns: u64,
    pub(crate) summary: &'h Summary,
}

/// Writes the summary.
pub(crate) fn markdown(
    answer: &GateAnswer,
    head: &Head<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Head { service, sides: [before, after], now_unix_ns, summary } = head;
    writeln!(out, "# Benchmark summary: {}\n", answer.verdict.name())?;
    writeln!(out, "| | |\n|---|---|")?;
    let date = rfc3339(*now_unix_ns as f64 / 1e9);
    for (name, value) in [
        ("Service", (*service).to_owned()),
        ("Environment", summary.environment.clone()),
        ("Scenario", summary.scenario.clone()),
        ("Date", date),
        ("Workload", summary.workload.clone()),
        ("Before", side(before, &answer.baseline)),
        ("After", side(after, &answer.candidate)),
        ("Result", answer.result.name().to_owned()),
    ] {
        let value = if value.is_empty() { "-".to_owned() } else { cell(&value) };
        writeln!(out, "| {name} | {value} |")?;
    }
    measurements(answer, out)?;
    writeln!(out, "\n## Notes\n")?;
    for note in answer.reasons.iter().chain(&summary.notes) {
        writeln!(out, "- {}", cell(note))?;
    }
    for check in &answer.checks {
        if !answer.reasons.contains(&check.sentence) {
            writeln!(out, "- {}", cell(&check.sentence))?;
        }
    }
    Ok(())
}

fn measurements(answer: &GateAnswer, out: &mut dyn Write) -> io::Result<()> {
    if answer.costs.is_empty() && answer.groups.is_empty() && answer.criteria.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| Measured | Before | After | Delta | 95 % interval | Cause |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for cost in &answer.costs {
        let [delta, low, high] = [cost.ratio, cost.interval[0], cost.interval[1]]
            .map(|ratio| show_relative(ratio - 1.0));
        writeln!(
            out,
            "| {} | {} | {} | {delta} | {low} to {high} | |",
            describe::name(cost),
            describe::value(cost.baseline_value),
            describe::value(cost.candidate_value)
        )?;
    }
    for group in answer.groups.iter().take(GROUPS_MAX) {
        writeln!(out, "{}", row(group))?;
    }
    for criterion in &answer.criteria {
        let value = criterion.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
        let outcome = format!("{:?}", criterion.outcome).to_lowercase();
        writeln!(out, "| `{}` | | {value} | | | {outcome} |", cell(&criterion.condition))?;
    }
    Ok(())
}

fn row(group: &Group) -> String {
    let root = &group.root;
    format!(
        "| {} | {} | {} | {} | {} to {} | {} |",
        cell(&root.subject.to_string()),
        show_baseline(root),
        show(root, root.candidate_value),
        show_change(root),
        show(root, root.ci_low),
        show(root, root.ci_high),
        cell(&cause_of(group))
    )
}

fn side(name: &str, side: &GateSide) -> String {
    format!("{name} ({} samples, {} replicates)", side.samples, side.replicates)
}

/// Text that cannot end a cell or begin anything else: names of functions come from outside.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '<' | '>' | '*' | '[' | ']' | '\\' | '&' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_the_table() {
        assert_eq!(cell("a|b\nc<T>"), "a\\|b c\\<T\\>");
    }
}
