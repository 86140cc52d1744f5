//! Turns profiles into one tree of call paths, small enough to send.
//!
//! A tree has `N` sides: one for a flame graph, two for a comparison, so that both are the same code.

use std::collections::HashMap;

use indexmap::IndexSet;
use profiler_common::profile::{Frame, FrameKind};
use serde::Serialize;

use crate::store::WindowProfile;

/// Most nodes in one answer, about 3 MB of JSON; a screen shows some thousands.
const NODES_MAX: usize = 200_000;

/// Call paths with the samples of `N` profiles.
#[derive(Debug)]
pub(crate) struct Tree<const N: usize> {
    frames: IndexSet<Frame>,
    /// `nodes[0]` is the root. A child stands after its parent.
    nodes: Vec<Node<N>>,
    index: HashMap<(u32, u32), u32>,
}

#[derive(Debug)]
struct Node<const N: usize> {
    frame: u32,
    parent: u32,
    own: [u64; N],
}

/// A tree as it is sent: dictionaries, and nodes in one flat list.
///
/// Each node is `[frame, depth, self, total]` (for two sides `[frame, depth, self, total, self, total]`, baseline
/// first), parents before their children, siblings by name. The first node is the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct FlatTree {
    /// Function names.
    pub(crate) names: Vec<String>,
    /// Executables, libraries, `[kernel]`, `[jit]`.
    pub(crate) modules: Vec<String>,
    /// `[name, module, kind]`; kinds are 0 native, 1 inlined, 2 kernel, 3 jit, 4 marker.
    pub(crate) frames: Vec<[u32; 3]>,
    /// Nodes, one after another, in preorder.
    pub(crate) nodes: Vec<u64>,
}

impl FlatTree {
    /// Samples of the first side.
    pub(crate) fn root_total(&self) -> u64 {
        self.nodes.get(3).copied().unwrap_or(0)
    }
}

/// The tree has more nodes than an answer may have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the answer has {nodes} call paths, expected at most {NODES_MAX}; ask for a shorter range or \
     leave out smaller paths with a higher `min_share`"
)]
pub(crate) struct TreeTooLarge {
    nodes: usize,
}

impl<const N: usize> Tree<N> {
    /// A tree without samples whose root frame has a name.
    pub(crate) fn new(root: &str) -> Self {
        let root_node = Node { frame: 0, parent: 0, own: [0; N] };
        Self {
            frames: IndexSet::from([Frame::marker(root)]),
            nodes: vec![root_node],
            index: HashMap::new(),
        }
    }

    /// Adds a profile to one side, below the given frames.
    pub(crate) fn add(&mut self, side: usize, below: &[Frame], profile: &WindowProfile) {
        self.add_as(side, below, profile, Frame::clone);
    }

    /// The same with other frames in the place of the profile's.
    pub(crate) fn add_as(
        &mut self,
        side: usize,
        below: &[Frame],
        profile: &WindowProfile,
        of: impl Fn(&Frame) -> Frame,
    ) {
        let mut top = 0;
        for frame in below {
            let frame = self.frame_index(frame);
            top = self.child(top, frame);
        }
        let dictionary = profile.dictionary();
        let frames: Vec<u32> =
            dictionary.frames().iter().map(|frame| self.frame_index(&of(frame))).collect();
        for (stack, count) in profile.counts() {
            let stack = dictionary.stack(*stack);
            let leaf =
                stack.iter().fold(top, |node, frame| self.child(node, frames[*frame as usize]));
            self.nodes[leaf as usize].own[side] += count;
        }
    }

