//! A version of a program: its stacks with their shares, and what a change makes of them.

use flamewatch_collector::diff::FunctionKey;

use crate::base::Base;

/// What a version runs.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) functions: Vec<FunctionKey>,
    pub(crate) stacks: Vec<VariantStack>,
}

/// A stack of a version.
#[derive(Debug, Clone)]
pub(crate) struct VariantStack {
    /// Root first.
    pub(crate) functions: Vec<u32>,
    /// Cost, in shares of the unchanged program.
    pub(crate) share: f64,
    /// The stack of the unchanged program that it comes from: the two have their noise in common.
    pub(crate) origin: u32,
}

/// A set of stacks that something is said about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A function's own code.
    Own(u32),
    /// A function and all that it calls.
    Total(u32),
    /// Calls from one function to another.
    Edge(u32, u32),
    /// Calls along one path from the root.
    Path(Vec<u32>),
}

impl Scope {
    /// Whether a stack is in the set.
    pub(crate) fn holds(&self, functions: &[u32]) -> bool {
        match self {
            Self::Own(function) => functions.last() == Some(function),
            Self::Total(function) => functions.contains(function),
            Self::Edge(caller, called) => {
                functions.windows(2).any(|pair| pair == [*caller, *called])
            }
            Self::Path(path) => functions.starts_with(path),
        }
    }

    /// The function that it is about.
    pub(crate) fn function(&self) -> u32 {
        match self {
            Self::Own(function) | Self::Total(function) | Self::Edge(_, function) => *function,
            Self::Path(path) => path.last().copied().unwrap_or(0),
        }
    }
}

impl Variant {
    /// The program as it was recorded.
    pub(crate) fn of(base: &Base) -> Self {
        let stacks = (0..).zip(&base.stacks).map(|(origin, stack)| VariantStack {
            functions: stack.functions.clone(),
            share: stack.share,
            origin,
        });
        Self { functions: base.functions.clone(), stacks: stacks.collect() }
    }

    /// Cost of a set of stacks.
    pub(crate) fn share(&self, scope: &Scope) -> f64 {
        let inside = self.stacks.iter().filter(|stack| scope.holds(&stack.functions));
        inside.map(|stack| stack.share).sum()
    }

    /// The same with the cost of a set of stacks multiplied.
    pub(crate) fn scaled(&self, scope: &Scope, factor: f64) -> Self {
        let mut changed = self.clone();
        for stack in changed.stacks.iter_mut().filter(|stack| scope.holds(&stack.functions)) {
            stack.share *= factor;
        }
        changed
    }

    /// The same with a new function, called by the own code of another, that costs this much.
    pub(crate) fn with_new_callee(&self, caller: u32, cost: f64) -> Self {
        let mut changed = self.clone();
        let callee = changed.add_function("added_callee");
        let own = self.share(&Scope::Own(caller)).max(f64::MIN_POSITIVE);
        for stack in self.stacks.iter().filter(|stack| stack.functions.last() == Some(&caller)) {
            let mut added = stack.clone();
            added.functions.push(callee);
            added.share *= cost / own;
            changed.stacks.push(added);
        }
        changed
    }

    /// Adds a function of the program.
    pub(crate) fn add_function(&mut self, name: &str) -> u32 {
        let key = FunctionKey { module: "program".to_owned(), function: name.to_owned() };
        self.functions.push(key);
        self.functions.len() as u32 - 1
    }
}

/// The sets of stacks of one kind with a share of the cost between two bounds, by rising function.
pub(crate) fn scopes(base: &Base, of: fn(u32) -> Scope, shares: [f64; 2]) -> Vec<Scope> {
    let whole = Variant::of(base);
    let is_inside = |scope: &Scope| {
        let share = whole.share(scope);
        share >= shares[0] && share <= shares[1]
    };
    (0..base.functions.len() as u32).map(of).filter(is_inside).collect()
}

/// The set of stacks of one kind whose share is nearest to one, by ratio.
pub(crate) fn nearest(base: &Base, of: fn(u32) -> Scope, share: f64) -> Scope {
    let whole = Variant::of(base);
    let distance = |scope: &Scope| (whole.share(scope).max(1e-12) / share).ln().abs();
    (0..base.functions.len() as u32)
        .map(of)
        .min_by(|left, right| distance(left).total_cmp(&distance(right)))
        .unwrap_or(Scope::Own(0))
}
