//! Puts the significant items together by their cause: anchor, root, and all that the root accounts for.
//!
//! One change shows in the function, in all its callers, in edges and in paths. The strongest item is the anchor; the root
//! is the set of stacks that explains the change best; what does not grow beyond it is explained by it, and so on with
//! what is left.

mod change;
mod library;
mod place;
mod root;
mod syscalls;
mod told;

use super::functions::Tested;
use super::items::Ranges;
use super::shift::Shifts;
use super::{Cause, Direction, Group, SeenAs, Subject, Verdict};

pub(super) use change::{Changes, intersection, union, without};
use place::Place;
use root::Roots;
use told::Told;

/// Most groups of one direction on stacks: a release with more causes than this is read from its tables.
const GROUPS_MAX: usize = 20;

/// Items are explained when less than this part of their change lies outside of what is known.
const OUTSIDE_SHARE_MAX: f64 = 0.35;

/// A significant item, as the search for causes sees it.
#[derive(Debug, Clone)]
struct Found<'t> {
    /// Its index among the items.
    item: usize,
    ranges: &'t Ranges,
    /// Change of its rate; negative for improvements.
    delta: f64,
    t: f64,
}

/// The search for the causes of one direction.
struct Search<'s> {
    tested: &'s Tested<'s>,
    changes: &'s Changes,
    direction: Direction,
    /// Largest p that is still significant: what is left of an item is judged by it.
    p_max: f64,
}

/// Groups of what is significant, strongest evidence first; marks the verdicts that a group's root accounts for.
pub(super) fn reduce(tested: &Tested<'_>, q: &[f64], verdicts: &mut [Verdict]) -> Vec<Group> {
    let p = tested.p_values();
    let is_significant = |index: &usize| q[*index] <= tested.policy.q;
    let significant: Vec<usize> = (0..q.len()).filter(is_significant).collect();
    let told = Told::of(tested, verdicts.len());
    let (calls, functions) = verdicts.split_at_mut(told.first);
    let mut groups = syscalls::groups(calls);
    if significant.is_empty() {
        return sorted(groups);
    }
    let changes = Changes::of(tested);
    // Where all that is significant is so beyond doubt, the limit is at least that of one test among so many.
    let p_least = tested.policy.q / q.len().max(1) as f64;
    let p_max = significant.iter().map(|index| p[*index]).fold(p_least, f64::max);
    let shifts = Shifts { tested, changes: &changes };
    for direction in [Direction::Worse, Direction::Better] {
        let search = Search { tested, changes: &changes, direction, p_max };
        let mut left = search.significant(&significant);
        let mut known = Ranges::new();
        for group in groups.iter_mut().filter(|group| group.direction == direction) {
            let inside = syscalls::inside(tested, group);
            let members = search.take_members(&mut left, &known, &inside);
            told.mark(&members, group, functions);
            known = union(&known, &inside);
        }
        for _ in 0..GROUPS_MAX {
            let Some(cause) = search.next(&mut left, &mut known) else { break };
            let mut group = cause.group;
            group.root.p = p[cause.item];
            group.root.q = q[cause.item];
            if let Some(moved) = shifts.of(cause.item) {
                group.cause = Cause::CostShift(moved);
            }
            told.mark(&cause.members, &mut group, functions);
            groups.push(group);
        }
    }
    for group in &groups {
        if let Some(root) = calls.iter_mut().find(|call| call.subject == group.root.subject) {
            root.also_visible_in.clone_from(&group.also_visible_in);
        }
    }
    sorted(groups)
}

fn sorted(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by(|left, right| {
        let size = |group: &Group| group.root.delta_abs.abs();
        let by_evidence = left.root.p.total_cmp(&right.root.p);
        by_evidence
            .then_with(|| size(right).total_cmp(&size(left)))
            .then_with(|| left.root.subject.cmp(&right.root.subject))
    });
    groups
}

/// A cause that was found.
struct Traced {
    group: Group,
    /// The item of its root.
    item: usize,
    /// Items that it accounts for, its root among them.
    members: Vec<usize>,
}

impl<'s> Search<'s> {
    /// The significant items of this direction, each set of stacks once.
    fn significant(&self, significant: &[usize]) -> Vec<Found<'s>> {
        let sign = self.sign();
        significant
            .iter()
            .filter(|index| self.tested.items.list[**index].same_as.is_none())
            .map(|index| {
                let (item, outcome) =
                    (&self.tested.items.list[*index], &self.tested.outcomes[*index]);
                Found { item: *index, ranges: &item.ranges, delta: outcome.delta, t: outcome.t }
            })
            .filter(|found| found.delta * sign > 0.0)
            .collect()
    }

    const fn sign(&self) -> f64 {
        match self.direction {
            Direction::Worse => 1.0,
            Direction::Better => -1.0,
        }
    }

    /// Takes the next cause out of what is left.
    fn next(&self, left: &mut Vec<Found<'s>>, known: &mut Ranges) -> Option<Traced> {
        let anchor = left.iter().max_by(|a, b| a.t.total_cmp(&b.t).then(b.item.cmp(&a.item)))?;
        let roots = Roots::of(self, anchor, left);
        let place = Place::of(self, &roots);
        let item = place.item;
        let reach = union(anchor.ranges, roots.ranked[0].ranges);
        let reach = union(&reach, &self.tested.items.list[item].ranges);
        let mut members = self.take_members(left, known, &reach);
        if members.is_empty() {
            return None;
        }
        members.push(item);
        *known = union(known, &reach);
        let group = Group {
            direction: self.direction,
            root: Verdict { significant: true, ..self.tested.verdict(item) },
            seen_as: place.seen_as,
            chain: place.chain,
            suspects: place.suspects,
            caller: place.caller,
            path: place.path,
            also_visible_in: Vec::new(),
            cause: Cause::Change,
        };
        Some(Traced { group, item, members })
    }

    /// Takes out the items that `reach` accounts for, with what is known already.
    fn take_members(
        &self,
        left: &mut Vec<Found<'s>>,
        known: &Ranges,
        reach: &Ranges,
    ) -> Vec<usize> {
        let explained = union(known, reach);
        let mut members = Vec::new();
        left.retain(|found| {
            let is_member = self.is_explained(found, &explained);
            if is_member {
                members.push(found.item);
            }
            !is_member
        });
        members
    }

    /// Whether too little of an item's change lies outside of the explained stacks, or what does is not significant.
    fn is_explained(&self, found: &Found<'_>, explained: &Ranges) -> bool {
        let [before, after] = self.changes.shared(found.ranges, explained);
        if before + after <= 0.0 {
            return false;
        }
        let own = self.changes.delta(found.ranges) * self.sign();
        let outside = own - (after - before) * self.sign();
        if outside < OUTSIDE_SHARE_MAX * own {
            return true;
        }
        let outcome = self.tested.test(&without(found.ranges, explained));
        outcome.delta * self.sign() <= 0.0 || 2.0 * outcome.p > self.p_max
    }
}

/// How a family is called where people read it.
fn seen_as(tested: &Tested<'_>, item: usize) -> SeenAs {
    use super::items::Family;
    match tested.items.list[item].family {
        Family::SelfTime => SeenAs::SelfTime,
        Family::Total => SeenAs::Total,
        Family::Edge => SeenAs::Edge,
        Family::Path => SeenAs::Path,
    }
}

#[cfg(test)]
pub(super) mod tests;
