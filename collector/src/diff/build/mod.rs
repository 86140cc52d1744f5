//! Counts functions, syscalls and stacks of each replicate.

mod choose;
mod facts;
mod replicates;
mod stacks;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;

use profiler_common::profile::Quality;

use super::{Grouping, ProfileDiff, SyscallCounts, SyscallDiff, is_flow_control};
use crate::store::UnitWindow;

use choose::Chosen;
use replicates::Rows;
use stacks::Stacks;

/// Counts both sides.
pub(super) fn build(
    baseline: &[UnitWindow],
    candidate: &[UnitWindow],
    grouping: &Grouping,
) -> ProfileDiff {
    let chosen = [baseline, candidate].map(|windows| Chosen::of(windows, grouping));
    let rows = Rows::of([&chosen[0].windows, &chosen[1].windows], grouping);
    let mut stacks = Stacks::default();
    for side in &rows.sides {
        for row in side {
            stacks.add_row(&row.windows);
        }
    }
    let facts = [0, 1].map(|side| facts::of(&chosen[side], &stacks, grouping));
    let syscalls = syscalls(&rows);
    let quality = [0, 1].map(|side| quality(&chosen[side].windows));
    let [baseline_quality, candidate_quality] = quality;
    let (functions, stacks) = stacks.finish();
    let replication = rows.replication;
    let [baseline, candidate] = rows.into_replicates(grouping);
    ProfileDiff {
        replication,
        baseline,
        candidate,
        baseline_quality,
        candidate_quality,
        functions,
        stacks,
        syscalls,
        facts,
    }
}

fn quality(windows: &[&UnitWindow]) -> Quality {
    let mut all = Quality::default();
    for window in windows {
        all.merge(&window.quality);
    }
    all
}

/// Every syscall of either side by name, with the calls of each replicate.
fn syscalls(rows: &Rows<'_>) -> Vec<SyscallDiff> {
    let lengths = [0, 1].map(|side| rows.sides[side].len());
    let mut known: BTreeMap<&str, SyscallDiff> = BTreeMap::new();
    for (side, replicates) in rows.sides.iter().enumerate() {
        for (index, row) in replicates.iter().enumerate() {
            for syscall in row.windows.iter().flat_map(|window| &window.syscalls) {
                let entry = known.entry(&syscall.name).or_insert_with(|| SyscallDiff {
                    name: syscall.name.clone(),
                    waiting: false,
                    baseline: vec![SyscallCounts::default(); lengths[0]],
                    candidate: vec![SyscallCounts::default(); lengths[1]],
                });
                entry.waiting |= syscall.waiting;
                let counts = if side == 0 { &mut entry.baseline } else { &mut entry.candidate };
                counts[index].histogram.merge(&syscall.histogram);
                for (errno, calls) in syscall.errors.iter().filter(|(e, _)| !is_flow_control(*e)) {
                    counts[index].add_errors(*errno, *calls);
                }
            }
        }
    }
    known.into_values().collect()
}
