//! The mix of calls that a workload says it has, and whether the stacks of a capture agree with it.
//!
//! Every stack must reach its root, every chain of callers must be exactly as it was written, and every function must
//! have its share of the samples.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use crate::binomial;

/// What a workload's lines of truth begin with.
const MARK: &str = "truth ";

/// Stands in a chain for functions that are not the workload's own.
const FOREIGN: &str = "*";

/// Share of the stacks that must be whole.
pub const WHOLE_MIN: f64 = 0.995;

/// Fewer samples say little.
pub const SAMPLES_MIN: u64 = 800;

/// Roots besides those that the chains name: where Go starts its own threads, and where it leaves a goroutine's stack
/// for that of its scheduler.
const OTHER_ROOTS: &[&str] = &[
    "_rt0_amd64_linux",
    "runtime.clone",
    "runtime.mcall",
    "runtime.morestack",
    "runtime.mstart",
    "runtime.nanotime1",
    "runtime.rt0_go",
    "runtime.systemstack",
];

/// What the functions begin with that throw exceptions: they put the handler in the place of their own return address,
/// so that for a moment the stack is that of nobody's calls.
const THROWING: &str = "_Unwind_";

/// Names that mean the same root.
const ROOT_ALIASES: &[(&str, &str)] = &[("__clone3", "clone3"), ("__clone", "clone3")];

/// What the root of a stack is that was taken before the process had tables.
const NO_TABLES: &str = "[truncated: no tables yet]";

/// The chains of calls of one workload.
#[derive(Debug, Clone)]
pub struct Truth {
    chains: Vec<Chain>,
    own: BTreeSet<String>,
}

/// One chain of calls.
#[derive(Debug, Clone)]
struct Chain {
    frames: Vec<String>,
    cards: u64,
}

/// One stack of a capture: names from the root to the leaf, without kernel and inlined functions, and its samples.
pub type Stack = (Vec<String>, u64);

impl Truth {
    /// Reads what a workload printed.
    ///
    /// # Errors
    ///
    /// When there is no line of truth, or one cannot be understood.
    pub fn parse(output: &str) -> Result<Self> {
        let mut chains = Vec::new();
        for line in output.lines().filter_map(|line| line.strip_prefix(MARK)) {
            let (frames, cards) = line.rsplit_once(' ').context("a truth without cards")?;
            let cards = cards.parse().context("a truth whose cards are no number")?;
            chains.push(Chain { frames: frames.split(';').map(str::to_owned).collect(), cards });
        }
        ensure!(!chains.is_empty(), "the workload told no truth: {output:.500}");
        let frames = chains.iter().flat_map(|chain| &chain.frames);
        let own = frames.filter(|frame| *frame != FOREIGN).cloned().collect();
        Ok(Self { chains, own })
    }

    /// Counts what a capture has of this workload.
    #[must_use]
    pub fn compare(&self, stacks: &[Stack]) -> Comparison {
        let mut found = Comparison::default();
        for (frames, count) in stacks {
            self.add(frames, *count, &mut found);
        }
        found
    }

    fn add(&self, frames: &[String], count: u64, found: &mut Comparison) {
        let Some(root) = frames.first() else {
            found.kernel_only += count;
            return;
        };
        if root == NO_TABLES {
            found.without_tables += count;
            return;
        }
        let marker = frames.iter().find(|frame| frame.starts_with('['));
        if let Some(marker) = marker.filter(|marker| !marker.starts_with("[vdso]")) {
            found.break_off(marker, frames, count);
            return;
        }
        let is_root = self.chains.iter().any(|chain| chain.frames[0] == *root);
        if !is_root && !OTHER_ROOTS.contains(&root.as_str()) {
            found.break_off(&format!("root {root}"), frames, count);
            return;
        }
        let matches: Vec<Match> =
            self.chains.iter().map(|chain| self.follow(&chain.frames, frames)).collect();
        let throws = frames.iter().any(|frame| frame.starts_with(THROWING));
        if matches.iter().all(|way| *way == Match::Astray) && is_root && !throws {
            found.astray.push((frames.join(";"), count));
        }
        let whole = matches.iter().position(|way| *way == Match::Whole);
        // A runtime's own work is not the program's.
        if !is_root || whole.is_some_and(|chain| self.chains[chain].cards == 0) {
            found.of_unknown_share += count;
            return;
        }
        found.whole += count;
        for function in frames.iter().collect::<BTreeSet<_>>() {
            *found.functions.entry(function.clone()).or_default() += count;
        }
    }

