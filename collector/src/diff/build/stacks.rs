//! Counts the stacks of each replicate under names that hold across versions.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_common::profile::FrameKind;

use super::super::name::{is_interrupt_entry, is_unnamed, key_of};
use super::super::{FunctionKey, STACKS_MAX, StackCount, StackTable};
use crate::store::{Dictionary, UnitWindow, WindowProfile};

/// Stacks of all replicates so far.
///
/// What a dictionary means is found out once, so that a window costs no more than its counts.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    functions: HashMap<FunctionKey, u32>,
    stacks: HashMap<Vec<u32>, u32>,
    /// By stack.
    counts: Vec<Vec<StackCount>>,
    /// By address of the dictionary, which its windows keep alive.
    known: HashMap<*const Dictionary, Known>,
    rows: u32,
    /// Samples of the row that is being added, by stack.
    row: Vec<u64>,
    touched: Vec<u32>,
}

/// What the stacks of a dictionary mean.
#[derive(Debug, Default)]
struct Known {
    /// By stack of the dictionary: the stack here.
    stacks: Vec<u32>,
    /// By stack of the dictionary: whether its innermost function has a name; `None` when it has no function.
    has_name: Vec<Option<bool>>,
}

impl Stacks {
    /// Adds a replicate.
    pub(super) fn add_row(&mut self, windows: &[&UnitWindow]) {
        for window in windows {
            let dictionary = window.profile.dictionary();
            if !self.known.contains_key(&Arc::as_ptr(dictionary)) {
                let known = self.learn(dictionary);
                self.known.insert(Arc::as_ptr(dictionary), known);
            }
            let known = &self.known[&Arc::as_ptr(dictionary)];
            self.row.resize(self.counts.len(), 0);
            for (stack, samples) in window.profile.counts() {
                let stack = known.stacks[*stack as usize];
                let sum = &mut self.row[stack as usize];
                if *sum == 0 {
                    self.touched.push(stack);
                }
                *sum = sum.saturating_add(*samples);
            }
        }
        for stack in self.touched.drain(..) {
            let samples = std::mem::take(&mut self.row[stack as usize]);
            if samples > 0 {
                self.counts[stack as usize].push(StackCount { replicate: self.rows, samples });
            }
        }
        self.rows += 1;
    }

    /// Samples of a window that was added whose stack has a function, and those of them whose innermost one has a name.
    pub(super) fn named(&self, profile: &WindowProfile) -> (u64, u64) {
        let Some(known) = self.known.get(&Arc::as_ptr(profile.dictionary())) else {
            return (0, 0);
        };
        let (mut all, mut named) = (0u64, 0u64);
        for (stack, samples) in profile.counts() {
            if let Some(has_name) = known.has_name[*stack as usize] {
                all = all.saturating_add(*samples);
                named = named.saturating_add(if has_name { *samples } else { 0 });
            }
        }
        (all, named)
    }

    /// Finds out what the stacks of a dictionary mean.
    ///
    /// A stack is cut where an interrupt begins, so the time counts for the function that was interrupted: interrupts
    /// hit functions in proportion to their time, and a disk that became busy is no function of this service.
    fn learn(&mut self, dictionary: &Dictionary) -> Known {
        let frames = dictionary.frames();
        let interrupts: Vec<bool> = frames.iter().map(is_interrupt_entry).collect();
        let mut has_name = Vec::with_capacity(frames.len());
        let mut functions = Vec::with_capacity(frames.len());
        for frame in frames {
            let key = (frame.kind != FrameKind::Marker).then(|| key_of(frame));
            has_name.push(key.as_ref().map(|key| !is_unnamed(key)));
            functions.push(key.map(|key| number(&mut self.functions, key)));
        }
        let mut known = Known::default();
        for stack in dictionary.stacks() {
            let innermost = stack.iter().rev().find_map(|frame| has_name[*frame as usize]);
            known.has_name.push(innermost);
            let own = stack.iter().take_while(|frame| !interrupts[**frame as usize]);
            let own: Vec<u32> = own.filter_map(|frame| functions[*frame as usize]).collect();
            known.stacks.push(number(&mut self.stacks, own));
        }
        self.counts.resize_with(self.stacks.len(), Vec::new);
        known
    }

    /// The functions in order, and the most frequent stacks in order, so that the result does not depend on the order of
    /// the windows.
    pub(super) fn finish(self) -> (Vec<FunctionKey>, StackTable) {
        let mut functions: Vec<(FunctionKey, u32)> = self.functions.into_iter().collect();
        functions.sort_unstable();
        let mut new_index = vec![0u32; functions.len()];
        for (position, (_, index)) in (0u32..).zip(&functions) {
            new_index[*index as usize] = position;
        }
        let mut counts = self.counts;
        let renamed = |stack: Vec<u32>| stack.iter().map(|at| new_index[*at as usize]).collect();
        let mut stacks: Vec<(Vec<u32>, Vec<StackCount>)> = self
            .stacks
            .into_iter()
            .map(|(stack, at)| (renamed(stack), std::mem::take(&mut counts[at as usize])))
            .filter(|(_, counts)| !counts.is_empty())
            .collect();
        keep_frequent(&mut stacks);
        (functions.into_iter().map(|(key, _)| key).collect(), StackTable::new(stacks))
    }
}

/// Finds or adds a thing; things are numbered as they come.
fn number<T: Eq + std::hash::Hash>(known: &mut HashMap<T, u32>, thing: T) -> u32 {
    let next = u32::try_from(known.len()).expect("fewer than 2^32 things fit in memory");
    *known.entry(thing).or_insert(next)
}

/// Leaves out the rarest stacks above [`STACKS_MAX`].
fn keep_frequent(stacks: &mut Vec<(Vec<u32>, Vec<StackCount>)>) {
    if stacks.len() > STACKS_MAX {
        let mass = |counts: &[StackCount]| {
            counts.iter().fold(0u64, |sum, count| sum.saturating_add(count.samples))
        };
        stacks.sort_unstable_by(|left, right| {
            mass(&right.1).cmp(&mass(&left.1)).then_with(|| left.0.cmp(&right.0))
        });
        stacks.truncate(STACKS_MAX);
    }
}
