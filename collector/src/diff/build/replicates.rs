//! Puts windows together to replicates: by unit, by host that ran both versions, or by window.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Grouping, Replicate, Replication};
use super::work;
use crate::store::UnitWindow;

/// Fewest (host, unit) pairs a side at which the unit is the replicate.
const UNITS_MIN: usize = 2;

/// Fewest hosts that ran both versions at which the host is the replicate.
const PAIRS_MIN: usize = 3;

/// The windows of one replicate.
#[derive(Debug)]
pub(super) struct Row<'w> {
    name: String,
    pub(super) windows: Vec<&'w UnitWindow>,
}

/// The replicates of the baseline and of the candidate, by name.
#[derive(Debug)]
pub(super) struct Rows<'w> {
    pub(super) replication: Replication,
    pub(super) sides: [Vec<Row<'w>>; 2],
}

/// When a host ran a version, and in how many units.
#[derive(Debug)]
struct Stay<'w> {
    first_ns: u64,
    last_ns: u64,
    units: BTreeSet<&'w str>,
}

impl<'w> Rows<'w> {
    pub(super) fn of(sides: [&[&'w UnitWindow]; 2], grouping: &Grouping) -> Self {
        let stays = sides.map(stays);
        let replication = grouping.replication.unwrap_or_else(|| choose(sides, &stays));
        let is_in_both = |window: &&&UnitWindow| {
            stays.iter().all(|stays| stays.contains_key(window.host.as_str()))
        };
        let sides = sides.map(|windows| {
            let mut rows: BTreeMap<String, Vec<&'w UnitWindow>> = BTreeMap::new();
            let all = windows.iter();
            // A host that ran one version only has nothing to be compared with.
            for window in all.filter(|own| replication != Replication::Pairs || is_in_both(own)) {
                rows.entry(name(window, replication)).or_default().push(window);
            }
            rows.into_iter().map(|(name, windows)| Row { name, windows }).collect()
        });
        Self { replication, sides }
    }

    pub(super) fn into_replicates(self, grouping: &Grouping) -> [Vec<Replicate>; 2] {
        let works = work::of(&self, grouping.request_syscall.as_deref());
        let strata = self.strata();
        let mut at = 0;
        self.sides.map(|rows| {
            let rows = rows.into_iter();
            rows.map(|Row { name, windows }| {
                let count = windows.len() as f64;
                let sum = |of: fn(&UnitWindow) -> u64| {
                    windows.iter().fold(0u64, |sum, window| sum.saturating_add(of(window)))
                };
                let replicate = Replicate {
                    name,
                    samples: sum(|window| window.profile.total()),
                    cpu_ns: sum(|window| window.cpu_ns),
                    windows: windows.len() as u64,
                    seconds: count * grouping.window_ns as f64 / 1e9,
                    work: works[at],
                    stratum: strata[at],
                };
                at += 1;
                replicate
            })
            .collect()
        })
    }

    /// Number of the kind of machine of each replicate, the baseline's first; all alike where a side has one kind only,
    /// since a difference between kinds can then not be told from one between versions.
    fn strata(&self) -> Vec<u32> {
        let kind = |row: &Row<'w>| row.windows.first().map_or("", |window| window.machine.as_str());
        let kinds =
            [0, 1].map(|side| self.sides[side].iter().map(kind).collect::<BTreeSet<&str>>());
        let all: Vec<&str> = kinds[0].union(&kinds[1]).copied().collect();
        let is_mixed = kinds.iter().all(|kinds| kinds.len() > 1);
        let number = |row: &Row<'w>| {
            let at = all.binary_search(&kind(row)).unwrap_or_default();
            if is_mixed { u32::try_from(at).unwrap_or(u32::MAX) } else { 0 }
        };
        self.sides.iter().flatten().map(number).collect()
    }
}

fn name(window: &UnitWindow, replication: Replication) -> String {
    let UnitWindow { host, unit, start_unix_ns, .. } = window;
    match replication {
        Replication::Units => format!("{host}/{unit}"),
        Replication::Pairs => host.clone(),
        // Of fixed width, so that names sort by time.
        Replication::Windows => format!("{host}/{unit}@{start_unix_ns:020}"),
    }
}

fn stays<'w>(windows: &[&'w UnitWindow]) -> BTreeMap<&'w str, Stay<'w>> {
    let mut stays: BTreeMap<&str, Stay<'_>> = BTreeMap::new();
    for window in windows {
        let stay = stays.entry(&window.host).or_insert_with(|| Stay {
            first_ns: u64::MAX,
            last_ns: 0,
            units: BTreeSet::new(),
        });
        stay.first_ns = stay.first_ns.min(window.start_unix_ns);
        stay.last_ns = stay.last_ns.max(window.start_unix_ns);
        stay.units.insert(&window.unit);
    }
    stays
}

/// Hosts that ran one version after the other in one unit each are their own baseline, if most hosts of both sides are
/// such; else units, if there are several a side; else windows.
fn choose(sides: [&[&UnitWindow]; 2], stays: &[BTreeMap<&str, Stay<'_>>; 2]) -> Replication {
    let is_pair = |(host, before): &(&&str, &Stay<'_>)| {
        stays[1].get(**host).is_some_and(|after| {
            // One window may hold the end of the one and the start of the other.
            let is_after = before.last_ns <= after.first_ns;
            is_after && before.units.len() == 1 && after.units.len() == 1
        })
    };
    let pairs = stays[0].iter().filter(is_pair).count();
    let common = stays[0].keys().filter(|host| stays[1].contains_key(**host)).count();
    let units = sides.map(|windows| {
        windows.iter().map(|window| (&window.host, &window.unit)).collect::<BTreeSet<_>>().len()
    });
    let is_most = units.iter().all(|units| pairs * 2 > *units);
    if pairs >= PAIRS_MIN && is_most && pairs == common {
        return Replication::Pairs;
    }
    if units.iter().all(|units| *units >= UNITS_MIN) {
        Replication::Units
    } else {
        Replication::Windows
    }
}