    /// How a stack follows a chain of calls.
    fn follow(&self, chain: &[String], stack: &[String]) -> Match {
        let mut rest = stack.iter().peekable();
        let mut links = chain.iter();
        let mut all = true;
        for link in &mut links {
            if link == FOREIGN {
                while rest.next_if(|frame| !self.own.contains(*frame)).is_some() {}
            } else if rest.next_if(|frame| *frame == link).is_none() {
                all = false;
                break;
            }
        }
        if all && rest.peek().is_none() {
            Match::Whole
        } else if rest.all(|frame| !self.own.contains(frame)) {
            // What a chain's function calls besides the chain: a lock, the allocator, the start of a throw.
            Match::Part
        } else {
            Match::Astray
        }
    }

    /// The share of each function in the work, by construction.
    fn shares(&self) -> BTreeMap<&str, f64> {
        let total: u64 = self.chains.iter().map(|chain| chain.cards).sum();
        let mut cards: BTreeMap<&str, u64> = BTreeMap::new();
        for chain in &self.chains {
            for function in chain.frames.iter().collect::<BTreeSet<_>>() {
                *cards.entry(function).or_default() += chain.cards;
            }
        }
        cards.remove(FOREIGN);
        cards.retain(|_, cards| *cards > 0);
        cards.into_iter().map(|(name, cards)| (name, cards as f64 / total as f64)).collect()
    }
}

/// How a stack follows a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// From the root to the leaf.
    Whole,
    /// From the root to some function of the chain, and on into functions that are not the workload's.
    Part,
    /// Not at all.
    Astray,
}

/// What a capture has of one workload, in samples.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    whole: u64,
    of_unknown_share: u64,
    without_tables: u64,
    kernel_only: u64,
    broken: BTreeMap<String, u64>,
    examples: Vec<String>,
    functions: BTreeMap<String, u64>,
    astray: Vec<(String, u64)>,
}

impl Comparison {
    fn break_off(&mut self, why: &str, frames: &[String], count: u64) {
        *self.broken.entry(why.to_owned()).or_default() += count;
        if self.examples.len() < 5 {
            self.examples.push(frames.join(";"));
        }
    }

    /// Samples with a user stack, those before the tables left out.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.whole + self.of_unknown_share + self.broken()
    }

    /// Samples whose stack is not whole.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.broken.values().sum()
    }

    /// Samples whose walk did not reach a root; the others that are not whole have frames that could not be named.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        let cut = self.broken.iter().filter(|(why, _)| why.starts_with("[truncated"));
        cut.map(|(_, samples)| samples).sum()
    }

    /// Samples that were taken before the process had tables.
    #[must_use]
    pub fn without_tables(&self) -> u64 {
        self.without_tables
    }

    /// Share of the stacks that are whole.
    #[must_use]
    pub fn whole_share(&self) -> f64 {
        1.0 - self.broken() as f64 / self.samples().max(1) as f64
    }

    /// One line of a report.
    #[must_use]
    pub fn line(&self, case: &str) -> String {
        let broken: Vec<String> =
            self.broken.iter().map(|(why, samples)| format!("{samples} {why}")).collect();
        format!(
            "{case:16} {:6} samples, {:7.3} % whole, {} before the tables, {} kernel only; {}",
            self.samples(),
            100.0 * self.whole_share(),
            self.without_tables,
            self.kernel_only,
            broken.join(", ")
        )
    }

    /// Fails when a stack leads somewhere that the program never called from.
    ///
    /// # Errors
    ///
    /// With some of these stacks.
    pub fn expect_no_wrong_frames(&self) -> Result<()> {
        let samples: u64 = self.astray.iter().map(|(_, samples)| samples).sum();
        if samples > 0 {
            let examples: Vec<String> = self.astray.iter().take(3).map(shown).collect();
            bail!("{samples} stacks were never like that:\n{}", examples.join("\n"));
        }
        Ok(())
    }

    /// Fails unless nearly all stacks are whole.
    ///
    /// # Errors
    ///
    /// With some of the broken ones.
    pub fn expect_whole(&self) -> Result<()> {
        let samples = self.samples();
        ensure!(samples >= SAMPLES_MIN, "only {samples} samples, too few to judge");
        let whole = self.whole_share();
        let examples = self.examples.join("\n");
        ensure!(whole >= WHOLE_MIN, "only {:.3} % are whole:\n{examples}", 100.0 * whole);
        Ok(())
    }

    /// Fails unless every function has its share.
    ///
    /// # Errors
    ///
    /// With all functions that do not.
    pub fn expect_shares(&self, truth: &Truth) -> Result<()> {
        // A broken stack is one that a function misses, so it counts against all.
        let samples = self.whole + self.broken();
        let mut wrong = Vec::new();
        for (function, share) in truth.shares() {
            let seen = self.functions.get(function).copied().unwrap_or_default();
            let right = if share == 1.0 {
                seen as f64 >= WHOLE_MIN * samples as f64
            } else {
                binomial::agrees(seen, samples, share)
            };
            if !right {
                let (share, seen_share) = (100.0 * share, 100.0 * seen as f64 / samples as f64);
                wrong.push(format!("{function}: {share:.2} % of the work, {seen_share:.2} % seen"));
            }
        }
        ensure!(
            wrong.is_empty(),
            "shares among {samples} samples are wrong:\n{}",
            wrong.join("\n")
        );
        Ok(())
    }
}

