//! Which functions lie under which, and with how much of their time: what tells a cause from where else it is seen.

use std::collections::HashMap;

use crate::diff::{FunctionKey, StackTable};

/// Least part of a function's time under a caller that is worth keeping.
const PART_MIN: f64 = 0.05;

/// Parts in steps of 1/255.
const STEPS: f64 = 255.0;

/// Of each function: which part of its time passes under which other function.
///
/// Learned from one window of stacks and kept instead of the stacks; it is a picture of the structure, not of the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containment {
    /// Of each followed function, in their order: (function above it, part in steps of 1/255), largest part first.
    pub(crate) callers: Vec<Vec<(u16, u8)>>,
}

impl Containment {
    /// Most callers that are kept for a function. Stacks of followed functions are rarely deeper than 30 after those
    /// with less than a thousandth are left out.
    pub(crate) const CALLERS_MAX: usize = 24;

    /// Learns from all stacks of a window, whose indices name `functions`, for the followed ones in the order given.
    pub(crate) fn of<'k>(
        functions: &[FunctionKey],
        stacks: &StackTable,
        followed: impl Iterator<Item = &'k FunctionKey>,
    ) -> Self {
        let order: HashMap<&FunctionKey, u16> = followed.zip(0u16..).collect();
        let position: Vec<Option<u16>> =
            functions.iter().map(|key| order.get(key).copied()).collect();
        let mut anywhere = vec![0u64; order.len()];
        let mut pairs: HashMap<(u16, u16), u64> = HashMap::new();
        let mut path: Vec<u16> = Vec::new();
        for stack in 0..stacks.len() {
            let samples: u64 = stacks.counts(stack).iter().map(|count| count.samples).sum();
            path.clear();
            for function in stacks.functions(stack) {
                // A recursive function counts where it is entered first.
                if let Some(at) = position[*function as usize]
                    && !path.contains(&at)
                {
                    anywhere[usize::from(at)] += samples;
                    path.push(at);
                }
            }
            for (depth, below) in path.iter().enumerate() {
                for above in &path[..depth] {
                    *pairs.entry((*below, *above)).or_default() += samples;
                }
            }
        }
        let mut callers: Vec<Vec<(u16, u8)>> = vec![Vec::new(); order.len()];
        for ((below, above), samples) in pairs {
            let part = samples as f64 / anywhere[usize::from(below)].max(1) as f64;
            if part >= PART_MIN {
                callers[usize::from(below)].push((above, (part * STEPS).round() as u8));
            }
        }
        for list in &mut callers {
            list.sort_unstable_by_key(|(above, part)| (std::cmp::Reverse(*part), *above));
            list.truncate(Self::CALLERS_MAX);
        }
        Self { callers }
    }

    /// Part of the time of function `below` that passes under function `above`, 0 to 1; 1 for itself.
    pub(crate) fn part(&self, below: usize, above: usize) -> f64 {
        if below == above {
            return 1.0;
        }
        let callers = self.callers.get(below).into_iter().flatten();
        callers
            .filter(|(caller, _)| usize::from(*caller) == above)
            .map(|(_, part)| f64::from(*part) / STEPS)
            .next()
            .unwrap_or(0.0)
    }
}
