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

/// Marks findings whose change lies in another finding, and lists them with it.
///
/// A total time is explained when at least [`EXPLAINED_SHARE`] of its change lies in stacks where a finding stands
/// below it. Smaller sets of stacks are decided first, so only what is kept explains. A self time stands for itself,
/// but for the kernel's own work inside a syscall that has a finding: this is what the call does, not another cause.
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
    let mut kept = inside_syscalls(verdicts, diff, direction);
    for item in &items {
        match culprit(item, &kept, changes) {
            Some(culprit) => {
                let by = verdicts[culprit].subject.clone();
                let name = diff.functions[item.function as usize].key.function.clone();
                verdicts[item.verdict].explained_by = Some(by);
                let visible = &mut verdicts[culprit].also_visible_in;
                if visible.len() < ALSO_VISIBLE_MAX && !visible.contains(&name) {
                    visible.push(name);
                }
            }
            None => {
                for (stack, _first, last) in &item.places {
                    kept[*stack].push(Kept { verdict: item.verdict, reach: Reach::UpTo(*last) });
                }
            }
        }
    }
}

/// A finding that explains others in a stack.
#[derive(Clone, Copy)]
struct Kept {
    verdict: usize,
    reach: Reach,
}

/// What of a stack a kept finding explains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Total times of functions that stand at this position or above it.
    UpTo(usize),
    /// All of the stack: it is inside the syscall that the finding is about.
    Whole,
}

impl Kept {
    fn explains(self, kind: FunctionKind, first: usize) -> bool {
        match self.reach {
            Reach::UpTo(last) => kind == FunctionKind::Total && last >= first,
            Reach::Whole => true,
        }
    }
}

/// Findings about syscalls, in each stack that is inside such a call.
fn inside_syscalls(
    verdicts: &[Verdict],
    diff: &ProfileDiff,
    direction: Direction,
) -> Vec<Vec<Kept>> {
    let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, verdict) in verdicts.iter().enumerate() {
        if let Subject::Syscall { name, .. } = &verdict.subject
            && verdict.significant
            && verdict.direction == direction
        {
            calls.entry(name).or_insert(index);
        }
    }
    let entries: Vec<Option<usize>> = diff
        .functions
        .iter()
        .map(|function| calls.get(syscall_of_entry(&function.key)?).copied())
        .collect();
    let entry_of = |functions: &[u32]| functions.iter().find_map(|f| entries[*f as usize]);
    diff.stacks
        .iter()
        .map(|stack| entry_of(&stack.functions))
        .map(|found| found.map(|verdict| Kept { verdict, reach: Reach::Whole }))
        .map(|found| found.into_iter().collect())
        .collect()
}

/// Name of the syscall whose entry function of the kernel this is, such as `fsync` for `__x64_sys_fsync`.
fn syscall_of_entry(key: &FunctionKey) -> Option<&str> {
    let is_kernel = key.module == "[kernel]";
    let prefixes = ["__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_"];
    prefixes.iter().find_map(|prefix| key.function.strip_prefix(prefix)).filter(|_| is_kernel)
}

/// Verdict of the kept finding that carries most of the item's change, if all that explain it carry enough.
fn culprit(item: &Item, kept: &[Vec<Kept>], changes: &[f64]) -> Option<usize> {
    let mut explained = 0.0;
    let mut by_culprit: BTreeMap<usize, f64> = BTreeMap::new();
    for (stack, first, _last) in &item.places {
        let mut any = false;
        for kept in kept[*stack].iter().filter(|kept| kept.explains(item.kind, *first)) {
            any = true;
            *by_culprit.entry(kept.verdict).or_default() += changes[*stack];
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