fn shown((frames, samples): &(String, u64)) -> String {
    format!("{samples} × {frames}")
}

/// A frame's name without what compilers add when they split, clone or alias a function, and without what languages
/// write beside it.
#[must_use]
pub fn plain_name(frame: &str) -> String {
    let name = frame.split(" [clone ").next().unwrap_or(frame);
    let cut = [".cold", ".part.", ".constprop.", ".isra.", ".abi0"];
    let end = cut.iter().filter_map(|suffix| name.find(suffix)).min().unwrap_or(name.len());
    let name = &name[..end];
    let alias = ROOT_ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, root)| root).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: &str =
        "noise\ntruth _start;*;main;left;work 3\ntruth _start;*;main;right;*;back;rest 1\n";

    fn compared(stacks: &[(&str, u64)]) -> Comparison {
        let stacks: Vec<Stack> = stacks
            .iter()
            .map(|(frames, count)| (frames.split(';').map(str::to_owned).collect(), *count))
            .collect();
        Truth::parse(TRUTH).unwrap().compare(&stacks)
    }

    #[test]
    fn stacks_as_written_agree() {
        let truth = Truth::parse(TRUTH).unwrap();
        let found = compared(&[
            ("_start;libc;libc;main;left;work", 755),
            ("_start;libc;main;right;sort;sort;back;rest", 240),
            ("_start;libc;main;right;back", 3),
            ("_start;libc;main;right;sort;allocate", 2),
        ]);
        found.expect_whole().unwrap();
        found.expect_no_wrong_frames().unwrap();
        found.expect_shares(&truth).unwrap();
    }

    #[test]
    fn a_missing_a_doubled_and_a_strange_caller_are_found() {
        for stack in [
            "_start;libc;main;work",
            "_start;libc;main;left;left;work",
            "_start;libc;main;right;work",
            "_start;libc;main;left;libc;work",
            "_start;libc;left;work",
        ] {
            assert!(compared(&[(stack, 1)]).expect_no_wrong_frames().is_err(), "{stack}");
        }
    }

    #[test]
    fn a_stack_that_does_not_reach_its_root_is_broken() {
        for stack in [
            "[truncated: stuck];main;left;work",
            "main;left;work",
            "_start;libc;main;[unmapped];work",
        ] {
            let found = compared(&[("_start;main;left;work", 900), (stack, 10)]);
            assert_eq!(found.broken(), 10, "{stack}");
            assert!(found.expect_whole().is_err(), "{stack}");
        }
        let early = compared(&[("[truncated: no tables yet];work", 7)]);
        assert_eq!((early.without_tables(), early.samples()), (7, 0));
    }

    #[test]
    fn a_share_that_is_off_is_found() {
        let truth = Truth::parse(TRUTH).unwrap();
        let found =
            compared(&[("_start;main;left;work", 850), ("_start;main;right;back;rest", 150)]);
        let error = found.expect_shares(&truth).unwrap_err().to_string();
        assert!(error.contains("work: 75.00 % of the work, 85.00 % seen"), "{error}");
    }

    #[test]
    fn names_lose_what_compilers_add() {
        for (frame, name) in [
            ("attempt(int) [clone .cold]", "attempt(int)"),
            ("msort_with_tmp.part.0", "msort_with_tmp"),
            ("runtime.goexit.abi0", "runtime.goexit"),
            ("__clone3", "clone3"),
            ("main.encode", "main.encode"),
        ] {
            assert_eq!(plain_name(frame), name);
        }
    }
}
