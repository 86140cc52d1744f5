//! The call tree of a difference. Stacks are ordered, so the stacks below a node are a range, and its samples in each
//! replicate are the difference of two rows of running sums.

use std::ops::Range;

use crate::diff::{ProfileDiff, StackTable};

/// Marks a node without a caller.
pub(super) const NO_PARENT: u32 = u32::MAX;

/// A function as called along one path from the root.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Index into the functions of the difference.
    pub(super) function: u32,
    /// The node of its caller, or [`NO_PARENT`].
    pub(super) parent: u32,
    /// Stacks through it.
    pub(super) stacks: Range<u32>,
}

/// Nodes in the order in which a walk from the roots meets them: a caller stands before all it calls.
#[derive(Debug, Clone, Default)]
pub(super) struct CallTree {
    pub(super) nodes: Vec<Node>,
}

impl CallTree {
    pub(super) fn of(stacks: &StackTable) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut open: Vec<u32> = Vec::new();
        let mut before: &[u32] = &[];
        for index in 0..stacks.len() {
            let path = stacks.functions(index);
            let shared = path.iter().zip(before).take_while(|(left, right)| left == right).count();
            let start = index as u32;
            for node in open.drain(shared..) {
                nodes[node as usize].stacks.end = start;
            }
            for function in &path[shared..] {
                let parent = open.last().copied().unwrap_or(NO_PARENT);
                open.push(nodes.len() as u32);
                nodes.push(Node { function: *function, parent, stacks: start..start });
            }
            before = path;
        }
        for node in open {
            nodes[node as usize].stacks.end = stacks.len() as u32;
        }
        Self { nodes }
    }
}

/// Running sums of samples over the ordered stacks, for each replicate.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    replicates: usize,
    /// Row `i`: samples of all stacks before `i`, by replicate. Exact up to 2^53.
    rows: Vec<f64>,
}

impl Sums {
    pub(super) fn of(diff: &ProfileDiff) -> Self {
        let replicates = diff.baseline.len() + diff.candidate.len();
        let mut rows = vec![0.0; (diff.stacks.len() + 1) * replicates];
        for index in 0..diff.stacks.len() {
            let (done, rest) = rows.split_at_mut((index + 1) * replicates);
            let row = &mut rest[..replicates];
            row.copy_from_slice(&done[index * replicates..]);
            for count in diff.stacks.counts(index) {
                row[count.replicate as usize] += count.samples as f64;
            }
        }
        Self { replicates, rows }
    }

    fn row(&self, index: u32) -> &[f64] {
        let start = index as usize * self.replicates;
        &self.rows[start..start + self.replicates]
    }

    /// Samples of all stacks before each, all replicates together.
    pub(super) fn mass(&self) -> Vec<f64> {
        self.rows.chunks(self.replicates.max(1)).map(|row| row.iter().sum()).collect()
    }

    /// Adds the samples of a range of stacks to `counts`, by replicate.
    pub(super) fn add_range(&self, range: &Range<u32>, counts: &mut [f64]) {
        let (low, high) = (self.row(range.start), self.row(range.end));
        for ((count, low), high) in counts.iter_mut().zip(low).zip(high) {
            *count += high - low;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::StackCount;

    #[test]
    fn the_stacks_of_a_node_are_a_range() {
        let stacks: Vec<(Vec<u32>, Vec<StackCount>)> =
            [&[0, 1, 2][..], &[0, 1], &[0, 3], &[4]].map(|path| (path.to_vec(), vec![])).into();
        let tree = CallTree::of(&StackTable::new(stacks));
        let nodes: Vec<(u32, u32, Range<u32>)> = tree
            .nodes
            .iter()
            .map(|node| (node.function, node.parent, node.stacks.clone()))
            .collect();
        let expected =
            [(0, NO_PARENT, 0..3), (1, 0, 0..2), (2, 1, 1..2), (3, 0, 2..3), (4, NO_PARENT, 3..4)];
        assert_eq!(nodes, expected);
    }
}
