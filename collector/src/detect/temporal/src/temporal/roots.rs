//! Makes findings of series that changed: one for each cause, with the others that show it named beside.

use crate::detect::Direction;
use crate::detect::special::t_quantile;

use super::change::change_point;
use super::containment::Containment;
use super::finding::{TemporalFinding, Watched};
use super::frozen;
use super::rung::{Candidate, Step};
use super::series::Item;
use super::timeline::Timeline;

/// Most findings of one judgement: more are one incident, not that many causes.
const FINDINGS_MAX: usize = 8;

/// Part of a change that may lie outside a cause and still be explained by it.
const OUTSIDE_MAX: f64 = 0.35;

/// Part of the cause's change that another series must hold to be the cause itself.
const INSIDE_MIN: f64 = 0.8;

/// Part of the largest t that a cause must have.
const STRENGTH_MIN: f64 = 0.6;

/// Part of the largest relative change that a cause must have: above the origin of a change it thins out.
const PLATEAU_MIN: f64 = 0.75;

/// A candidate in absolute terms.
struct Change {
    candidate: Candidate,
    item: Item,
    /// Share points, or seconds of CPU for each second.
    delta: f64,
}

/// Findings, strongest first: the largest t is the anchor; of those that hold most of its change, grew about as much
/// and are nearly as clear, the one with the largest change is the root; what has little change outside it is explained.
///
/// Only functions are known here, not paths. So a function called more often from one of several callers is told as
/// itself, with the caller beside it.
pub(super) fn reduce(
    timeline: &Timeline,
    ladder: &[Step],
    candidates: Vec<Candidate>,
    utc_offset_hours: i8,
) -> Vec<TemporalFinding> {
    let mut left = strongest(ladder, candidates);
    let mut findings = Vec::new();
    while !left.is_empty() && findings.len() < FINDINGS_MAX {
        let root = root(&left, &timeline.containment);
        let root = left.remove(root);
        let (explained, others): (Vec<Change>, Vec<Change>) =
            left.into_iter().partition(|other| is_explained(other, &root, &timeline.containment));
        left = others;
        let also_visible_in = explained.iter().map(|other| other.item.watched(timeline)).collect();
        findings.push(finding(timeline, ladder, &root, (also_visible_in, utc_offset_hours)));
    }
    findings
}

/// The step of the ladder on which a candidate was found; slow growth is seen on that of a day.
fn step_of<'l>(ladder: &'l [Step], candidate: &Candidate) -> &'l Step {
    let same = ladder.iter().find(|step| step.rung == candidate.rung);
    same.unwrap_or(&ladder[ladder.len() - 1])
}

/// Each series once, where it is clearest; largest t first.
fn strongest(ladder: &[Step], candidates: Vec<Candidate>) -> Vec<Change> {
    let mut changes: Vec<Change> = candidates
        .into_iter()
        .map(|candidate| {
            let item = step_of(ladder, &candidate).series.items[candidate.item];
            let delta = candidate.before.exp() * candidate.change.exp_m1();
            Change { candidate, item, delta }
        })
        .collect();
    changes.sort_by(|left, right| right.candidate.t.total_cmp(&left.candidate.t));
    let mut seen = std::collections::HashSet::new();
    changes.retain(|change| seen.insert(change.item));
    changes
}

/// Position of the root of the strongest change.
fn root(changes: &[Change], containment: &Containment) -> usize {
    let anchor = &changes[0];
    let holds = |other: &&(usize, &Change)| {
        let inside = anchor.delta * part(anchor.item, other.1.item, containment);
        other.1.candidate.change * anchor.candidate.change > 0.0
            && (inside >= INSIDE_MIN * anchor.delta.abs()
                || inside <= -INSIDE_MIN * anchor.delta.abs())
            && other.1.candidate.t >= STRENGTH_MIN * anchor.candidate.t
    };
    let all: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
    let holding: Vec<&(usize, &Change)> = all.iter().filter(holds).collect();
    let largest =
        holding.iter().map(|(_, change)| change.candidate.change.abs()).fold(0.0, f64::max);
    holding
        .into_iter()
        .filter(|(_, change)| change.candidate.change.abs() >= PLATEAU_MIN * largest)
        .max_by(|left, right| left.1.delta.abs().total_cmp(&right.1.delta.abs()))
        .map_or(0, |(at, _)| *at)
}

/// Whether the change of a series is that of the root, seen elsewhere.
fn is_explained(other: &Change, root: &Change, containment: &Containment) -> bool {
    if other.candidate.change * root.candidate.change <= 0.0 {
        return false;
    }
    let above = root.delta * part(root.item, other.item, containment);
    let below = other.delta * part(other.item, root.item, containment);
    let outside = (other.delta - above).abs().min((other.delta - below).abs());
    outside <= OUTSIDE_MAX * other.delta.abs()
}

/// Part of the samples of `inner` that are samples of `outer` too.
fn part(inner: Item, outer: Item, containment: &Containment) -> f64 {
    match (inner, outer) {
        (Item::Own(inner) | Item::Anywhere(inner), Item::Anywhere(outer)) => {
            containment.part(inner, outer)
        }
        (Item::Own(inner), Item::Own(outer)) if inner == outer => 1.0,
        _ => 0.0,
    }
}

fn finding(
    timeline: &Timeline,
    ladder: &[Step],
    root: &Change,
    (also_visible_in, utc_offset_hours): (Vec<Watched>, i8),
) -> TemporalFinding {
    /// Half of what lies outside the interval.
    const TAIL: f64 = 0.025;
    let Change { candidate, item, .. } = root;
    let step = step_of(ladder, candidate);
    let half = t_quantile(TAIL, candidate.scale.degrees) * candidate.scale.standard_deviation;
    let before = candidate.before.exp();
    let change_point = change_point(step, candidate);
    TemporalFinding {
        watched: item.watched(timeline),
        direction: if candidate.change > 0.0 { Direction::Worse } else { Direction::Better },
        rung: candidate.rung,
        pace: candidate.pace,
        windows: candidate.k,
        baseline_value: before,
        candidate_value: before * candidate.change.exp(),
        delta_rel: candidate.change.exp_m1(),
        interval: [(candidate.change - half).exp_m1(), (candidate.change + half).exp_m1()],
        t: candidate.t,
        p: candidate.p,
        q: candidate.q,
        change_point,
        baseline: frozen::freeze(
            timeline,
            step,
            candidate,
            (change_point.within.start_unix_ns, utc_offset_hours),
        ),
        also_visible_in,
    }
}
