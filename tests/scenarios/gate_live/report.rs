//! The tables: verdicts on whole runs, and what short comparisons found.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::fs;
use std::thread;

use anyhow::Result;

use crate::fleet::{
    Arm, BASELINE, CANDIDATES, FREQUENCY_HZ, FUNCTION, FUNCTION_SHARE, LOAD, Range,
};
use crate::question::{Answer, Question};

/// What was answered about one run.
pub(crate) struct Answers {
    /// Each candidate against the baseline, over the whole run.
    whole: Vec<(Arm, Answer)>,
    /// Each candidate against both processes of the baseline's code, over each half.
    halves: Vec<(Arm, Answer)>,
}

impl Answers {
    /// Asks all questions about a run.
    pub(crate) fn ask(question: &Question<'_>, range: Range) -> Result<Self> {
        let [start, end] = range;
        let middle = start.midpoint(end);
        let again = CANDIDATES[0];
        let mut answers = Self { whole: Vec::new(), halves: Vec::new() };
        for candidate in CANDIDATES {
            answers.whole.push((candidate, question.ask(BASELINE, candidate, range)?));
            for half in [[start, middle], [middle, end]] {
                answers.halves.push((candidate, question.ask(BASELINE, candidate, half)?));
                if candidate.version() != again.version() {
                    answers.halves.push((candidate, question.ask(again, candidate, half)?));
                }
            }
        }
        Ok(answers)
    }
}

impl Display for Answers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (arm, answer) in &self.whole {
            let Answer { verdict, ratio, detectable, .. } = answer;
            let detectable = detectable.map_or_else(String::new, |growth| percent(growth, 1));
            write!(out, "{}: {verdict} ({ratio:.3}, detectable {detectable}); ", arm.name)?;
        }
        Ok(())
    }
}

/// All runs.
pub(crate) struct Report {
    seconds: u64,
    runs: Vec<Answers>,
}

impl Report {
    /// Of runs of so many seconds.
    pub(crate) const fn new(seconds: u64) -> Self {
        Self { seconds, runs: Vec::new() }
    }

    /// Adds a run.
    pub(crate) fn add(&mut self, answers: Answers) {
        self.runs.push(answers);
    }

    /// The verdicts on a candidate, run by run.
    pub(crate) fn verdicts(&self, name: &str) -> Vec<&str> {
        self.whole(name).map(|answer| answer.verdict.as_str()).collect()
    }

    /// Growth of the CPU time of a request that was measured, run by run.
    pub(crate) fn growth(&self, name: &str) -> Vec<f64> {
        self.whole(name).map(|answer| answer.ratio - 1.0).collect()
    }

    /// Both tables.
    pub(crate) fn tables(&self) -> String {
        format!("{}\n{}", self.verdict_table(), self.group_table())
    }

