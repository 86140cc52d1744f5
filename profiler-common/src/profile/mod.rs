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
