//! Counts functions, syscalls and stacks of each replicate.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use profiler_common::profile::{FrameKind, Quality};

use super::name::{is_interrupt_entry, key_of};
use super::{
    FunctionKey, Grouping, ProfileDiff, Replicate, Replication, STACKS_MAX, StackCount, StackTable,
    SyscallCounts, SyscallDiff, is_flow_control,
};
use crate::store::UnitWindow;

/// Fewest (host, unit) pairs a side at which the unit is the replicate.
const UNITS_MIN: usize = 2;

/// What is counted while the windows pass by.
struct Counter {
    replication: Replication,
    window_seconds: f64,
    /// Number of the replicate that is being added, those of the baseline first.
    row: u32,
    keys: HashMap<FunctionKey, u32>,
    syscalls: BTreeMap<String, (bool, [Vec<SyscallCounts>; 2])>,
    stacks: HashMap<Vec<u32>, Vec<StackCount>>,
    sides: [Vec<Replicate>; 2],
    quality: [Quality; 2],
}

/// Counts both sides.
pub(super) fn build(
    baseline: &[UnitWindow],
    candidate: &[UnitWindow],
    grouping: &Grouping,
) -> ProfileDiff {
    let replication = if units(baseline) >= UNITS_MIN && units(candidate) >= UNITS_MIN {
        Replication::Units
    } else {
        Replication::Windows
    };
    let mut counter = Counter {
        replication,
        window_seconds: grouping.window_ns as f64 / 1e9,
        row: 0,
        keys: HashMap::new(),
        syscalls: BTreeMap::new(),
        stacks: HashMap::new(),
        sides: [Vec::new(), Vec::new()],
        quality: <[Quality; 2]>::default(),
    };
    for (side, windows) in [baseline, candidate].into_iter().enumerate() {
        let mut replicates: BTreeMap<String, Vec<&UnitWindow>> = BTreeMap::new();
        for window in windows {
            replicates.entry(replicate_name(window, replication)).or_default().push(window);
        }
        for (name, windows) in replicates {
            counter.add_replicate(side, name, &windows);
        }
    }
    counter.finish()
}

fn units(windows: &[UnitWindow]) -> usize {
    windows.iter().map(|window| (&window.host, &window.unit)).collect::<BTreeSet<_>>().len()
}

fn replicate_name(window: &UnitWindow, replication: Replication) -> String {
    let UnitWindow { host, unit, start_unix_ns, .. } = window;
    match replication {
        Replication::Units | Replication::Pairs => format!("{host}/{unit}"),
        // Of fixed width, so that names sort by time.
        Replication::Windows => format!("{host}/{unit}@{start_unix_ns:020}"),
    }
}

impl Counter {
    fn add_replicate(&mut self, side: usize, name: String, windows: &[&UnitWindow]) {
        let index = self.sides[side].len();
        let mut replicate = Replicate {
            name,
            samples: 0,
            cpu_ns: 0,
            windows: windows.len() as u64,
            seconds: windows.len() as f64 * self.window_seconds,
            work: None,
            stratum: 0,
        };
        for window in windows {
            replicate.cpu_ns = replicate.cpu_ns.saturating_add(window.cpu_ns);
            replicate.samples = replicate.samples.saturating_add(self.add_stacks(window));
            self.add_syscalls(side, index, window);
            self.quality[side].merge(&window.quality);
        }
        self.sides[side].push(replicate);
        self.row += 1;
    }

