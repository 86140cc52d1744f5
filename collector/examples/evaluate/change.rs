//! Changes that make more work: what a detector must find, and where.

use crate::base::Base;
use crate::random::Random;
use crate::variant::{Scope, Variant, scopes};

/// How work grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// A function's own code gets slower.
    Own,
    /// One path is taken more often.
    Path,
    /// A function costs more, wherever it is called.
    Callers,
    /// A function calls another that is new.
    New,
    /// As the first, on half of the candidate's hosts only.
    OneKindOfNode,
}

/// All of them, by name.
pub(crate) const GROWTHS: [(&str, Growth); 5] = [
    ("self", Growth::Own),
    ("path", Growth::Path),
    ("all callers", Growth::Callers),
    ("new function", Growth::New),
    ("one kind of node", Growth::OneKindOfNode),
];

/// How much something grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Size {
    /// By this part of itself.
    Relative(f64),
    /// By this share of all CPU.
    Absolute(f64),
}

/// A version with a regression.
#[derive(Debug)]
pub(crate) struct Regression {
    pub(crate) variant: Variant,
    /// What grew.
    pub(crate) scope: Scope,
    /// Part of the candidate's hosts on which it shows.
    pub(crate) affected: f64,
}

impl Growth {
    /// Lets something with a share between two bounds grow.
    pub(crate) fn of(
        self,
        base: &Base,
        size: Size,
        shares: [f64; 2],
        random: &mut Random,
    ) -> Option<Regression> {
        let whole = Variant::of(base);
        let own = |random: &mut Random| choose(scopes(base, Scope::Own, shares), random);
        let mut affected = 1.0;
        let scope = match self {
            Self::Own | Self::New => own(random)?,
            Self::OneKindOfNode => {
                affected = 0.5;
                own(random)?
            }
            Self::Callers => choose(scopes(base, Scope::Total, shares), random)?,
            Self::Path => choose(paths(&whole, shares), random)?,
        };
        let share = whole.share(&scope);
        let growth = match size {
            Size::Relative(growth) => growth,
            Size::Absolute(cost) => cost / share,
        };
        if self == Self::New {
            let cost = growth * share;
            let variant = whole.with_new_callee(scope.function(), cost);
            let callee = variant.functions.len() as u32 - 1;
            return Some(Regression { variant, scope: Scope::Total(callee), affected });
        }
        Some(Regression { variant: whole.scaled(&scope, 1.0 + growth), scope, affected })
    }
}

fn choose(scopes: Vec<Scope>, random: &mut Random) -> Option<Scope> {
    (!scopes.is_empty()).then(|| scopes[random.below(scopes.len())].clone())
}

/// Paths with a share between two bounds whose function stands on other paths too, or they would be its total.
fn paths(whole: &Variant, shares: [f64; 2]) -> Vec<Scope> {
    let mut costs = std::collections::BTreeMap::<&[u32], f64>::new();
    for stack in &whole.stacks {
        for depth in 2..=stack.functions.len() {
            *costs.entry(&stack.functions[..depth]).or_default() += stack.share;
        }
    }
    let is_inside = |cost: f64| cost >= shares[0] && cost <= shares[1];
    let inside = costs.into_iter().filter(|(_, cost)| is_inside(*cost));
    let candidates = inside.map(|(path, cost)| (Scope::Path(path.to_vec()), cost));
    let is_one_of_many =
        |(scope, cost): &(Scope, f64)| whole.share(&Scope::Total(scope.function())) > 1.2 * cost;
    candidates.filter(is_one_of_many).map(|(scope, _)| scope).collect()
}