    /// The tree without the paths that hold less than `min_share` of every side; their samples count as the parent's
    /// own, so that all totals stay.
    ///
    /// # Errors
    ///
    /// When more than `NODES_MAX` nodes remain.
    pub(crate) fn flatten(&self, min_share: f64) -> Result<FlatTree, TreeTooLarge> {
        let mut totals: Vec<[u64; N]> = self.nodes.iter().map(|node| node.own).collect();
        for index in (1..self.nodes.len()).rev() {
            let total = totals[index];
            add(&mut totals[self.nodes[index].parent as usize], total);
        }
        let root_total = totals[0];
        let keeps = |index: usize| {
            index == 0
                || (0..N).any(|side| {
                    let floor = (root_total[side] as f64 * min_share).max(1.0);
                    totals[index][side] as f64 >= floor
                })
        };
        let mut own: Vec<[u64; N]> = self.nodes.iter().map(|node| node.own).collect();
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); self.nodes.len()];
        let mut kept = 1;
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            if keeps(index) {
                // A kept node has a kept parent: no total is larger than its parent's.
                children[node.parent as usize].push(index as u32);
                kept += 1;
            } else if keeps(node.parent as usize) {
                add(&mut own[node.parent as usize], totals[index]);
            }
        }
        if kept > NODES_MAX {
            return Err(TreeTooLarge { nodes: kept });
        }
        Ok(self.write(&own, &totals, &mut children))
    }

    fn write(&self, own: &[[u64; N]], totals: &[[u64; N]], children: &mut [Vec<u32>]) -> FlatTree {
        let mut dictionary = Dictionary::default();
        let mut nodes = Vec::new();
        let mut waiting = vec![(0_u32, 0_u64)];
        while let Some((index, depth)) = waiting.pop() {
            let at = index as usize;
            let frame = dictionary.frame(&self.frames[self.nodes[at].frame as usize]);
            nodes.extend([u64::from(frame), depth]);
            for side in 0..N {
                nodes.extend([own[at][side], totals[at][side]]);
            }
            let mut next = std::mem::take(&mut children[at]);
            next.sort_by_key(|child| {
                &self.frames[self.nodes[*child as usize].frame as usize].function
            });
            waiting.extend(next.into_iter().rev().map(|child| (child, depth + 1)));
        }
        let Dictionary { names, modules, frames } = dictionary;
        FlatTree {
            names: names.into_iter().collect(),
            modules: modules.into_iter().collect(),
            frames: frames.into_iter().collect(),
            nodes,
        }
    }

    fn frame_index(&mut self, frame: &Frame) -> u32 {
        match self.frames.get_index_of(frame) {
            Some(index) => index as u32,
            None => self.frames.insert_full(frame.clone()).0 as u32,
        }
    }

    fn child(&mut self, parent: u32, frame: u32) -> u32 {
        let Self { nodes, index, .. } = self;
        *index.entry((parent, frame)).or_insert_with(|| {
            nodes.push(Node { frame, parent, own: [0; N] });
            nodes.len() as u32 - 1
        })
    }
}

/// Only the names that the answer uses.
#[derive(Default)]
struct Dictionary {
    names: IndexSet<String>,
    modules: IndexSet<String>,
    frames: IndexSet<[u32; 3]>,
}

impl Dictionary {
    fn frame(&mut self, frame: &Frame) -> u32 {
        let name = insert(&mut self.names, &frame.function);
        let module = insert(&mut self.modules, &frame.module);
        let kind = match frame.kind {
            FrameKind::Native => 0,
            FrameKind::Inlined => 1,
            FrameKind::Kernel => 2,
            FrameKind::Jit => 3,
            FrameKind::Marker => 4,
        };
        self.frames.insert_full([name, module, kind]).0 as u32
    }
}

fn insert(set: &mut IndexSet<String>, text: &str) -> u32 {
    match set.get_index_of(text) {
        Some(index) => index as u32,
        None => set.insert_full(text.to_owned()).0 as u32,
    }
}

