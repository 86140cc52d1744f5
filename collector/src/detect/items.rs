//! What is tested: each item is a set of stacks. Four families see a change from four sides.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::tree::{CallTree, NO_PARENT, Sums};

/// Ranges of stacks, in order, apart from each other.
pub(super) type Ranges = Vec<Range<u32>>;

/// Which stacks make up an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    /// The function is on top.
    SelfTime,
    /// The function is anywhere; a recursive one counts once.
    Total,
    /// The function is called by one other.
    Edge,
    /// The function as called along one path from the root.
    Path,
}

/// A set of stacks with a name.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) family: Family,
    /// Index into the functions of the difference.
    pub(super) function: u32,
    /// The caller, for edges.
    pub(super) caller: Option<u32>,
    /// The node, for paths; for other families the first one.
    pub(super) node: u32,
    pub(super) ranges: Ranges,
    /// Index of an earlier item of the very same stacks: the two are one test.
    pub(super) same_as: Option<u32>,
}

/// Items and their samples.
#[derive(Debug, Clone, Default)]
pub(super) struct Items {
    pub(super) list: Vec<Item>,
    replicates: usize,
    counts: Vec<f64>,
}

/// Which items are worth a test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Eligibility {
    /// Fewest samples, both sides together.
    pub(super) samples_min: f64,
    /// Smallest share of all samples of a path.
    pub(super) path_share_min: f64,
    /// Replicates of the baseline; those of the candidate come after.
    pub(super) baselines: usize,
}

impl Items {
    /// Samples of an item by replicate.
    pub(super) fn counts(&self, index: usize) -> &[f64] {
        &self.counts[index * self.replicates..][..self.replicates]
    }

    /// All items of a tree that are worth a test.
    pub(super) fn of(
        tree: &CallTree,
        sums: &Sums,
        replicates: usize,
        eligibility: Eligibility,
    ) -> Self {
        let mut items = Self { list: Vec::new(), replicates, counts: Vec::new() };
        let mut whole = vec![0.0; replicates];
        for root in tree.nodes.iter().filter(|node| node.parent == NO_PARENT) {
            sums.add_range(&root.stacks, &mut whole);
        }
        let mut known = HashMap::<u64, u32, BuildHasherDefault<Mix>>::default();
        let mut sets = Sets::of(tree);
        let path_min = eligibility.path_share_min * whole.iter().sum::<f64>();
        let families = [
            (sets.take_own(tree), 0.0),
            (std::mem::take(&mut sets.total), 0.0),
            (std::mem::take(&mut sets.edges), 0.0),
            (Sets::paths(tree), path_min),
        ];
        for (family, least) in families {
            for item in family {
                items.add(item, sums, &mut known, (eligibility, least));
            }
        }
        items
    }

    fn add(
        &mut self,
        mut item: Item,
        sums: &Sums,
        known: &mut HashMap<u64, u32, BuildHasherDefault<Mix>>,
        (eligibility, least): (Eligibility, f64),
    ) {
        let start = self.counts.len();
        self.counts.resize(start + self.replicates, 0.0);
        for range in &item.ranges {
            sums.add_range(range, &mut self.counts[start..]);
        }
        if !eligibility.holds(&self.counts[start..], least) {
            self.counts.truncate(start);
            return;
        }
        let index = self.list.len() as u32;
        let first = *known.entry(hash(&item.ranges)).or_insert(index);
        let is_same = first != index && self.list[first as usize].ranges == item.ranges;
        // Where nothing but the name differs, a second name is worth keeping for functions only.
        if is_same && matches!(item.family, Family::Edge | Family::Path) {
            self.counts.truncate(start);
            return;
        }
        item.same_as = is_same.then_some(first);
        self.list.push(item);
    }
}

impl Eligibility {
    /// Whether there are enough samples, on at least two replicates of each side that has any.
    fn holds(self, counts: &[f64], least: f64) -> bool {
        let (before, after) = counts.split_at(self.baselines);
        let (x0, x1): (f64, f64) = (before.iter().sum(), after.iter().sum());
        if x0 + x1 < self.samples_min.max(least) {
            return false;
        }
        let is_alone = x0 == 0.0 || x1 == 0.0;
        [(before, x0), (after, x1)].into_iter().all(|(counts, sum)| {
            /// Part of a side's replicates on which what the other side has none of must be seen.
            const NEW_ON_ONE_OF: usize = 3;
            let seen = counts.iter().filter(|count| **count > 0.0).count();
            let wanted = if is_alone { (counts.len() / NEW_ON_ONE_OF).max(2) } else { 2 };
            sum == 0.0 || seen >= wanted.min(counts.len())
        })
    }
}

