//! Names the culprit: findings that another finding accounts for are not told separately.

use std::collections::BTreeMap;

use crate::diff::{FunctionKey, ProfileDiff};

use super::normalize::Basis;
use super::{Direction, FunctionKind, Policy, Subject, Verdict};

/// Share of a function's change that must lie in stacks below it that have a finding of their own.
const EXPLAINED_SHARE: f64 = 0.8;

/// Most ancestors named beside a culprit.
const ALSO_VISIBLE_MAX: usize = 20;

/// A significant function.
struct Item {
    verdict: usize,
    function: u32,
    kind: FunctionKind,
    /// (stack, first position, last position) of the function in each stack that counts for it.
    places: Vec<(usize, usize, usize)>,
    /// Change of the share of its stacks.
    change: f64,
    /// Samples of its stacks on both sides.
    mass: u64,
}

/// Marks findings whose change lies in another finding below them, and lists them with it.
///
/// Self times stand for themselves. A total time is explained when at least [`EXPLAINED_SHARE`] of its change lies in
/// stacks where a finding stands below it. Smaller sets of stacks are decided first, so only what is kept explains.
pub(super) fn explain(verdicts: &mut [Verdict], diff: &ProfileDiff, policy: &Policy) {
    let basis = Basis::of(diff, policy);
    let (before, after) = (
        diff.baseline_samples().max(1) as f64,
        diff.candidate_samples().max(1) as f64 * basis.factor,
    );
    let changes: Vec<f64> = diff
        .stacks
        .iter()
        .map(|stack| stack.candidate as f64 / after - stack.baseline as f64 / before)
        .collect();
    for direction in [Direction::Worse, Direction::Better] {
        explain_direction(verdicts, diff, &changes, direction);
    }
}

fn explain_direction(
    verdicts: &mut [Verdict],
    diff: &ProfileDiff,
    changes: &[f64],
    direction: Direction,
) {
    let mut items = significant(verdicts, diff, changes, direction);
    let depth = |item: &Item| item.places.iter().map(|place| place.1).max().unwrap_or(0);
    items.sort_by(|left, right| {
        (left.kind, left.mass, depth(right), left.function).cmp(&(
            right.kind,
            right.mass,
            depth(left),
            right.function,
        ))
    });
    // Last position of each kept finding in each stack: (index into items, position).
    let mut kept: Vec<Vec<(usize, usize)>> = vec![Vec::new(); diff.stacks.len()];
    for (index, item) in items.iter().enumerate() {
        match culprit(item, &kept, changes) {
            Some(culprit) if item.kind == FunctionKind::Total => {
                let by = verdicts[items[culprit].verdict].subject.clone();
                let name = diff.functions[item.function as usize].key.function.clone();
                verdicts[item.verdict].explained_by = Some(by);
                let visible = &mut verdicts[items[culprit].verdict].also_visible_in;
                if visible.len() < ALSO_VISIBLE_MAX && !visible.contains(&name) {
                    visible.push(name);
                }
            }
            _ => {
                for (stack, _first, last) in &item.places {
                    kept[*stack].push((index, *last));
                }
            }
        }
    }
}

/// The kept finding that carries most of the item's change, if all kept ones below it carry enough.
fn culprit(item: &Item, kept: &[Vec<(usize, usize)>], changes: &[f64]) -> Option<usize> {
    let mut explained = 0.0;
    let mut by_culprit: BTreeMap<usize, f64> = BTreeMap::new();
    for (stack, first, _last) in &item.places {
        let below = kept[*stack].iter().filter(|(_, last)| last >= first);
        let mut any = false;
        for (culprit, _) in below {
            any = true;
            *by_culprit.entry(*culprit).or_default() += changes[*stack];
        }
        if any {
            explained += changes[*stack];
        }
    }
    if explained / item.change < EXPLAINED_SHARE {
        return None;
    }
    let largest =
        by_culprit.into_iter().max_by(|left, right| left.1.abs().total_cmp(&right.1.abs()));
    largest.map(|(culprit, _)| culprit)
}

/// Significant functions of a direction with the stacks that count for them.
fn significant(
    verdicts: &[Verdict],
    diff: &ProfileDiff,
    changes: &[f64],
    direction: Direction,
) -> Vec<Item> {
    let mut items: Vec<Item> = verdicts
        .iter()
        .enumerate()
        .filter(|(_, verdict)| verdict.significant && verdict.direction == direction)
        .filter_map(|(index, verdict)| {
            let Subject::Function { module, function, kind } = &verdict.subject else {
                return None;
            };
            let key = FunctionKey { module: module.clone(), function: function.clone() };
            let function = diff.functions.binary_search_by(|item| item.key.cmp(&key)).ok()?;
            let function = u32::try_from(function).ok()?;
            Some(Item {
                verdict: index,
                function,
                kind: *kind,
                places: Vec::new(),
                change: 0.0,
                mass: 0,
            })
        })
        .collect();
    for item in &mut items {
        for (index, stack) in diff.stacks.iter().enumerate() {
            let Some(last) = stack.functions.iter().rposition(|f| *f == item.function) else {
                continue;
            };
            let first = stack.functions.iter().position(|f| *f == item.function).unwrap_or(last);
            if item.kind == FunctionKind::SelfTime && last + 1 != stack.functions.len() {
                continue;
            }
            item.places.push((index, first, last));
            item.change += changes[index];
            item.mass += stack.baseline + stack.candidate;
        }
    }
    items
}
