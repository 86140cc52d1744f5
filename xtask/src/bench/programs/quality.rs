//! Counts folded stacks by how the walk over them ended.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use profiler_common::abi::sample::WalkEnd;

/// What stands behind the service when a stack is not whole, before the reason.
const MARKER: &str = "[truncated: ";

/// How many stacks of a capture are whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Quality {
    /// All samples.
    pub(super) all: Tally,
    /// Samples whose stack met no code that was made at run time.
    pub(super) native: Tally,
}

/// Samples by the end of their walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// All of them, without the next ones.
    pub(super) samples: u64,
    /// Those that came before the tables of their process were made.
    pub(super) early: u64,
    /// Those that are not whole, by reason.
    pub(super) broken: BTreeMap<String, u64>,
}

impl Quality {
    /// Counts the lines of a folded file.
    pub(super) fn of(folded: &str) -> Result<Self> {
        let mut quality = Self::default();
        for line in folded.lines() {
            let (stack, count) =
                line.rsplit_once(' ').with_context(|| format!("no count in `{line}`"))?;
            let count: u64 = count.parse().with_context(|| format!("no count in `{line}`"))?;
            let reason = stack
                .split(';')
                .nth(1)
                .and_then(|frame| frame.strip_prefix(MARKER)?.strip_suffix(']'));
            quality.all.add(reason, count);
            if !stack.split(';').any(|frame| frame.ends_with("_[j]")) {
                quality.native.add(reason, count);
            }
        }
        Ok(quality)
    }
}

impl Tally {
    fn add(&mut self, reason: Option<&str>, count: u64) {
        if reason == Some(WalkEnd::NoTables.name()) {
            self.early += count;
            return;
        }
        self.samples += count;
        if let Some(reason) = reason {
            *self.broken.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Share of whole stacks in percent, once there are tables.
    pub(super) fn whole_percent(&self) -> f64 {
        let broken: u64 = self.broken.values().sum();
        100.0 * (self.samples - broken) as f64 / self.samples.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_counted_by_their_end_and_by_whether_a_runtime_made_their_code() {
        let folded = "a;main;f 7\na;[truncated: too deep];f 2\na;main;g_[j];h 1\n\
                      a;[truncated: no tables yet];f 3\n";
        let quality = Quality::of(folded).unwrap();
        let broken = BTreeMap::from([("too deep".to_owned(), 2)]);
        assert_eq!(quality.all, Tally { samples: 10, early: 3, broken: broken.clone() });
        assert_eq!(quality.native, Tally { samples: 9, early: 3, broken });
        assert!((quality.all.whole_percent() - 80.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_without_a_count_is_refused() {
        assert!(Quality::of("a;main;f\n").is_err());
    }
}
