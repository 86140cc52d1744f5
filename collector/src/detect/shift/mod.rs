//! Tells work that moved from work that grew: renamed, moved, inlined, split or merged functions.
//!
//! Where work only moves, what one function gains its neighbours in the call tree lose. All of them together, the root
//! among them, are tested as one set of stacks: the sum of work that moved does not change.

mod kind;
mod neighbours;

use super::CostShift;
use super::functions::Tested;
use super::groups::{Changes, union};
use super::special::t_quantile;
use kind::Presence;
use neighbours::{Neighbour, Neighbourhood, neighbourhoods};

/// Part of the root's change below which the end of the sum's interval must lie.
const NET_SHARE_MAX: f64 = 0.4;

/// Part of the root's change that its partners must make up for.
const PARTNERS_SHARE_MIN: f64 = 0.6;

/// Part of the root's change from which on a neighbour's change is counted in.
const NEIGHBOUR_SHARE_MIN: f64 = 0.03;

/// Part of the root's change from which on it counts that a neighbour came or went.
const PRESENCE_SHARE_MIN: f64 = 0.3;

/// Standard errors from 0 from which on a neighbour's change is one.
const NEIGHBOUR_T_MIN: f64 = 3.0;

/// Log-likelihood ratio, ln 1000, by which "it moved" must beat "it grew" where a function came or went with it.
const MOVED_EVIDENCE_MIN: f64 = 6.9;

/// Tail of the 90 % interval of the sum.
const NET_TAIL: f64 = 0.05;

/// Most partners named.
const PARTNERS_MAX: usize = 5;

/// The search for what makes up for the change of a root.
pub(super) struct Shifts<'s> {
    pub(super) tested: &'s Tested<'s>,
    pub(super) changes: &'s Changes,
}

/// A neighbour that changed.
struct Moved {
    neighbour: Neighbour,
    delta: f64,
    presence: Presence,
}

impl Shifts<'_> {
    /// What the root of a group moved to or from, if the sum shows that it only moved.
    pub(super) fn of(&self, item: usize) -> Option<CostShift> {
        neighbourhoods(self.tested, item).find_map(|near| self.within(item, near)).flatten()
    }

    /// The same among given neighbours: `None` where they do not make up for it, and `Some(None)` where they do but the
    /// sum grew, which is answer enough.
    fn within(&self, item: usize, near: Neighbourhood) -> Option<Option<CostShift>> {
        let root = &self.tested.outcomes[item];
        let mut moved: Vec<Moved> = near
            .neighbours
            .into_iter()
            .filter_map(|neighbour| self.moved(neighbour, root.delta))
            .collect();
        let is_partner = |moved: &Moved| moved.delta * root.delta < 0.0;
        let made_up: f64 =
            moved.iter().filter(|moved| is_partner(moved)).map(|moved| moved.delta.abs()).sum();
        if made_up < PARTNERS_SHARE_MIN * root.delta.abs() {
            return None;
        }
        let ranges = self.tested.items.list[item].ranges.clone();
        let set = moved.iter().fold(ranges, |set, moved| union(&set, &moved.neighbour.ranges));
        let net = self.tested.test(&set);
        let [net_low, net_high] = net.interval(t_quantile(NET_TAIL, net.degrees));
        // A function that moved and grew: the growth is a change.
        if net.delta * root.delta > 0.0 && 2.0 * net.p <= self.tested.policy.q {
            return Some(None);
        }
        let presence = Presence::of([root.baseline_rate, root.candidate_rate]);
        let is_large = |moved: &Moved| moved.delta.abs() >= PRESENCE_SHARE_MIN * root.delta.abs();
        let came_or_went = presence != Presence::Stays
            || moved.iter().any(|at| at.presence != Presence::Stays && is_large(at));
        if near.is_far && !came_or_went {
            return None;
        }
        let is_equivalent = net_low.abs().max(net_high.abs()) < NET_SHARE_MAX * root.delta.abs();
        let is_likelier = net.delta.abs() < NET_SHARE_MAX * root.delta.abs()
            && evidence(net.delta, root.delta, net.error) >= MOVED_EVIDENCE_MIN;
        if !(is_equivalent || (came_or_went && is_likelier)) {
            return None;
        }
        moved.sort_by(|left, right| right.delta.abs().total_cmp(&left.delta.abs()));
        let kind = kind::of(self.tested, item, presence, &moved);
        let functions = &self.tested.diff.functions;
        let partners = moved.iter().filter(|moved| is_partner(moved));
        let mut names: Vec<String> = partners
            .map(|moved| functions[moved.neighbour.function as usize].function.clone())
            .collect();
        names.dedup();
        names.truncate(PARTNERS_MAX);
        Some(Some(CostShift { kind, partners: names, net: net.delta, net_low, net_high }))
    }

    /// A neighbour, if it changed by enough to matter to a root that changed by `root`.
    fn moved(&self, neighbour: Neighbour, root: f64) -> Option<Moved> {
        if self.changes.delta(&neighbour.ranges).abs() < NEIGHBOUR_SHARE_MIN * root.abs() {
            return None;
        }
        let outcome = self.tested.test(&neighbour.ranges);
        let presence = Presence::of([outcome.baseline_rate, outcome.candidate_rate]);
        let is_change = outcome.delta.abs() >= NEIGHBOUR_T_MIN * outcome.error;
        is_change.then_some(Moved { neighbour, delta: outcome.delta, presence })
    }
}

/// Log-likelihood ratio of "the sum changed by 0" over "the sum changed by as much as the root did", for a normal error.
fn evidence(net: f64, root: f64, error: f64) -> f64 {
    ((root - net).powi(2) - net.powi(2)) / (2.0 * error * error).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests;
