//! Says how far a comparison can be trusted: stacks that do not reach their root count for the wrong callers.

use profiler_common::profile::Quality;

use super::ProfileDiff;

/// Share of whole stacks from which on nothing is said of them: functions that a detector reports have at least half a
/// percent of the samples, and of 5 % of broken stacks no single caller misses much more.
pub const WHOLE_SHARE_MIN: f64 = 0.95;

impl ProfileDiff {
    /// What to know before the shares of functions are believed, as sentences; empty where the stacks are whole.
    #[must_use]
    pub fn caveats(&self) -> Vec<String> {
        let sides = [("baseline", &self.baseline_quality), ("candidate", &self.candidate_quality)];
        sides.into_iter().filter_map(|(side, quality)| caveat(side, quality)).collect()
    }
}

fn caveat(side: &str, quality: &Quality) -> Option<String> {
    let share = quality.whole_share().filter(|share| *share < WHOLE_SHARE_MIN)?;
    Some(format!("only {:.0} % of the {side}'s stacks are whole", (share * 100.0).floor()))
}

#[cfg(test)]
mod tests {
    use profiler_common::abi::sample::WalkEnd;

    use super::*;

    fn caveat_at(whole: u64, broken: u64) -> Option<String> {
        let mut quality = Quality::default();
        quality.add(WalkEnd::Root.name(), whole);
        quality.add(WalkEnd::Unmapped.name(), broken);
        caveat("candidate", &quality)
    }

    #[test]
    fn a_side_with_many_broken_stacks_is_named() {
        let sentence = "only 63 % of the candidate's stacks are whole";
        assert_eq!(caveat_at(63, 37).as_deref(), Some(sentence));
        assert_eq!(caveat_at(949, 51).unwrap().split(' ').nth(1), Some("94"));
    }

    #[test]
    fn whole_stacks_and_unknown_ones_need_no_words() {
        assert_eq!(caveat_at(95, 5), None);
        assert_eq!(caveat_at(0, 0), None);
    }
}
