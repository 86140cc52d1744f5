//! What is tested: each item is a set of stacks. Four families see a change from four sides.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::tree::{CallTree, Node, Sums};

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
        let items = Self { list: Vec::new(), replicates, counts: Vec::new() };
        let mass = sums.mass();
        let path_min = eligibility.path_share_min * mass.last().copied().unwrap_or(0.0);
        let mut finder = Finder { tree, sums, mass, eligibility, items, known: FastMap::default() };
        let functions = by_function(tree);
        for (function, nodes) in (0u32..).zip(functions.iter()) {
            finder.add(&Item::new(Family::SelfTime, function), nodes, own_stack);
        }
        for (function, nodes) in (0u32..).zip(functions.iter()) {
            finder.add(&Item::new(Family::Total, function), nodes, all_stacks);
        }
        let (edges, calls) = by_edge(tree);
        for ((caller, function), nodes) in edges.into_iter().zip(calls.iter()) {
            let item = Item { caller: Some(caller), ..Item::new(Family::Edge, function) };
            finder.add(&item, nodes, all_stacks);
        }
        finder.eligibility.samples_min = eligibility.samples_min.max(path_min);
        for (index, node) in (0u32..).zip(&tree.nodes) {
            finder.add(&Item::new(Family::Path, node.function), &[index], all_stacks);
        }
        finder.items
    }
}

/// Finds the items that are worth a test.
struct Finder<'t> {
    tree: &'t CallTree,
    sums: &'t Sums,
    /// Samples of all stacks before each, all replicates together.
    mass: Vec<f64>,
    eligibility: Eligibility,
    items: Items,
    /// First item of each hash of ranges.
    known: FastMap<u64, u32>,
}

impl Finder<'_> {
    /// Adds the item of the stacks of these nodes, if it is worth a test.
    fn add(&mut self, item: &Item, nodes: &[u32], stacks: fn(&CallTree, u32) -> Range<u32>) {
        let mut ranges = Ranges::new();
        for node in nodes {
            extend(&mut ranges, &stacks(self.tree, *node));
        }
        let mass =
            |range: &Range<u32>| self.mass[range.end as usize] - self.mass[range.start as usize];
        if ranges.is_empty() || ranges.iter().map(mass).sum::<f64>() < self.eligibility.samples_min
        {
            return;
        }
        let index = self.items.list.len() as u32;
        let first = *self.known.entry(hash(&ranges)).or_insert(index);
        let is_same = first != index && self.items.list[first as usize].ranges == ranges;
        // Where nothing but the name differs, a second name is worth keeping for functions only.
        if is_same && matches!(item.family, Family::Edge | Family::Path) {
            return;
        }
        let items = &mut self.items;
        let start = items.counts.len();
        items.counts.resize(start + items.replicates, 0.0);
        for range in &ranges {
            self.sums.add_range(range, &mut items.counts[start..]);
        }
        if !self.eligibility.holds(&items.counts[start..]) {
            items.counts.truncate(start);
            if first == index {
                self.known.remove(&hash(&ranges));
            }
            return;
        }
        let same_as = is_same.then_some(first);
        items.list.push(Item { node: nodes[0], ranges, same_as, ..item.clone() });
    }
}

impl Eligibility {
    /// Whether there are enough samples, on at least two replicates of each side that has any.
    fn holds(self, counts: &[f64]) -> bool {
        let (before, after) = counts.split_at(self.baselines);
        let (x0, x1): (f64, f64) = (before.iter().sum(), after.iter().sum());
        if x0 + x1 < self.samples_min {
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

/// Stacks of the total time of each function, worth a test or not.
pub(super) fn totals(tree: &CallTree) -> Vec<Ranges> {
    let ranges = |nodes: &[u32]| {
        let mut ranges = Ranges::new();
        for node in nodes {
            extend(&mut ranges, &all_stacks(tree, *node));
        }
        ranges
    };
    by_function(tree).iter().map(ranges).collect()
}

/// Nodes grouped by a number, in the order of the tree within each group.
struct Groups {
    ends: Vec<u32>,
    nodes: Vec<u32>,
}

impl Groups {
    /// Groups nodes by their numbers, of which there are `count`.
    fn of(numbers: &[Option<u32>], count: usize) -> Self {
        let mut ends = vec![0u32; count + 1];
        for number in numbers.iter().flatten() {
            ends[*number as usize + 1] += 1;
        }
        for index in 1..ends.len() {
            ends[index] += ends[index - 1];
        }
        let mut nodes = vec![0; ends[count] as usize];
        for (node, number) in (0u32..).zip(numbers) {
            if let Some(number) = number {
                // Each entry moves from the start of its group to its end, which is the start of the next.
                let at = &mut ends[*number as usize];
                nodes[*at as usize] = node;
                *at += 1;
            }
        }
        ends.pop();
        Self { ends, nodes }
    }

    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.nodes[start as usize..*end as usize])
    }
}

fn by_function(tree: &CallTree) -> Groups {
    let functions = tree.nodes.iter().map(|node| node.function as usize + 1).max().unwrap_or(0);
    let numbers: Vec<Option<u32>> = tree.nodes.iter().map(|node| Some(node.function)).collect();
    Groups::of(&numbers, functions)
}

/// (caller, function) of each call edge, and its nodes.
fn by_edge(tree: &CallTree) -> (Vec<(u32, u32)>, Groups) {
    let mut known = FastMap::<u64, u32>::default();
    let mut edges = Vec::new();
    let number = |node: &Node| {
        let caller = tree.nodes.get(node.parent as usize)?.function;
        let key = u64::from(caller) << 32 | u64::from(node.function);
        Some(*known.entry(key).or_insert_with(|| {
            edges.push((caller, node.function));
            edges.len() as u32 - 1
        }))
    };
    let numbers: Vec<Option<u32>> = tree.nodes.iter().map(number).collect();
    let count = edges.len();
    (edges, Groups::of(&numbers, count))
}

fn all_stacks(tree: &CallTree, node: u32) -> Range<u32> {
    tree.nodes[node as usize].stacks.clone()
}

/// The stack that ends at a node: the first of its range, if any does.
fn own_stack(tree: &CallTree, node: u32) -> Range<u32> {
    let first = tree.nodes[node as usize].stacks.start;
    // The next node in order is the first child; when it begins one later, a stack ends here.
    let child = tree.nodes.get(node as usize + 1).filter(|next| next.parent == node);
    let has_own = child.is_none_or(|child| child.stacks.start > first);
    first..first + u32::from(has_own)
}

impl Item {
    const fn new(family: Family, function: u32) -> Self {
        Self { family, function, caller: None, node: 0, ranges: Vec::new(), same_as: None }
    }
}

/// Adds a range that starts no earlier than all before it. One inside the last is left out: recursion.
fn extend(ranges: &mut Ranges, range: &Range<u32>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if range.end <= last.end => {}
        Some(last) if range.start == last.end => last.end = range.end,
        _ => ranges.push(range.clone()),
    }
}

/// For keys that nobody outside chooses.
type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

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
