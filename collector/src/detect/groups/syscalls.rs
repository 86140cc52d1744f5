//! Findings about syscalls, and the kernel's own work inside of those calls.

use std::collections::BTreeMap;

use super::super::functions::Tested;
use super::super::items::Ranges;
use super::super::tree::{CallTree, NO_PARENT};
use super::{Cause, Direction, Group, SeenAs, Subject, Verdict, union};

/// One group of each syscall, family of numbers and direction with a significant number: the strongest is the root and
/// explains the others.
pub(super) fn groups(verdicts: &mut [Verdict]) -> Vec<Group> {
    let mut strongest: BTreeMap<(String, &str, bool), usize> = BTreeMap::new();
    for (index, verdict) in verdicts.iter().enumerate().filter(|(_, verdict)| verdict.significant) {
        let Some(key) = key(verdict) else { continue };
        let best = strongest.entry(key).or_insert(index);
        if verdict.p < verdicts[*best].p {
            *best = index;
        }
    }
    for index in 0..verdicts.len() {
        let verdict = &verdicts[index];
        let best = key(verdict).and_then(|key| strongest.get(&key));
        if let Some(best) = best.filter(|best| **best != index && verdict.significant) {
            verdicts[index].explained_by = Some(verdicts[*best].subject.clone());
        }
    }
    strongest.into_iter().map(|((name, ..), index)| group(name, &verdicts[index])).collect()
}

/// Numbers with the same key are one problem: the latency of a syscall, its errors, or how often it is called.
fn key(verdict: &Verdict) -> Option<(String, &'static str, bool)> {
    match &verdict.subject {
        Subject::Syscall { name, metric } => {
            Some((name.clone(), metric.family(), verdict.direction == Direction::Worse))
        }
        Subject::Function { .. } => None,
    }
}

fn group(name: String, root: &Verdict) -> Group {
    Group {
        direction: root.direction,
        root: root.clone(),
        seen_as: SeenAs::Syscall,
        chain: vec![name.clone()],
        suspects: vec![name],
        caller: None,
        path: Vec::new(),
        also_visible_in: Vec::new(),
        cause: Cause::Change,
    }
}

/// Stacks inside of the syscall that a group is about.
pub(super) fn inside(tested: &Tested<'_>, group: &Group) -> Ranges {
    let Subject::Syscall { name, .. } = &group.root.subject else { return Ranges::new() };
    let entries: Vec<bool> = tested
        .diff
        .functions
        .iter()
        .map(|key| key.module == "[kernel]" && syscall_of_entry(&key.function) == Some(name))
        .collect();
    if entries.contains(&true) { through(&tested.tree, &entries) } else { Ranges::new() }
}

/// Stacks through any of the marked functions.
fn through(tree: &CallTree, marked: &[bool]) -> Ranges {
    let is_marked = |function: u32| marked[function as usize];
    let is_topmost =
        |parent: u32| parent == NO_PARENT || !is_marked(tree.nodes[parent as usize].function);
    let nodes =
        tree.nodes.iter().filter(|node| is_marked(node.function) && is_topmost(node.parent));
    let ranges: Ranges = nodes.map(|node| node.stacks.clone()).collect();
    union(&ranges, &[])
}

/// Name of the syscall whose entry function of the kernel this is, such as `fsync` for `__x64_sys_fsync`.
fn syscall_of_entry(function: &str) -> Option<&str> {
    const PREFIXES: [&str; 4] = ["__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_"];
    PREFIXES.iter().find_map(|prefix| function.strip_prefix(prefix))
}