fn add<const N: usize>(sum: &mut [u64; N], more: [u64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::comparable;
    use profiler_common::profile::Profile;
    use proptest::prelude::*;

    #[test]
    fn a_function_whose_name_carries_the_build_is_one_node_of_a_comparison() {
        let mut tree = Tree::<2>::new("service");
        for (side, hash) in ["h0123456789abcdef", "hfedcba9876543210"].into_iter().enumerate() {
            let mut profile = Profile::default();
            profile.add(&[Frame::marker(&format!("shop::render::{hash}"))], 7);
            tree.add_as(side, &[], &profile.into(), comparable);
        }
        let flat = tree.flatten(0.0).unwrap();
        assert_eq!(flat.nodes, [0, 0, 0, 7, 0, 7, 1, 1, 7, 7, 7, 7]);
        assert_eq!(flat.names, ["service", "shop::render"]);
    }

    fn profile(stacks: &[(Vec<u8>, u64)]) -> WindowProfile {
        let mut profile = Profile::default();
        for (stack, count) in stacks {
            let frames: Vec<Frame> =
                stack.iter().map(|name| Frame::marker(&format!("f{name}"))).collect();
            profile.add(&frames, *count);
        }
        profile.into()
    }

    fn one_sided(stacks: &[(Vec<u8>, u64)], min_share: f64) -> FlatTree {
        let mut tree = Tree::<1>::new("all");
        tree.add(0, &[], &profile(stacks));
        tree.flatten(min_share).unwrap()
    }

    #[test]
    fn siblings_stand_by_name_and_children_after_their_parent() {
        let tree = one_sided(&[(vec![2], 1), (vec![1, 3], 4), (vec![1], 2)], 0.0);
        assert_eq!(tree.names, ["all", "f1", "f3", "f2"]);
        assert_eq!(tree.nodes, [0, 0, 0, 7, 1, 1, 2, 6, 2, 2, 4, 4, 3, 1, 1, 1]);
    }

    #[test]
    fn a_small_path_becomes_its_parents_own_time() {
        let tree = one_sided(&[(vec![1, 2, 3], 1), (vec![1], 99)], 0.02);
        assert_eq!(tree.nodes, [0, 0, 0, 100, 1, 1, 100, 100]);
        assert_eq!(tree.names, ["all", "f1"]);
    }

    #[test]
    fn a_path_of_one_side_only_is_kept() {
        let mut tree = Tree::<2>::new("all");
        tree.add(0, &[], &profile(&[(vec![1], 5)]));
        tree.add(1, &[], &profile(&[(vec![2], 7)]));
        let tree = tree.flatten(0.5).unwrap();
        assert_eq!(tree.nodes, [0, 0, 0, 5, 0, 7, 1, 1, 5, 5, 0, 0, 2, 1, 0, 0, 7, 7]);
    }

    #[test]
    fn services_hang_below_their_names() {
        let mut tree = Tree::<1>::new("all services");
        tree.add(0, &[Frame::marker("web")], &profile(&[(vec![1], 5)]));
        assert_eq!(tree.flatten(0.0).unwrap().names, ["all services", "web", "f1"]);
    }

    #[test]
    fn an_answer_without_bound_is_refused() {
        let stacks: Vec<(Vec<u8>, u64)> = (0..=255_u8)
            .flat_map(|a| (0..4).flat_map(move |b| (0..=255).map(move |c| (vec![a, b, c], 1))))
            .collect();
        let mut tree = Tree::<1>::new("all");
        tree.add(0, &[], &profile(&stacks));
        assert!(tree.flatten(0.0).unwrap_err().to_string().contains("higher `min_share`"));
        assert_eq!(tree.flatten(0.1).unwrap().nodes.len(), 4);
    }

    proptest! {
        #[test]
        fn totals_are_conserved(
            stacks in proptest::collection::vec(
                (proptest::collection::vec(0_u8..6, 0..8), 1_u64..1000), 0..60),
            min_share in 0.0_f64..0.5,
        ) {
            let tree = one_sided(&stacks, min_share);
            let total: u64 = stacks.iter().map(|(_, count)| count).sum();
            let nodes: Vec<&[u64]> = tree.nodes.chunks(4).collect();
            prop_assert_eq!(nodes[0][3], total);
            prop_assert_eq!(nodes.iter().map(|node| node[2]).sum::<u64>(), total);
            for (index, node) in nodes.iter().enumerate() {
                let below = nodes[index + 1..].iter().take_while(|later| later[1] > node[1]);
                let children: u64 =
                    below.filter(|later| later[1] == node[1] + 1).map(|child| child[3]).sum();
                prop_assert_eq!(node[3], node[2] + children);
                prop_assert!(index == 0 || node[3] as f64 >= total as f64 * min_share);
            }
        }
    }
}
