//! How the walks over user stacks ended: how far a profile can be trusted.

use std::collections::BTreeMap;

use crate::abi::sample::WalkEnd;

/// Samples by how the walk over their user stack ended.
///
/// Ends are kept by name, so that a collector can count those of newer agents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quality {
    ends: BTreeMap<String, u64>,
}

impl Quality {
    /// Adds samples whose walk ended in the way that has this name.
    pub fn add(&mut self, end: &str, samples: u64) {
        if let Some(known) = self.ends.get_mut(end) {
            *known = known.saturating_add(samples);
        } else if samples > 0 {
            self.ends.insert(end.to_owned(), samples);
        }
    }

    /// Adds all samples of another profile.
    pub fn merge(&mut self, other: &Self) {
        for (end, samples) in other.ends() {
            self.add(end, samples);
        }
    }

    /// (name of the end, samples), by name, without empty ones.
    pub fn ends(&self) -> impl ExactSizeIterator<Item = (&str, u64)> {
        self.ends.iter().map(|(end, samples)| (end.as_str(), *samples))
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Samples that have a user stack: the others can be neither whole nor broken.
    #[must_use]
    pub fn stacks(&self) -> u64 {
        let stacks = self.ends().filter(|(end, _)| *end != WalkEnd::NoUserStack.name());
        stacks.fold(0, |sum, (_, samples)| sum.saturating_add(samples))
    }

    /// Samples whose stack reached its root.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.ends.get(WalkEnd::Root.name()).copied().unwrap_or(0)
    }

    /// Share of the stacks that are whole, 0 to 1; `None` without stacks.
    #[must_use]
    pub fn whole_share(&self) -> Option<f64> {
        let stacks = self.stacks();
        (stacks > 0).then(|| self.whole() as f64 / stacks as f64)
    }

    /// Why the other stacks are not whole: (name of the end, samples), by falling number.
    #[must_use]
    pub fn reasons(&self) -> Vec<(&str, u64)> {
        let beside = [WalkEnd::Root.name(), WalkEnd::NoUserStack.name()];
        let mut reasons: Vec<(&str, u64)> =
            self.ends().filter(|(end, _)| !beside.contains(end)).collect();
        reasons.sort_by_key(|(_, samples)| std::cmp::Reverse(*samples));
        reasons
    }

    /// The sentence on an end; `None` for one of a newer agent.
    #[must_use]
    pub fn sentence(end: &str) -> Option<&'static str> {
        WalkEnd::ALL.iter().find(|known| known.name() == end).map(|known| known.sentence().trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(ends: &[(&str, u64)]) -> Quality {
        let mut quality = Quality::default();
        for (end, samples) in ends {
            quality.add(end, *samples);
        }
        quality
    }

    #[test]
    fn samples_without_a_user_stack_are_neither_whole_nor_broken() {
        let quality = quality(&[
            (WalkEnd::Root.name(), 90),
            (WalkEnd::NoUserStack.name(), 500),
            (WalkEnd::Truncated.name(), 4),
            (WalkEnd::Unmapped.name(), 6),
        ]);
        assert_eq!((quality.stacks(), quality.whole()), (100, 90));
        assert_eq!(quality.whole_share(), Some(0.9));
        let reasons = [(WalkEnd::Unmapped.name(), 6), (WalkEnd::Truncated.name(), 4)];
        assert_eq!(quality.reasons(), reasons);
    }

    #[test]
    fn a_profile_of_kernel_threads_has_no_share() {
        assert_eq!(quality(&[(WalkEnd::NoUserStack.name(), 7)]).whole_share(), None);
        assert_eq!(Quality::default().whole_share(), None);
    }

    #[test]
    fn a_reason_of_a_newer_agent_counts_as_not_whole() {
        let mut merged = quality(&[(WalkEnd::Root.name(), 1)]);
        merged.merge(&quality(&[("struck by lightning", 3), (WalkEnd::Root.name(), 0)]));
        assert_eq!(merged.whole_share(), Some(0.25));
        assert_eq!(merged.reasons(), [("struck by lightning", 3)]);
        assert_eq!(Quality::sentence("struck by lightning"), None);
    }

    #[test]
    fn every_end_has_a_sentence_and_a_name_of_its_own() {
        let named = quality(&WalkEnd::ALL.iter().map(|end| (end.name(), 1)).collect::<Vec<_>>());
        assert_eq!(named.ends().len(), WalkEnd::ALL.len());
        for (end, _) in named.ends() {
            assert!(Quality::sentence(end).is_some_and(|text| text.ends_with('.')), "{end}");
        }
    }
}
