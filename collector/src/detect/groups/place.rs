//! Where in the call tree a root stands: which of the functions that no sample tells apart, who calls it, along which path.

use super::super::functions::Tested;
use super::super::items::Ranges;
use super::super::tree::NO_PARENT;
use super::library::is_library;
use super::root::Roots;
use super::{Found, Search, SeenAs, seen_as};

/// Sets of stacks this alike are the same to people: no sample tells them apart.
const LIKENESS_MIN: f64 = 0.9;

/// Part of a change that one caller or one path must carry to be named.
const CARRIED_SHARE_MIN: f64 = 0.8;

/// Most functions named as the possible root.
const SUSPECTS_MAX: usize = 3;

/// What a group says of its root.
pub(super) struct Place {
    /// Item of the root.
    pub(super) item: usize,
    pub(super) seen_as: SeenAs,
    pub(super) chain: Vec<String>,
    pub(super) suspects: Vec<String>,
    pub(super) caller: Option<String>,
    pub(super) path: Vec<String>,
}

impl Place {
    /// Chooses among the functions of the most likely set, and names where they stand.
    pub(super) fn of(search: &Search<'_>, roots: &Roots<'_>) -> Self {
        let tested = search.tested;
        let best = &roots.ranked[0];
        let chain = Chain::of(search, best);
        let item = chain.choose(search, best);
        let function = tested.items.list[item].function;
        let name = |function: u32| tested.diff.functions[function as usize].function.clone();
        let node = main_node(search, best.ranges, function);
        let path = node.map(|node| path_to(tested, node).into_iter().map(name).collect());
        let caller = main_caller(search, best.ranges, function).map(name);
        let mut suspects = vec![name(function)];
        for found in &roots.ranked {
            let other = tested.items.list[found.item].function;
            let is_known = chain.functions.contains(&other);
            let other = name(other);
            if suspects.len() < SUSPECTS_MAX && !is_known && !suspects.contains(&other) {
                suspects.push(other);
            }
        }
        Self {
            item,
            seen_as: seen_as(tested, item),
            chain: chain.functions.iter().map(|function| name(*function)).collect(),
            suspects,
            caller,
            path: path.unwrap_or_default(),
        }
    }
}

/// Functions whose stacks are those of the root, as far as samples tell, the outermost first.
struct Chain {
    functions: Vec<u32>,
    /// Items of those functions.
    items: Vec<usize>,
}

impl Chain {
    fn of(search: &Search<'_>, root: &Found<'_>) -> Self {
        let tested = search.tested;
        let weight = |[before, after]: [f64; 2]| before + after;
        let mass = weight(search.changes.rates(root.ranges));
        let is_alike = |index: &usize| {
            let own = weight(search.changes.rates(&tested.items.list[*index].ranges));
            own >= LIKENESS_MIN * mass
                && mass >= LIKENESS_MIN * own
                && search.changes.likeness(&tested.items.list[*index].ranges, root.ranges)
                    >= LIKENESS_MIN
        };
        let mut items: Vec<usize> = (0..tested.items.list.len()).filter(is_alike).collect();
        // A node stands behind its caller.
        items.sort_by_key(|index| tested.items.list[*index].node);
        let mut functions = Vec::new();
        for index in &items {
            let function = tested.items.list[*index].function;
            if !functions.contains(&function) {
                functions.push(function);
            }
        }
        Self { functions, items }
    }

    /// The item to name: of the root's function, or where that is a library's of the nearest one that is not, callers
    /// first; of its items the one that people find in tables.
    fn choose(&self, search: &Search<'_>, root: &Found<'_>) -> usize {
        let tested = search.tested;
        let own = tested.items.list[root.item].function;
        let is_program = |function: &&u32| !is_library(&tested.diff.functions[**function as usize]);
        let at = self.functions.iter().position(|function| *function == own).unwrap_or(0);
        let (callers, rest) = self.functions.split_at(at);
        let best = rest.first().filter(is_program).or_else(|| {
            callers.iter().rev().find(is_program).or_else(|| rest.iter().find(is_program))
        });
        let best = *best.unwrap_or(&own);
        let order = |index: &&usize| {
            let is_root = **index == root.item;
            (!tested.is_told(**index), !is_root, tested.items.list[**index].family)
        };
        let items = self.items.iter();
        let of_best = items.filter(|index| tested.items.list[**index].function == best);
        of_best.min_by_key(order).copied().unwrap_or(root.item)
    }
}

/// The topmost node of the function that carries most of the change of a set, if one does.
fn main_node(search: &Search<'_>, set: &Ranges, function: u32) -> Option<u32> {
    let whole = search.changes.delta(set);
    let nodes = &search.tested.tree.nodes;
    let of_function = (0u32..).zip(nodes).filter(|(_, node)| node.function == function);
    of_function
        .map(|(index, node)| {
            let [before, after] = search.changes.shared(std::slice::from_ref(&node.stacks), set);
            (index, (after - before) / whole)
        })
        .find(|(_, share)| *share >= CARRIED_SHARE_MIN)
        .map(|(index, _)| index)
}

/// The function that calls where most of the change of a set happens, if one does.
fn main_caller(search: &Search<'_>, set: &Ranges, function: u32) -> Option<u32> {
    let whole = search.changes.delta(set);
    let nodes = &search.tested.tree.nodes;
    let mut by_caller: Vec<(u32, f64)> = Vec::new();
    let mut done = 0;
    for node in nodes.iter().filter(|node| node.function == function && node.parent != NO_PARENT) {
        // Recursion: what lies below a node of the same function was counted there.
        if node.stacks.start < done {
            continue;
        }
        done = node.stacks.end;
        let [before, after] = search.changes.shared(std::slice::from_ref(&node.stacks), set);
        let caller = nodes[node.parent as usize].function;
        match by_caller.iter_mut().find(|(known, _)| *known == caller) {
            Some((_, sum)) => *sum += after - before,
            None => by_caller.push((caller, after - before)),
        }
    }
    let carries = |(_, sum): &&(u32, f64)| sum / whole >= CARRIED_SHARE_MIN;
    by_caller.iter().find(carries).map(|(caller, _)| *caller)
}

/// Functions from the outermost to a node.
fn path_to(tested: &Tested<'_>, node: u32) -> Vec<u32> {
    let mut path = Vec::new();
    let mut at = node;
    while at != NO_PARENT {
        let node = &tested.tree.nodes[at as usize];
        path.push(node.function);
        at = node.parent;
    }
    path.reverse();
    path
}
