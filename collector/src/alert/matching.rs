//! Finds the alert that already tells of a group. Pure.

use crate::detect::{Direction, Group, Subject};

use super::{Alert, Topic, fingerprint};

/// For each alert the group that shows it, and whether that has the alert's own root. A root may move: what the samples of
/// a later window tell apart, those of an earlier one did not.
pub(super) fn assign(alerts: &[Alert], groups: &[Group]) -> Vec<Option<(usize, bool)>> {
    let worse = || groups.iter().enumerate().filter(|(_, group)| is_worse(group));
    let own = |alert: &Alert| {
        let is_own = |group: &Group| {
            let topic = Topic::Of(group.root.subject.clone());
            fingerprint(&alert.service, &alert.environment, &topic) == alert.fingerprint
        };
        let same = worse().filter(|(_, group)| is_own(group));
        // Quantiles of a syscall share an alert: the one that it is about before the others.
        same.max_by_key(|(at, group)| {
            (Topic::Of(group.root.subject.clone()) == alert.topic, std::cmp::Reverse(*at))
        })
    };
    alerts
        .iter()
        .map(|alert| match own(alert) {
            Some((at, _)) => Some((at, true)),
            None => worse().find(|(_, group)| is_related(alert, group)).map(|(at, _)| (at, false)),
        })
        .collect()
}

/// Whether an alert and a group are about the same change, seen at different functions.
pub(super) fn is_related(alert: &Alert, group: &Group) -> bool {
    let Topic::Of(Subject::Function { function, .. }) = &alert.topic else {
        return false;
    };
    let Subject::Function { function: root, .. } = &group.root.subject else {
        return false;
    };
    group.chain.iter().chain(&group.also_visible_in).any(|name| name == function)
        || alert.functions().any(|name| name == root)
}

fn is_worse(group: &Group) -> bool {
    group.direction == Direction::Worse
}

/// The groups for the worse, of several quantiles of a syscall the highest.
pub(super) fn strongest<'g>(groups: impl Iterator<Item = &'g Group>) -> Vec<&'g Group> {
    let mut found: Vec<&Group> = Vec::new();
    for group in groups.filter(|group| is_worse(group)) {
        let same = |known: &&mut &Group| match (&known.root.subject, &group.root.subject) {
            (
                Subject::Syscall { name: known, metric: old },
                Subject::Syscall { name, metric: new },
            ) => known == name && old.family() == new.family(),
            (known, new) => known == new,
        };
        match found.iter_mut().find(same) {
            Some(known) if group.root.subject > known.root.subject => *known = group,
            Some(_) => {}
            None => found.push(group),
        }
    }
    found
}
