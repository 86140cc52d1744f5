//! Where a change begins: the set of stacks that explains it best.

use super::super::items::Ranges;
use super::{Found, Search, intersection, without};

/// Part of the anchor's change that must lie inside a set for it to be the root.
const INSIDE_SHARE_MIN: f64 = 0.8;

/// Log-likelihood by which a larger set must explain a change better than a smaller one.
const MARGIN: f64 = 1.5;

/// What may be the root, the most likely first.
pub(super) struct Roots<'t> {
    pub(super) ranked: Vec<Found<'t>>,
}

impl<'t> Roots<'t> {
    /// Weighs the sets that hold most of the anchor's change against each other.
    ///
    /// From the smallest on, a larger set takes the place of a smaller one when what it has more changed at the same rate,
    /// rather than not at all.
    pub(super) fn of(search: &Search<'_>, anchor: &Found<'t>, found: &[Found<'t>]) -> Self {
        let changes = search.changes;
        let whole = changes.delta(anchor.ranges) * search.sign();
        let mut rising: Vec<(f64, &Found<'t>)> = found
            .iter()
            .filter(|candidate| {
                let [before, after] = changes.shared(candidate.ranges, anchor.ranges);
                (after - before) * search.sign() >= INSIDE_SHARE_MIN * whole
            })
            .map(|candidate| {
                let [before, after] = changes.rates(candidate.ranges);
                (before + after, candidate)
            })
            .collect();
        rising
            .sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.item.cmp(&right.1.item)));
        let mut ranked: Vec<Found<'t>> = Vec::with_capacity(rising.len());
        for (_, candidate) in rising {
            match ranked.last() {
                Some(best) if search.preference(candidate, best) <= MARGIN => {
                    let at = ranked.len() - 1;
                    ranked.insert(at, candidate.clone());
                }
                _ => ranked.push(candidate.clone()),
            }
        }
        ranked.reverse();
        if ranked.is_empty() {
            ranked.push(anchor.clone());
        }
        Self { ranked }
    }
}

impl Search<'_> {
    /// Log-likelihood ratio of "all of `left` changed at one rate, and nothing else" over the same of `right`.
    ///
    /// What both have says nothing. What only one has, R, changed by `κ s_R` if that one is the root and by 0 if the other
    /// is, with s the larger of its rates on both sides and κ the same ratio `δ/s` in what both have (so it is bounded by 1
    /// for what is new or gone). With the change `δ_R` that was found and its error σ: `((δ_R)² - (δ_R - κ s_R)²) / 2σ²`.
    fn preference(&self, left: &Found<'_>, right: &Found<'_>) -> f64 {
        let [before, after] = self.changes.rates(&intersection(left.ranges, right.ranges));
        let scale = before.max(after);
        if scale <= 0.0 {
            return 0.0;
        }
        let kappa = (after - before) / scale;
        self.support(&without(left.ranges, right.ranges), kappa)
            - self.support(&without(right.ranges, left.ranges), kappa)
    }

    fn support(&self, rest: &Ranges, kappa: f64) -> f64 {
        if rest.is_empty() {
            return 0.0;
        }
        let outcome = self.tested.test(rest);
        if outcome.error <= 0.0 {
            return 0.0;
        }
        let scale = outcome.baseline_rate.max(outcome.candidate_rate);
        let expected = kappa * scale;
        expected * 2.0f64.mul_add(outcome.delta, -expected) / (2.0 * outcome.error * outcome.error)
    }
}
