//! A profile: how often each stack was seen, with frames by name.

mod folded;
mod frame;
mod latency;
mod quality;

pub use folded::{FoldedError, parse_folded, write_folded};
pub use frame::{Frame, FrameKind};
pub use latency::LatencyHistogram;
pub use quality::Quality;

use indexmap::{IndexMap, IndexSet};

/// Counts of unique stacks over a dictionary of unique frames.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    frames: IndexSet<Frame>,
    stacks: IndexMap<Box<[u32]>, u64>,
}

impl Profile {
    /// Adds `count` samples of a stack given root first.
    pub fn add<'f>(&mut self, stack: impl IntoIterator<Item = &'f Frame>, count: u64) {
        let stack: Box<[u32]> =
            stack.into_iter().map(|frame| index_of(&mut self.frames, frame)).collect();
        *self.stacks.entry(stack).or_default() += count;
    }

    /// Adds all samples of another profile.
    pub fn merge(&mut self, other: &Self) {
        let indices: Vec<u32> =
            other.frames.iter().map(|frame| index_of(&mut self.frames, frame)).collect();
        for (stack, count) in &other.stacks {
            let stack = stack.iter().map(|index| indices[*index as usize]).collect();
            *self.stacks.entry(stack).or_default() += count;
        }
    }

    /// Puts frames and stacks in the order of their content, whatever the order in which they were added.
    #[must_use]
    pub fn into_sorted(self) -> Self {
        let Self { mut frames, stacks } = self;
        let mut order: Vec<usize> = (0..frames.len()).collect();
        order.sort_unstable_by_key(|at| &frames[*at]);
        let mut ranks = vec![0; frames.len()];
        for (rank, at) in (0u32..).zip(&order) {
            ranks[*at] = rank;
        }
        frames.sort_unstable();
        // Stacks of ranks compare as the stacks of the frames would.
        let mut stacks: Vec<(Box<[u32]>, u64)> = stacks
            .into_iter()
            .map(|(stack, count)| (stack.iter().map(|at| ranks[*at as usize]).collect(), count))
            .collect();
        stacks.sort_unstable();
        Self { frames, stacks: stacks.into_iter().collect() }
    }

    /// The dictionary; stacks hold indices into it.
    #[must_use]
    pub fn frames(&self) -> &IndexSet<Frame> {
        &self.frames
    }

    /// (frame indices root first, samples) of each unique stack, in the order of their first sample.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = (&[u32], u64)> {
        self.stacks.iter().map(|(stack, count)| (&**stack, *count))
    }

    /// (frames root first, samples) of each unique stack.
    pub fn named_stacks(&self) -> impl ExactSizeIterator<Item = (Vec<&Frame>, u64)> {
        self.stacks().map(|(stack, count)| {
            (stack.iter().map(|index| &self.frames[*index as usize]).collect(), count)
        })
    }

    /// Number of samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// Whether there is no stack.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }
}

/// Finds or adds a frame. The index fits 32 bits: a frame takes over 100 bytes, so memory ends long before.
fn index_of(frames: &mut IndexSet<Frame>, frame: &Frame) -> u32 {
    let index = frames.get_index_of(frame).unwrap_or_else(|| frames.insert_full(frame.clone()).0);
    u32::try_from(index).expect("fewer than 2^32 frames fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(names: &str) -> Vec<Frame> {
        names.split(';').map(Frame::marker).collect()
    }

    #[test]
    fn equal_stacks_are_counted_together() {
        let mut profile = Profile::default();
        profile.add(&stack("main;f"), 2);
        profile.add(&stack("main;f"), 3);
        assert_eq!(profile.stacks().collect::<Vec<_>>(), [(&[0, 1][..], 5)]);
        assert_eq!(profile.frames().len(), 2);
    }

    #[test]
    fn sorting_forgets_the_order_of_adding() {
        let order = |stacks: [&str; 3]| {
            let mut profile = Profile::default();
            for names in stacks {
                profile.add(&stack(names), names.len() as u64);
            }
            let sorted = profile.into_sorted();
            let stacks: Vec<_> =
                sorted.stacks().map(|(stack, count)| (stack.to_vec(), count)).collect();
            (sorted.frames().iter().cloned().collect::<Vec<_>>(), stacks)
        };
        let (frames, stacks) = order(["main;g", "main;f;f", "a"]);
        assert_eq!(frames, stack("a;f;g;main"));
        assert_eq!(stacks, [(vec![0], 1), (vec![3, 1, 1], 8), (vec![3, 2], 6)]);
        assert_eq!((frames, stacks), order(["a", "main;f;f", "main;g"]));
    }

    #[test]
    fn merging_keeps_every_sample_whatever_the_dictionaries() {
        let mut left = Profile::default();
        left.add(&stack("main;f"), 2);
        let mut right = Profile::default();
        right.add(&stack("g;f"), 1);
        right.add(&stack("main;f"), 4);
        left.merge(&right);
        assert_eq!(left.total(), 7);
        let named: Vec<(String, u64)> = left
            .named_stacks()
            .map(|(frames, count)| {
                (frames.iter().map(|f| f.function.as_str()).collect::<Vec<_>>().join(";"), count)
            })
            .collect();
        assert_eq!(named, [("main;f".to_owned(), 6), ("g;f".to_owned(), 1)]);
    }
}
