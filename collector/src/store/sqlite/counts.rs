//! Samples by stack identity, in order, so that many of them add up by merging.

use std::cmp::Ordering;

/// (stack identity, samples), by rising identity, each identity once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StackCounts(Vec<(i64, u64)>);

impl StackCounts {
    /// Number of stacks.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Samples of all stacks.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// (identity, samples), by rising identity.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (i64, u64)> {
        self.0.iter().copied()
    }

    /// Adds counts that are in order themselves; its cost is linear in both.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        while let ([(ours, count), rest @ ..], [(theirs, more), others @ ..]) = (left, right) {
            match ours.cmp(theirs) {
                Ordering::Less => {
                    merged.push((*ours, *count));
                    left = rest;
                }
                Ordering::Greater => {
                    merged.push((*theirs, *more));
                    right = others;
                }
                Ordering::Equal => {
                    merged.push((*ours, count.saturating_add(*more)));
                    (left, right) = (rest, others);
                }
            }
        }
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        self.0 = merged;
    }
}

/// Counts in any order; those of one identity are added.
impl FromIterator<(i64, u64)> for StackCounts {
    fn from_iter<I: IntoIterator<Item = (i64, u64)>>(counts: I) -> Self {
        let mut counts: Vec<(i64, u64)> = counts.into_iter().collect();
        if !counts.is_sorted_by(|left, right| left.0 < right.0) {
            counts.sort_unstable_by_key(|(id, _)| *id);
            counts.dedup_by(|next, first| {
                let is_same = next.0 == first.0;
                if is_same {
                    first.1 = first.1.saturating_add(next.1);
                }
                is_same
            });
        }
        Self(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn merging_adds_up_whatever_the_order(
            parts in proptest::collection::vec(
                proptest::collection::vec((0i64..40, 0u64..1 << 40), 0..30), 0..5),
        ) {
            let mut merged = StackCounts::default();
            let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
            for part in &parts {
                merged.merge(&part.iter().copied().collect());
                for (id, count) in part {
                    *sums.entry(*id).or_default() += count;
                }
            }
            prop_assert_eq!(merged.total(), sums.values().sum::<u64>());
            prop_assert_eq!(merged.iter().collect::<Vec<_>>(), sums.into_iter().collect::<Vec<_>>());
        }
    }
}
