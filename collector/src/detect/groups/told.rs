//! Which verdicts belong to which items, and what a group says of them.

use super::super::functions::Tested;
use super::{Group, Verdict};

/// Most functions named beside a root.
const ALSO_VISIBLE_MAX: usize = 20;

/// The items that people are told of.
pub(super) struct Told {
    /// Number of verdicts that are not about items; those stand first.
    pub(super) first: usize,
    /// (first item of the same stacks, name of its function), parallel to the verdicts about items.
    items: Vec<(usize, String)>,
}

impl Told {
    /// Finds the items of the last of `verdicts` verdicts, which stand in the order of the items.
    pub(super) fn of(tested: &Tested<'_>, verdicts: usize) -> Self {
        let told = (0..tested.items.list.len()).filter(|index| tested.is_told(*index));
        let items: Vec<(usize, String)> = told
            .map(|index| {
                let item = &tested.items.list[index];
                let name = &tested.diff.functions[item.function as usize].function;
                (item.same_as.map_or(index, |first| first as usize), name.clone())
            })
            .collect();
        Self { first: verdicts.saturating_sub(items.len()), items }
    }

    /// Marks the verdicts of the members of a group, and names them with it.
    pub(super) fn mark(&self, members: &[usize], group: &mut Group, verdicts: &mut [Verdict]) {
        let mut visible: Vec<(f64, &String)> = Vec::new();
        let mut root = None;
        for (index, (item, name)) in self.items.iter().enumerate() {
            let verdict = &mut verdicts[index];
            if verdict.subject == group.root.subject {
                root = Some(index);
            } else if verdict.significant
                && members.contains(item)
                && verdict.explained_by.is_none()
            {
                verdict.explained_by = Some(group.root.subject.clone());
                visible.push((verdict.p, name));
            }
        }
        visible.sort_by(|left, right| left.0.total_cmp(&right.0).then_with(|| left.1.cmp(right.1)));
        for (_, name) in visible {
            let also = &mut group.also_visible_in;
            if also.len() < ALSO_VISIBLE_MAX && !also.contains(name) {
                also.push(name.clone());
            }
        }
        group.root.also_visible_in.clone_from(&group.also_visible_in);
        if let Some(root) = root {
            verdicts[root].explained_by = None;
            verdicts[root].also_visible_in.clone_from(&group.also_visible_in);
        }
    }
}
