//! What the known methods look at: shares of functions by host, and by window with all hosts together.

use crate::join::Join;
use crate::scene::{Drawn, Scene};
use crate::variant::Scope;

/// Fewest samples of a function, both sides together: the same as for our own test.
const SAMPLES_MIN: f64 = 30.0;

/// Shares of every function, self and with all it calls.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) items: Vec<Item>,
    /// Samples by host: of the baseline, and of the candidate.
    pub(crate) hosts: [Vec<f64>; 2],
    /// Samples by window: of the baseline, and of the candidate.
    pub(crate) windows: [Vec<f64>; 2],
}

/// The samples of one function.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) scope: Scope,
    /// By host.
    pub(crate) hosts: [Vec<f64>; 2],
    /// By window.
    pub(crate) windows: [Vec<f64>; 2],
}

/// A function that a method says got slower.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alarm {
    /// In the numbers of the join.
    pub(crate) scope: Scope,
    /// Growth of its share.
    pub(crate) delta: f64,
}

impl View {
    /// Counts the first windows.
    pub(crate) fn of(join: &Join, scene: &Scene<'_>, drawn: &Drawn, windows: usize) -> Self {
        let functions = join.functions.len();
        let empty = |scope| Item { scope, hosts: Default::default(), windows: Default::default() };
        let own = (0..functions as u32).map(|function| empty(Scope::Own(function)));
        let total = (0..functions as u32).map(|function| empty(Scope::Total(function)));
        let items = own.chain(total).collect();
        let mut view = Self { items, hosts: Default::default(), windows: Default::default() };
        let members = members(join);
        for side in 0..2 {
            let mut by_window = vec![vec![0; join.stacks.len()]; windows];
            for host in 0..drawn.sides[side].len() {
                let mut by_host = vec![0; join.stacks.len()];
                for (window, sum) in by_window.iter_mut().enumerate() {
                    let counts = join.host_window(scene, drawn, [side, host], window);
                    for ((host, sum), count) in by_host.iter_mut().zip(sum).zip(counts) {
                        *host += count;
                        *sum += count;
                    }
                }
                view.add(&members, &by_host, side, true);
            }
            for counts in &by_window {
                view.add(&members, counts, side, false);
            }
        }
        let sum = |hosts: &[Vec<f64>; 2]| hosts.iter().flatten().sum::<f64>();
        let twins: Vec<bool> = (0..functions).map(|at| view.is_same(at, at + functions)).collect();
        let mut index = 0;
        view.items.retain(|item| {
            let is_twin = index >= functions && twins[index - functions];
            index += 1;
            !is_twin && sum(&item.hosts) >= SAMPLES_MIN
        });
        view
    }

    fn add(&mut self, members: &[Vec<u32>], counts: &[u64], side: usize, is_host: bool) {
        let mut sums = vec![0.0; self.items.len()];
        for (items, count) in members.iter().zip(counts).filter(|(_, count)| **count > 0) {
            for item in items {
                sums[*item as usize] += *count as f64;
            }
        }
        let total = counts.iter().sum::<u64>() as f64;
        let totals = if is_host { &mut self.hosts } else { &mut self.windows };
        totals[side].push(total);
        for (item, sum) in self.items.iter_mut().zip(sums) {
            let counted = if is_host { &mut item.hosts } else { &mut item.windows };
            counted[side].push(sum);
        }
    }

    fn is_same(&self, left: usize, right: usize) -> bool {
        self.items[left].hosts == self.items[right].hosts
    }

    /// Shares of an item by host.
    pub(crate) fn host_shares(&self, item: &Item) -> [Vec<f64>; 2] {
        [0, 1].map(|side| shares(&item.hosts[side], &self.hosts[side]))
    }

    /// Shares of an item by window.
    pub(crate) fn window_shares(&self, item: &Item) -> [Vec<f64>; 2] {
        [0, 1].map(|side| shares(&item.windows[side], &self.windows[side]))
    }

    /// Growth of the share of an item, all hosts together.
    pub(crate) fn delta(&self, item: &Item) -> f64 {
        let share = |side: usize| {
            item.hosts[side].iter().sum::<f64>() / self.hosts[side].iter().sum::<f64>().max(1.0)
        };
        share(1) - share(0)
    }
}

fn shares(counts: &[f64], samples: &[f64]) -> Vec<f64> {
    counts.iter().zip(samples).map(|(count, samples)| count / samples.max(1.0)).collect()
}

/// The items in which each stack counts: its last function's own code, and every function on it once.
fn members(join: &Join) -> Vec<Vec<u32>> {
    let functions = join.functions.len() as u32;
    let of = |stack: &Vec<u32>| {
        let mut items: Vec<u32> = stack.iter().map(|function| functions + function).collect();
        items.sort_unstable();
        items.dedup();
        items.extend(stack.last());
        items
    };
    join.stacks.iter().map(of).collect()
}
