//! Reads what a capture wrote: folded stacks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Stacks, root first, and how often each was seen.
pub(crate) struct Stacks(Vec<(Vec<String>, u64)>);

impl Stacks {
    /// Reads a folded file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).context("there is no capture")?;
        let stacks = text
            .lines()
            .map(|line| {
                let (frames, count) = line.rsplit_once(' ').context("a line without a count")?;
                Ok((frames.split(';').map(str::to_owned).collect(), count.parse()?))
            })
            .collect::<Result<_>>()?;
        Ok(Self(stacks))
    }

    /// All samples.
    pub(crate) fn samples(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Parts the stacks in those that have this frame, and those that do not.
    pub(crate) fn part(self, frame: &str) -> (Self, Self) {
        let (with, without) =
            self.0.into_iter().partition(|(stack, _)| stack.iter().any(|found| found == frame));
        (Self(with), Self(without))
    }

    /// Checks that of all samples at least a share has these frames in this order, others between them left aside.
    ///
    /// Returns the share as text.
    pub(crate) fn ensure_share(
        &self,
        frames: &[&str],
        share_min: f64,
        samples_min: u64,
    ) -> Result<String> {
        let samples = self.samples();
        ensure!(samples >= samples_min, "{samples} samples, of at least {samples_min}");
        let with: u64 = self
            .0
            .iter()
            .filter(|(stack, _)| has_in_order(stack, frames))
            .map(|(_, count)| count)
            .sum();
        let share = with as f64 / samples as f64;
        let text = format!("{with} of {samples} samples ({:.1} %)", 100.0 * share);
        ensure!(
            share >= share_min,
            "{text} have `{}`; the most frequent other one is `{}`",
            frames.join(";"),
            self.most_frequent_without(frames)
        );
        Ok(text)
    }

    fn most_frequent_without(&self, frames: &[&str]) -> String {
        let others = self.0.iter().filter(|(stack, _)| !has_in_order(stack, frames));
        others
            .max_by_key(|(_, count)| *count)
            .map_or_else(String::new, |(stack, _)| stack.join(";"))
    }
}

fn has_in_order(stack: &[String], frames: &[&str]) -> bool {
    let mut rest = stack.iter();
    frames.iter().all(|frame| rest.any(|found| found == frame))
}
