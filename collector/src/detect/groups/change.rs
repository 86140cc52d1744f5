//! How much each set of stacks changed. Sets are ranges of the ordered stacks, so all of it is differences of running sums.

use std::ops::Range;

use super::super::functions::Tested;
use super::super::items::Ranges;

/// Running sums over the ordered stacks of their mean rates on both sides.
#[derive(Debug)]
pub(in super::super) struct Changes {
    /// Entry `i`: rates of all stacks before `i`, on the baseline and on the candidate.
    rates: Vec<[f64; 2]>,
}

impl Changes {
    /// Rates by side: `Σ x / Σ N` over the replicates that are used, those of the candidate corrected. A difference of
    /// sums over stacks is then the sum of their differences.
    pub(in super::super) fn of(tested: &Tested<'_>) -> Self {
        let stacks = tested.diff.stacks.len();
        let weights = tested.exposures.pooled().map(|n| 1.0 / n.max(1.0));
        let mut sides = vec![None; tested.exposures.rows()];
        for stratum in &tested.design().strata {
            for (side, rows) in [&stratum.baseline, &stratum.candidate].into_iter().enumerate() {
                for row in rows {
                    sides[*row] = Some(side);
                }
            }
        }
        let mut rates = Vec::with_capacity(stacks + 1);
        let mut sum = [0.0; 2];
        rates.push(sum);
        for index in 0..stacks {
            for count in tested.diff.stacks.counts(index) {
                if let Some(side) = sides[count.replicate as usize] {
                    sum[side] += count.samples as f64 * weights[side];
                }
            }
            rates.push(sum);
        }
        Self { rates }
    }

    fn range(&self, range: &Range<u32>) -> [f64; 2] {
        let (low, high) = (self.rates[range.start as usize], self.rates[range.end as usize]);
        [high[0] - low[0], high[1] - low[1]]
    }

    /// Rates of a set on both sides.
    pub(in super::super) fn rates(&self, set: &[Range<u32>]) -> [f64; 2] {
        set.iter().map(|range| self.range(range)).fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
    }

    /// Rates on both sides of what two sets share.
    pub(in super::super) fn shared(&self, left: &[Range<u32>], right: &[Range<u32>]) -> [f64; 2] {
        let mut sum = [0.0; 2];
        meet(left, right, |range| {
            let [before, after] = self.range(&range);
            sum = [sum[0] + before, sum[1] + after];
        });
        sum
    }

    /// Difference of the rates of a set.
    pub(in super::super) fn delta(&self, set: &[Range<u32>]) -> f64 {
        let [before, after] = self.rates(set);
        after - before
    }

    /// Part of two sets that both have, by weight: 1 for sets that no sample tells apart (Jaccard 1912).
    pub(in super::super) fn likeness(&self, left: &[Range<u32>], right: &[Range<u32>]) -> f64 {
        let weight = |[before, after]: [f64; 2]| before + after;
        let shared = weight(self.shared(left, right));
        let all = weight(self.rates(left)) + weight(self.rates(right)) - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

/// Calls `each` with every range that both sets have.
fn meet(left: &[Range<u32>], right: &[Range<u32>], mut each: impl FnMut(Range<u32>)) {
    let (mut left, mut right) = (left, right);
    if left.len() > right.len() {
        std::mem::swap(&mut left, &mut right);
    }
    for range in left {
        right = &right[right.partition_point(|other| other.end <= range.start)..];
        for other in right.iter().take_while(|other| other.start < range.end) {
            each(range.start.max(other.start)..range.end.min(other.end));
        }
    }
}

/// What both sets have.
pub(in super::super) fn intersection(left: &[Range<u32>], right: &[Range<u32>]) -> Ranges {
    let mut both = Ranges::new();
    meet(left, right, |range| both.push(range));
    both
}

/// What the first set has and the second has not.
pub(in super::super) fn without(set: &[Range<u32>], taken: &[Range<u32>]) -> Ranges {
    let mut rest = Ranges::new();
    let mut taken = taken;
    for range in set {
        taken = &taken[taken.partition_point(|other| other.end <= range.start)..];
        let mut start = range.start;
        for other in taken.iter().take_while(|other| other.start < range.end) {
            if other.start > start {
                rest.push(start..other.start);
            }
            start = start.max(other.end);
        }
        if start < range.end {
            rest.push(start..range.end);
        }
    }
    rest
}

/// What either set has.
pub(in super::super) fn union(left: &[Range<u32>], right: &[Range<u32>]) -> Ranges {
    let mut all: Ranges = left.iter().chain(right).cloned().collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut merged: Ranges = Vec::with_capacity(all.len());
    for range in all {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(bits: &[bool]) -> Ranges {
        let mut ranges = Ranges::new();
        for (at, _) in (0u32..).zip(bits).filter(|(_, bit)| **bit) {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end += 1,
                _ => ranges.push(at..at + 1),
            }
        }
        ranges
    }

    fn bits(ranges: &Ranges, length: usize) -> Vec<bool> {
        let mut bits = vec![false; length];
        for range in ranges {
            assert!(range.start < range.end);
            for at in range.clone() {
                assert!(!bits[at as usize], "a stack counts once");
                bits[at as usize] = true;
            }
        }
        bits
    }

    proptest! {
        #[test]
        fn sets_of_ranges_behave_as_sets(pairs in proptest::collection::vec(any::<(bool, bool)>(), 0..60)) {
            let (left, right): (Vec<bool>, Vec<bool>) = pairs.iter().copied().unzip();
            let (a, b) = (ranges(&left), ranges(&right));
            let each = |of: fn(bool, bool) -> bool| -> Vec<bool> { pairs.iter().map(|(a, b)| of(*a, *b)).collect() };
            prop_assert_eq!(bits(&intersection(&a, &b), pairs.len()), each(|a, b| a && b));
            prop_assert_eq!(bits(&without(&a, &b), pairs.len()), each(|a, b| a && !b));
            prop_assert_eq!(bits(&union(&a, &b), pairs.len()), each(|a, b| a || b));
        }
    }
}
