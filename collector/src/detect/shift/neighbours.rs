//! Functions between which work moves: what stands beside a root in the call tree.

use std::ops::Range;

use super::super::functions::Tested;
use super::super::groups::{intersection, union, without};
use super::super::items::{Family, Item, Ranges};
use super::super::tree::{NO_PARENT, Node};

/// A set of stacks near a root.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    pub(super) function: u32,
    /// Whether this is the own code of a function that goes on being called, such as a caller's.
    pub(super) is_own: bool,
    pub(super) ranges: Ranges,
}

/// Where partners are looked for.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    pub(super) neighbours: Vec<Neighbour>,
    /// Whether this is so far from the root that work may have grown in one place and shrunk in another by chance: a
    /// function must have come or gone.
    pub(super) is_far: bool,
}

/// What of a call is a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Total,
    /// The called function's own code.
    Own,
}

/// Neighbours of an item, the nearest first.
///
/// - Of a function's own code: the own code of what it calls (an inlined function leaves its own calls behind), then all
///   that it calls.
/// - Of a function as called by others: the same function further down below those callers (called by way of another).
/// - Of either: what its callers call, and their own code; then the same of the callers' callers.
pub(super) fn neighbourhoods<'t>(
    tested: &'t Tested<'_>,
    item: usize,
) -> impl Iterator<Item = Neighbourhood> + 't {
    let item = &tested.items.list[item];
    let nodes = &tested.tree.nodes;
    let own: Vec<u32> = (0u32..)
        .zip(nodes)
        .filter(|(at, node)| is_of(tested, item, *at, node))
        .map(|(at, _)| at)
        .collect();
    let callers = callers(nodes, &own);
    let outer = self::callers(nodes, &callers);
    (0..5).filter_map(move |step| {
        let neighbours = match (step, item.family) {
            (0, Family::SelfTime) => called(tested, &own, Part::Own, &item.ranges),
            (1, Family::SelfTime) => called(tested, &own, Part::Total, &item.ranges),
            (2, Family::Total | Family::Edge | Family::Path) => {
                further_down(tested, &callers, item)
            }
            (3, _) => called(tested, &callers, Part::Total, &item.ranges),
            (4, _) => called(tested, &outer, Part::Total, &item.ranges),
            _ => return None,
        };
        Some(Neighbourhood { neighbours, is_far: step == 4 })
    })
}

/// Nodes above, each once.
fn callers(nodes: &[Node], below: &[u32]) -> Vec<u32> {
    let above = below.iter().map(|at| nodes[*at as usize].parent).filter(|at| *at != NO_PARENT);
    let mut callers: Vec<u32> = above.collect();
    callers.sort_unstable();
    callers.dedup();
    callers
}

/// Whether a node is one of those that an item is made of.
fn is_of(tested: &Tested<'_>, item: &Item, at: u32, node: &Node) -> bool {
    let is_called_by = |caller: u32| {
        node.parent != NO_PARENT && tested.tree.nodes[node.parent as usize].function == caller
    };
    node.function == item.function
        && match item.family {
            Family::SelfTime | Family::Total => true,
            Family::Edge => item.caller.is_some_and(is_called_by),
            Family::Path => at == item.node,
        }
}

/// The item's function anywhere below `callers`, but for the item itself.
fn further_down(tested: &Tested<'_>, callers: &[u32], item: &Item) -> Vec<Neighbour> {
    let nodes = &tested.tree.nodes;
    let below: Ranges = callers.iter().map(|at| nodes[*at as usize].stacks.clone()).collect();
    let everywhere = nodes.iter().filter(|node| node.function == item.function);
    let everywhere: Ranges = everywhere.map(|node| node.stacks.clone()).collect();
    let ranges =
        without(&intersection(&union(&everywhere, &[]), &union(&below, &[])), &item.ranges);
    if ranges.is_empty() {
        return Vec::new();
    }
    vec![Neighbour { function: item.function, is_own: false, ranges }]
}

/// What the nodes of a domain call, by function, and their own code, without the stacks of the root.
fn called(tested: &Tested<'_>, domain: &[u32], part: Part, root: &Ranges) -> Vec<Neighbour> {
    let nodes = &tested.tree.nodes;
    let mut by_function: Vec<[Option<u32>; 2]> = vec![[None; 2]; tested.diff.functions.len()];
    let mut found: Vec<Neighbour> = Vec::new();
    let mut add = |function: u32, is_own: bool, range: Range<u32>| {
        let slot = &mut by_function[function as usize][usize::from(is_own)];
        let at = *slot.get_or_insert_with(|| {
            found.push(Neighbour { function, is_own, ranges: Ranges::new() });
            found.len() as u32 - 1
        });
        found[at as usize].ranges.push(range);
    };
    for (at, node) in (0u32..).zip(nodes) {
        let start = node.stacks.start;
        let first_child = nodes.get(at as usize + 1).filter(|next| next.parent == at);
        let has_own = first_child.is_none_or(|child| child.stacks.start > start);
        if node.parent != NO_PARENT && domain.binary_search(&node.parent).is_ok() {
            match part {
                Part::Total => add(node.function, false, node.stacks.clone()),
                Part::Own if has_own => add(node.function, false, start..start + 1),
                Part::Own => {}
            }
        }
        if has_own && domain.binary_search(&at).is_ok() {
            add(node.function, true, start..start + 1);
        }
    }
    found
        .into_iter()
        .map(|neighbour| Neighbour {
            ranges: without(&union(&neighbour.ranges, &[]), root),
            ..neighbour
        })
        .filter(|neighbour| !neighbour.ranges.is_empty())
        .collect()
}
