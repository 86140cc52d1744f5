//! Changes that move work without making more of it: what a detector must tell apart from a regression.

use std::collections::BTreeSet;

use crate::random::Random;
use crate::variant::{Variant, VariantStack};

/// How work moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// A function gets another name.
    Rename,
    /// A function becomes part of its callers.
    Inline,
    /// Most of a function's own code goes to a new helper that it calls.
    Outline,
    /// Most of a function's own code is done by a function that was there, from the same callers.
    Move,
    /// A function becomes two, each with some of its stacks.
    Split,
    /// A function's code goes into another one with the same caller, and its name is gone.
    Merge,
    /// Only lines change.
    Lines,
}

/// All of them, by name.
pub(crate) const REWRITES: [(&str, Rewrite); 7] = [
    ("rename", Rewrite::Rename),
    ("inline", Rewrite::Inline),
    ("outline", Rewrite::Outline),
    ("move", Rewrite::Move),
    ("split", Rewrite::Split),
    ("merge", Rewrite::Merge),
    ("lines only", Rewrite::Lines),
];

/// Part of the own code that outlining and moving take.
const MOVED_PART: f64 = 0.8;

impl Rewrite {
    /// The program after the change of one function; `None` where it has no meaning for this function.
    pub(crate) fn of(self, whole: &Variant, function: u32, random: &mut Random) -> Option<Variant> {
        let mut changed = whole.clone();
        match self {
            Self::Rename => {
                let renamed = changed.add_function("renamed_function");
                replace(&mut changed.stacks, function, |_| renamed);
            }
            Self::Inline => inline(&mut changed, function)?,
            Self::Outline => {
                let helper = changed.add_function("outlined_helper");
                shed(&mut changed.stacks, function, |path| path.push(helper));
            }
            Self::Move => {
                let sibling = sibling(whole, function, random)?;
                shed(&mut changed.stacks, function, |path| {
                    path.pop();
                    path.push(sibling);
                });
            }
            Self::Split => {
                let halves = [
                    changed.add_function("split_function_one"),
                    changed.add_function("split_function_two"),
                ];
                replace(&mut changed.stacks, function, |number| halves[number % 2]);
            }
            Self::Merge => {
                let sibling = sibling(whole, function, random)?;
                replace(&mut changed.stacks, function, |_| sibling);
            }
            Self::Lines => {}
        }
        Some(changed)
    }
}

/// Puts another function in the place of one; the number counts the stacks with it.
fn replace(stacks: &mut [VariantStack], function: u32, with: impl Fn(usize) -> u32) {
    let with_it = stacks.iter_mut().filter(|stack| stack.functions.contains(&function));
    for (number, stack) in with_it.enumerate() {
        let other = with(number);
        for own in stack.functions.iter_mut().filter(|own| **own == function) {
            *own = other;
        }
        stack.functions.dedup();
    }
}

/// Takes a function out of its stacks. One without callers cannot be inlined.
fn inline(changed: &mut Variant, function: u32) -> Option<()> {
    for stack in &mut changed.stacks {
        if stack.functions.first() == Some(&function) {
            return None;
        }
        stack.functions.retain(|own| *own != function);
        stack.functions.dedup();
    }
    Some(())
}

/// Moves part of a function's own code to where `path` leads.
fn shed(stacks: &mut Vec<VariantStack>, function: u32, path: impl Fn(&mut Vec<u32>)) {
    let mut added = Vec::new();
    for stack in stacks.iter_mut().filter(|stack| stack.functions.last() == Some(&function)) {
        let mut moved = stack.clone();
        path(&mut moved.functions);
        moved.share *= MOVED_PART;
        stack.share *= 1.0 - MOVED_PART;
        added.push(moved);
    }
    stacks.extend(added);
}

/// Another function that the main caller of one calls.
fn sibling(whole: &Variant, function: u32, random: &mut Random) -> Option<u32> {
    let caller = main_caller(whole, function)?;
    let callees: BTreeSet<u32> = whole
        .stacks
        .iter()
        .flat_map(|stack| stack.functions.windows(2))
        .filter(|pair| pair[0] == caller && pair[1] != function && pair[1] != caller)
        .map(|pair| pair[1])
        .collect();
    let callees: Vec<u32> = callees.into_iter().collect();
    (!callees.is_empty()).then(|| random.pick(&callees))
}

/// The function that calls one the most.
fn main_caller(whole: &Variant, function: u32) -> Option<u32> {
    let mut costs = std::collections::BTreeMap::<u32, f64>::new();
    for stack in &whole.stacks {
        for pair in stack.functions.windows(2).filter(|pair| pair[1] == function) {
            *costs.entry(pair[0]).or_default() += stack.share;
        }
    }
    costs.into_iter().max_by(|left, right| left.1.total_cmp(&right.1)).map(|(caller, _)| caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::programs;
    use crate::variant::{Scope, scopes};

    #[test]
    fn moving_work_keeps_the_sum() {
        let mut random = Random::of(&[7]);
        for base in programs(true) {
            let whole = Variant::of(&base);
            let functions = scopes(&base, Scope::Own, [0.005, 0.5]);
            for (name, rewrite) in REWRITES {
                let changed = functions
                    .iter()
                    .find_map(|scope| rewrite.of(&whole, scope.function(), &mut random));
                let changed = changed.expect("some function can be changed");
                let sum: f64 = changed.stacks.iter().map(|stack| stack.share).sum();
                assert!((sum - 1.0).abs() < 1e-9, "{name} in {}: {sum}", base.name);
            }
        }
    }
}