/// Total times of all functions, worth a test or not.
pub(super) fn totals(tree: &CallTree) -> Vec<Item> {
    Sets::of(tree).total
}

/// The sets of stacks of each family.
#[derive(Default)]
struct Sets {
    total: Vec<Item>,
    edges: Vec<Item>,
}

impl Sets {
    /// Total times and edges: nodes without the same function, or the same edge, above them.
    fn of(tree: &CallTree) -> Self {
        let functions = tree.nodes.iter().map(|node| node.function + 1).max().unwrap_or(0);
        let mut totals: Vec<Option<u32>> = vec![None; functions as usize];
        let mut edges = HashMap::<u64, u32, BuildHasherDefault<Mix>>::default();
        let mut sets = Self::default();
        for (index, node) in (0u32..).zip(&tree.nodes) {
            let at = *totals[node.function as usize].get_or_insert_with(|| {
                sets.total.push(Item::new(Family::Total, index, node.function));
                sets.total.len() as u32 - 1
            });
            extend(&mut sets.total[at as usize].ranges, &node.stacks);
            if node.parent == NO_PARENT {
                continue;
            }
            let caller = tree.nodes[node.parent as usize].function;
            let key = u64::from(caller) << 32 | u64::from(node.function);
            let at = *edges.entry(key).or_insert_with(|| {
                let item = Item::new(Family::Edge, index, node.function);
                sets.edges.push(Item { caller: Some(caller), ..item });
                sets.edges.len() as u32 - 1
            });
            extend(&mut sets.edges[at as usize].ranges, &node.stacks);
        }
        sets
    }

    /// Self times. The stack that ends at a node is the first of its range, if any does.
    fn take_own(&self, tree: &CallTree) -> Vec<Item> {
        let mut own: Vec<Item> = self
            .total
            .iter()
            .map(|total| Item::new(Family::SelfTime, total.node, total.function))
            .collect();
        let mut position = HashMap::<u64, usize, BuildHasherDefault<Mix>>::default();
        for (index, item) in own.iter().enumerate() {
            position.insert(u64::from(item.function), index);
        }
        for (index, node) in tree.nodes.iter().enumerate() {
            let first = node.stacks.start;
            // The next node in order is the first child; when it begins one later, a stack ends here.
            let child = tree.nodes.get(index + 1).filter(|next| next.parent == index as u32);
            if child.is_none_or(|child| child.stacks.start > first) {
                let at = position[&u64::from(node.function)];
                extend(&mut own[at].ranges, &(first..first + 1));
            }
        }
        own.retain(|item| !item.ranges.is_empty());
        own
    }

    fn paths(tree: &CallTree) -> Vec<Item> {
        (0u32..)
            .zip(&tree.nodes)
            .map(|(index, node)| {
                let ranges = vec![node.stacks.clone()];
                Item { ranges, ..Item::new(Family::Path, index, node.function) }
            })
            .collect()
    }
}

impl Item {
    const fn new(family: Family, node: u32, function: u32) -> Self {
        Self { family, function, caller: None, node, ranges: Vec::new(), same_as: None }
    }
}

/// Adds a range that starts no earlier than all before it. One inside the last is left out: recursion.
fn extend(ranges: &mut Ranges, range: &Range<u32>) {
    match ranges.last_mut() {
        Some(last) if range.end <= last.end => {}
        Some(last) if range.start == last.end => last.end = range.end,
        _ => ranges.push(range.clone()),
    }
}

fn hash(ranges: &[Range<u32>]) -> u64 {
    let mut mix = Mix::default();
    for range in ranges {
        mix.write_u64(u64::from(range.start) << 32 | u64::from(range.end));
    }
    mix.finish()
}

/// A hash for keys that nobody outside chooses: indices. One multiplication each, the finisher of `SplitMix64`.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ (z >> 31)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
