//! What is known of a side beside its counts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Grouping, SideFacts, UnitFacts};
use super::choose::Chosen;
use super::stacks::Stacks;
use crate::store::{LostSamples, UnitWindow};

/// Windows at the end of a side in which a unit must have been seen to count as running: the last one may not have
/// arrived yet.
const LAST_WINDOWS: u64 = 2;

pub(super) fn of(chosen: &Chosen<'_>, stacks: &Stacks, grouping: &Grouping) -> SideFacts {
    let windows = &chosen.windows;
    let units = units(windows, grouping.window_ns);
    let first_unix_ns = units.iter().map(|unit| unit.first_unix_ns).min().unwrap_or_default();
    let last_unix_ns = units.iter().map(|unit| unit.last_unix_ns).max().unwrap_or_default();
    let mut lost = LostSamples::default();
    let (mut samples, mut named, mut cpu_ns) = (0u64, 0u64, 0u64);
    for window in windows {
        lost.add(window.lost);
        let (all, own) = stacks.named(&window.profile);
        samples = samples.saturating_add(all);
        named = named.saturating_add(own);
        cpu_ns = cpu_ns.saturating_add(window.cpu_ns);
    }
    let total = windows.iter().fold(0u64, |sum, window| sum.saturating_add(window.profile.total()));
    let running_ns = LAST_WINDOWS.saturating_mul(grouping.window_ns);
    let is_new =
        |unit: &&UnitFacts| unit.since_unix_ns >= first_unix_ns.saturating_add(grouping.window_ns);
    let is_gone = |unit: &&UnitFacts| unit.last_unix_ns.saturating_add(running_ns) <= last_unix_ns;
    let is_interrupted = |unit: &&UnitFacts| {
        let span = unit.last_unix_ns.saturating_sub(unit.first_unix_ns);
        span / grouping.window_ns.max(1) > unit.windows
    };
    SideFacts {
        samples_per_cpu_second: (cpu_ns > 0).then(|| total as f64 / (cpu_ns as f64 / 1e9)),
        lost_share: lost.share(),
        named_share: (samples > 0).then(|| named as f64 / samples as f64),
        first_unix_ns,
        last_unix_ns,
        appeared: units.iter().filter(is_new).count(),
        vanished: units.iter().filter(is_gone).count(),
        interrupted: units.iter().filter(is_interrupted).count(),
        units,
        warm_up_windows: chosen.warm_up_windows,
        is_cold: chosen.is_cold,
        future_windows: chosen.future_windows,
    }
}

fn units(windows: &[&UnitWindow], window_ns: u64) -> Vec<UnitFacts> {
    let mut units: BTreeMap<(&str, &str), (UnitFacts, BTreeSet<u64>)> = BTreeMap::new();
    for window in windows {
        let UnitWindow { host, unit, since_unix_ns, start_unix_ns, machine, .. } = window;
        let (facts, starts) = units.entry((host, unit)).or_insert_with(|| {
            let facts = UnitFacts {
                name: format!("{host}/{unit}"),
                since_unix_ns: u64::MAX,
                first_unix_ns: u64::MAX,
                machine: machine.clone(),
                ..UnitFacts::default()
            };
            (facts, BTreeSet::new())
        });
        facts.since_unix_ns = facts.since_unix_ns.min(*since_unix_ns);
        facts.first_unix_ns = facts.first_unix_ns.min(*start_unix_ns);
        facts.last_unix_ns = facts.last_unix_ns.max(start_unix_ns.saturating_add(window_ns));
        starts.insert(*start_unix_ns);
    }
    let count = |(mut facts, starts): (UnitFacts, BTreeSet<u64>)| {
        facts.windows = starts.len() as u64;
        facts
    };
    units.into_values().map(count).collect()
}