    /// Adds the stacks of a window; returns its samples.
    ///
    /// A stack is cut where an interrupt begins, so the time counts for the function that was interrupted: interrupts
    /// hit functions in proportion to their time, and a disk that became busy is no function of this service.
    fn add_stacks(&mut self, window: &UnitWindow) -> u64 {
        let interrupts: Vec<bool> =
            window.profile.frames().iter().map(is_interrupt_entry).collect();
        let functions: Vec<Option<u32>> = window
            .profile
            .frames()
            .iter()
            .map(|frame| (frame.kind != FrameKind::Marker).then(|| self.function(key_of(frame))))
            .collect();
        let mut samples = 0u64;
        for (frames, count) in window.profile.stacks() {
            samples = samples.saturating_add(count);
            let own = frames.iter().take_while(|frame| !interrupts[**frame as usize]);
            let stack: Vec<u32> = own.filter_map(|frame| functions[*frame as usize]).collect();
            let counts = self.stacks.entry(stack).or_default();
            match counts.last_mut() {
                Some(last) if last.replicate == self.row => last.samples += count,
                _ => counts.push(StackCount { replicate: self.row, samples: count }),
            }
        }
        samples
    }

    fn add_syscalls(&mut self, side: usize, index: usize, window: &UnitWindow) {
        for syscall in &window.syscalls {
            let entry = self.syscalls.entry(syscall.name.clone()).or_default();
            entry.0 |= syscall.waiting;
            let replicates = &mut entry.1[side];
            if replicates.len() <= index {
                replicates.resize_with(index + 1, SyscallCounts::default);
            }
            replicates[index].histogram.merge(&syscall.histogram);
            for (errno, calls) in &syscall.errors {
                if !is_flow_control(*errno) {
                    replicates[index].add_errors(*errno, *calls);
                }
            }
        }
    }

    /// Finds or adds a function.
    fn function(&mut self, key: FunctionKey) -> u32 {
        let next = u32::try_from(self.keys.len()).expect("fewer than 2^32 functions fit in memory");
        *self.keys.entry(key).or_insert(next)
    }

    /// Orders everything by name, so that the result does not depend on the order of the windows.
    fn finish(self) -> ProfileDiff {
        let Self { replication, keys, syscalls, stacks, sides, quality, .. } = self;
        let [baseline, candidate] = sides;
        let [baseline_quality, candidate_quality] = quality;
        let lengths = [baseline.len(), candidate.len()];
        let mut keys: Vec<(FunctionKey, u32)> = keys.into_iter().collect();
        keys.sort_unstable();
        let mut new_index = vec![0u32; keys.len()];
        for (position, (_, index)) in (0u32..).zip(&keys) {
            new_index[*index as usize] = position;
        }
        let syscalls = syscalls
            .into_iter()
            .map(|(name, (waiting, [mut before, mut after]))| {
                before.resize_with(lengths[0], SyscallCounts::default);
                after.resize_with(lengths[1], SyscallCounts::default);
                SyscallDiff { name, waiting, baseline: before, candidate: after }
            })
            .collect();
        ProfileDiff {
            replication,
            baseline,
            candidate,
            baseline_quality,
            candidate_quality,
            functions: keys.into_iter().map(|(key, _)| key).collect(),
            stacks: table(stacks, &new_index),
            syscalls,
            facts: Default::default(),
        }
    }
}

