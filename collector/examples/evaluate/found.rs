//! Reads the detector's answer: which stacks a verdict or a group is about.

use flamewatch_collector::detect::{
    Direction, FunctionKind, Group, Judgement, Policy, SeenAs, Subject, Verdict,
};
use flamewatch_collector::diff::FunctionKey;

use crate::join::Join;
use crate::variant::Scope;

/// The policy under which the test itself is measured: any growth is of interest.
pub(crate) fn bare_policy() -> Policy {
    Policy { rel_min: 0.0, abs_min: 0.0, ..Policy::default() }
}

/// The stacks that a verdict is about.
pub(crate) fn verdict_scope(join: &Join, verdict: &Verdict) -> Option<Scope> {
    let Subject::Function { module, function, kind } = &verdict.subject else { return None };
    let key = FunctionKey { module: module.clone(), function: function.clone() };
    let number = join.functions.binary_search(&key).ok()? as u32;
    Some(match kind {
        FunctionKind::SelfTime => Scope::Own(number),
        FunctionKind::Total => Scope::Total(number),
    })
}

/// The stacks that the root of a group is about.
pub(crate) fn group_scope(join: &Join, group: &Group) -> Option<Scope> {
    let whole = verdict_scope(join, &group.root)?;
    let number = |name: &String| {
        let at = join.functions.iter().position(|key| key.function == *name)?;
        Some(at as u32)
    };
    Some(match group.seen_as {
        SeenAs::Edge => match group.caller.as_ref().and_then(number) {
            Some(caller) => Scope::Edge(caller, whole.function()),
            None => whole,
        },
        SeenAs::Path => {
            let path: Option<Vec<u32>> = group.path.iter().map(number).collect();
            path.filter(|path| !path.is_empty()).map_or(whole, Scope::Path)
        }
        SeenAs::SelfTime => Scope::Own(whole.function()),
        SeenAs::Total | SeenAs::Syscall => Scope::Total(whole.function()),
    })
}

/// What is told to have grown, within the policy's false discovery rate.
pub(crate) fn grown(join: &Join, judgement: &Judgement) -> Vec<Scope> {
    let is_growth =
        |verdict: &&Verdict| verdict.significant && verdict.direction == Direction::Worse;
    let grown = judgement.verdicts.iter().filter(is_growth);
    grown.filter_map(|verdict| verdict_scope(join, verdict)).collect()
}

/// Whether two scopes are about the very same stacks.
pub(crate) fn is_same(join: &Join, left: &Scope, right: &Scope) -> bool {
    left.function() == right.function()
        && join.stacks.iter().all(|stack| left.holds(stack) == right.holds(stack))
}

/// Part of the cost of two scopes that they have in common, by mean cost of both sides (Jaccard).
pub(crate) fn overlap(join: &Join, left: &Scope, right: &Scope) -> f64 {
    let (mut both, mut either) = (0.0, 0.0);
    for (at, stack) in join.stacks.iter().enumerate() {
        let cost = join.shares[0][at] + join.shares[1][at];
        let (l, r) = (left.holds(stack), right.holds(stack));
        both += if l && r { cost } else { 0.0 };
        either += if l || r { cost } else { 0.0 };
    }
    if either > 0.0 { both / either } else { 0.0 }
}