    /// A page for `docs/`.
    pub(crate) fn page(&self) -> String {
        let (runs, seconds) = (self.runs.len(), self.seconds);
        let (share, half) = (percent(FUNCTION_SHARE, 1), seconds / 2);
        let processors = thread::available_parallelism().map_or(0, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!(
            "# The gate on live processes\n\n\
             Made by `cargo xtask evaluate --live`, which writes this page; the program is \
             `tests/scenarios/gate_live/`. {processors} processors, Linux {}.\n\n\
             {runs} runs of {seconds} s. In each, three hosts run five versions of one service side by side, a process each: \
             `tests/workloads/burn.c`, {LOAD} requests a second at random times to three endpoints at random. An agent of \
             its own samples each host's processes at {FREQUENCY_HZ} Hz. The versions differ in one function, `{FUNCTION}`, \
             {share} of the CPU: it costs as much (v1, v1 again), or more by the percentage that names the version. The \
             hosts are names: all processes share the processors, so this shows sampling, unwinding, naming, counting and \
             judging of real processes, and not the differences between real machines; those are in the \
             [simulation](README.md).\n\n\
             ## Verdicts\n\n\
             The gate with its default policy, without warm-up and with each `write` a request, asked once about the whole \
             run. Growth is CPU time of a request: as it was made, and as it was measured (median, smallest, largest). \
             Detectable is the median of what the gate says that it would have failed, at 80 % power, as CPU time of a \
             request and as a function's part of the CPU.\n\n\
             {}\n\
             What is detectable lies far above the spread of what was measured, for two reasons. Three units a side leave four \
             degrees of freedom for their differences. And samples count as if they fell at random, while a timer that ticks \
             about as often as requests are long takes CPU time more evenly than that.\n\n\
             ## Functions\n\n\
             The halves of each run, {half} s each; candidates that differ are compared with v1 and with v1 again. A \
             comparison is right when a group begins with `{FUNCTION}` and says that it got worse; where nothing changed, when \
             none does. Every other group is false: another function or a syscall, for better or worse. Level: q of 0.01 over \
             all that is tested. Comparisons of one run share processes, so they are not independent. A service of a dozen functions, one with \
             {share} of the CPU, is a hard case: the growth of that one makes all others look smaller, and by how much must be \
             told from the few others.\n\n\
             {}",
            // What follows the dash names a build.
            kernel.trim().split('-').next().unwrap_or_default(),
            self.verdict_table(),
            self.group_table()
        )
    }

    fn verdict_table(&self) -> String {
        let mut table = "| candidate | growth | pass | fail | inconclusive | measured | detectable | of a function |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            .to_owned();
        for arm in CANDIDATES {
            let verdicts = self.verdicts(arm.name);
            let count =
                |wanted: &str| verdicts.iter().filter(|verdict| **verdict == wanted).count();
            let whole = || self.whole(arm.name);
            let service: Vec<f64> = whole().filter_map(|answer| answer.detectable).collect();
            let function: Vec<f64> =
                whole().filter_map(|answer| answer.detectable_function).collect();
            let _never_fails = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                arm.name,
                percent(arm.growth(), 1),
                count("pass"),
                count("fail"),
                count("inconclusive"),
                spread(&self.growth(arm.name)),
                median(&service).map_or_else(dash, |growth| percent(growth, 1)),
                median(&function).map_or_else(dash, |growth| percent(growth, 2)),
            );
        }
        table
    }

    fn group_table(&self) -> String {
        let mut table = "| candidate | comparisons | right | with a false group | false groups |\n\
             | --- | ---: | ---: | ---: | --- |\n"
            .to_owned();
        for arm in CANDIDATES {
            let halves: Vec<&Answer> = self
                .runs
                .iter()
                .flat_map(|run| &run.halves)
                .filter(|(of, _)| of.name == arm.name)
                .map(|(_, answer)| answer)
                .collect();
            // Where nothing changed, nothing is right but silence.
            let is_right = |answer: &&&Answer| answer.is_named == (arm.percent > 0);
            let right = halves.iter().filter(is_right).count();
            let mut others: BTreeMap<&str, usize> = BTreeMap::new();
            for other in halves.iter().flat_map(|answer| &answer.others) {
                *others.entry(other).or_default() += 1;
            }
            let others: Vec<String> =
                others.iter().map(|(what, count)| format!("{count} {what}")).collect();
            let wrong = halves.iter().filter(|answer| !answer.others.is_empty()).count();
            let _never_fails = writeln!(
                table,
                "| {} | {} | {right} | {wrong} | {} |",
                arm.name,
                halves.len(),
                if others.is_empty() { dash() } else { others.join(", ") }
            );
        }
        table
    }

    fn whole(&self, name: &str) -> impl Iterator<Item = &Answer> {
        let answers = self.runs.iter().flat_map(|run| &run.whole);
        answers.filter(move |(arm, _)| arm.name == name).map(|(_, answer)| answer)
    }
}

fn spread(values: &[f64]) -> String {
    let Some(middle) = median(values) else { return dash() };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({} to {})", percent(middle, 1), percent(least, 1), percent(most, 1))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}

fn dash() -> String {
    "–".to_owned()
}