/// The most frequent stacks, named by their new indices.
fn table(stacks: HashMap<Vec<u32>, Vec<StackCount>>, new_index: &[u32]) -> StackTable {
    let mut stacks: Vec<(Vec<u32>, Vec<StackCount>)> = stacks
        .into_iter()
        .map(|(functions, counts)| {
            (functions.iter().map(|index| new_index[*index as usize]).collect(), counts)
        })
        .collect();
    if stacks.len() > STACKS_MAX {
        let mass = |counts: &[StackCount]| counts.iter().map(|count| count.samples).sum::<u64>();
        stacks.sort_unstable_by(|left, right| {
            mass(&right.1).cmp(&mass(&left.1)).then_with(|| left.0.cmp(&right.0))
        });
        stacks.truncate(STACKS_MAX);
    }
    StackTable::new(stacks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::profile::{Frame, Profile};
    use proptest::prelude::*;

    fn window(unit: &str, start_unix_ns: u64, stacks: &[(&str, u64)]) -> UnitWindow {
        let mut profile = Profile::default();
        for (stack, count) in stacks {
            let frames: Vec<Frame> = stack
                .split(';')
                .map(|name| {
                    let mut frame = Frame::marker(name);
                    if name.starts_with("asm_") {
                        frame.kind = FrameKind::Kernel;
                    } else if !name.starts_with('[') {
                        frame.kind = FrameKind::Native;
                    }
                    frame
                })
                .collect();
            profile.add(&frames, *count);
        }
        UnitWindow {
            host: "host".to_owned(),
            unit: unit.to_owned(),
            version: "1".to_owned(),
            start_unix_ns,
            cpu_ns: 0,
            profile,
            ..UnitWindow::default()
        }
    }

    fn diff(baseline: &[UnitWindow], candidate: &[UnitWindow]) -> ProfileDiff {
        ProfileDiff::new(baseline, candidate, &Grouping::default())
    }

    /// Samples of each replicate of a stack given by name.
    fn stack(diff: &ProfileDiff, names: &str) -> Vec<u64> {
        let wanted: Vec<&str> = names.split(';').collect();
        let name = |index: &u32| diff.functions[*index as usize].function.as_str();
        let is_it = |at: &usize| diff.stacks.functions(*at).iter().map(name).eq(wanted.clone());
        let at = (0..diff.stacks.len()).find(is_it).expect("is there");
        let mut samples = vec![0; diff.baseline.len() + diff.candidate.len()];
        for count in diff.stacks.counts(at) {
            samples[count.replicate as usize] = count.samples;
        }
        samples
    }

    #[test]
    fn a_marker_is_no_function_but_its_samples_count() {
        let diff = diff(&[window("a", 0, &[("[truncated];f", 3), ("[idle]", 2)])], &[]);
        assert_eq!(diff.functions.len(), 1);
        assert_eq!(stack(&diff, "f"), [3]);
        assert_eq!(diff.baseline_samples(), 5);
    }

    #[test]
    fn an_interrupt_counts_for_the_function_it_hits_and_a_page_fault_for_itself() {
        let stacks =
            [("main;f;asm_sysvec_apic_timer_interrupt;irq", 3), ("f;asm_exc_page_fault", 2)];
        let diff = diff(&[window("a", 0, &stacks)], &[]);
        assert_eq!(stack(&diff, "main;f"), [3]);
        assert_eq!(stack(&diff, "f;asm_exc_page_fault"), [2]);
    }

    #[test]
    fn two_units_a_side_are_replicates_and_one_unit_gives_its_windows() {
        let windows = [
            window("a", 0, &[("f", 1)]),
            window("a", 60, &[("f", 2)]),
            window("b", 0, &[("f", 4)]),
        ];
        let units = diff(&windows, &windows);
        assert_eq!(units.replication, Replication::Units);
        assert_eq!(stack(&units, "f"), [3, 4, 3, 4]);
        let mixed = diff(&windows, &windows[..2]);
        assert_eq!(mixed.replication, Replication::Windows);
        assert_eq!(mixed.baseline.len(), 3);
        assert_eq!(stack(&mixed, "f"), [1, 2, 4, 1, 2]);
    }

    proptest! {
        #[test]
        fn the_order_of_windows_does_not_matter(
            counts in proptest::collection::vec((0u64..3, 0usize..4, 1u64..50), 1..20)
        ) {
            const STACKS: [&str; 4] = ["main;f", "main;g", "main;g;f", "main;g;g;h"];
            let windows: Vec<UnitWindow> = counts
                .iter()
                .map(|(start, stack, count)| window("a", *start, &[(STACKS[*stack], *count)]))
                .collect();
            let mut reversed = windows.clone();
            reversed.reverse();
            let left = diff(&windows, &reversed);
            let right = diff(&reversed, &windows);
            prop_assert_eq!(&left.functions, &right.functions);
            prop_assert_eq!(&left.stacks, &right.stacks);
            prop_assert_eq!(&left.baseline, &left.candidate);
        }
    }
}
