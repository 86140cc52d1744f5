//! Profiles of many windows over one dictionary, so that each stack is named once however many windows it is in.

use std::sync::Arc;

use profiler_common::profile::{Frame, Profile};

/// Frames and stacks by number. A stack may stand twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dictionary {
    frames: Vec<Frame>,
    stacks: Vec<Box<[u32]>>,
}

impl Dictionary {
    /// A dictionary of stacks given root first as indices into `frames`.
    pub(super) fn new(frames: Vec<Frame>, stacks: Vec<Box<[u32]>>) -> Self {
        Self { frames, stacks }
    }

    /// Every frame.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// One stack, root first, as indices into the frames.
    ///
    /// # Panics
    ///
    /// When there is no stack of this number.
    #[must_use]
    pub fn stack(&self, number: u32) -> &[u32] {
        &self.stacks[number as usize]
    }

    /// Every stack, root first, as indices into the frames.
    pub fn stacks(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.stacks.iter().map(|stack| &**stack)
    }
}

/// Samples of one window by stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WindowProfile {
    dictionary: Arc<Dictionary>,
    counts: Vec<(u32, u64)>,
}

impl WindowProfile {
    /// Counts by index of a stack of the dictionary.
    pub(super) fn new(dictionary: Arc<Dictionary>, counts: Vec<(u32, u64)>) -> Self {
        Self { dictionary, counts }
    }

    /// What the indices mean. Windows of one answer share it.
    #[must_use]
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// (index of a stack, samples).
    #[must_use]
    pub fn counts(&self) -> &[(u32, u64)] {
        &self.counts
    }

    /// Number of samples.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds all samples of the windows to one profile. Windows that share a dictionary should follow each other.
    pub fn merge<'w>(windows: impl IntoIterator<Item = &'w Self>) -> Profile {
        let mut merged = Profile::default();
        let mut pending: Option<(&Arc<Dictionary>, Vec<u64>)> = None;
        for window in windows {
            let is_same =
                pending.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &window.dictionary));
            if !is_same {
                flush(pending.take(), &mut merged);
            }
            let (_, counts) = pending.get_or_insert_with(|| {
                (&window.dictionary, vec![0; window.dictionary.stacks.len()])
            });
            for (stack, count) in &window.counts {
                counts[*stack as usize] = counts[*stack as usize].saturating_add(*count);
            }
        }
        flush(pending, &mut merged);
        merged
    }
}

fn flush(pending: Option<(&Arc<Dictionary>, Vec<u64>)>, merged: &mut Profile) {
    let Some((dictionary, counts)) = pending else { return };
    for (stack, count) in dictionary.stacks().zip(counts).filter(|(_, count)| *count > 0) {
        merged.add(stack.iter().map(|frame| &dictionary.frames[*frame as usize]), count);
    }
}

impl From<Profile> for WindowProfile {
    fn from(profile: Profile) -> Self {
        let frames = profile.frames().iter().cloned().collect();
        let stacks = profile.stacks().map(|(stack, _)| stack.into()).collect();
        let counts = (0u32..).zip(profile.stacks()).map(|(at, (_, count))| (at, count)).collect();
        Self { dictionary: Arc::new(Dictionary { frames, stacks }), counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_any_dictionaries_merge_to_the_sum_of_their_profiles() {
        let profile = |stacks: &[(&[&str], u64)]| {
            let mut profile = Profile::default();
            for (names, count) in stacks {
                let frames: Vec<Frame> = names.iter().map(|name| Frame::marker(name)).collect();
                profile.add(&frames, *count);
            }
            profile
        };
        let left = WindowProfile::from(profile(&[(&["main", "f"], 2), (&["main"], 1)]));
        let again = WindowProfile { counts: vec![(0, 5)], ..left.clone() };
        let right = WindowProfile::from(profile(&[(&["main", "f"], 3)]));
        assert_eq!((left.total(), again.total(), right.total()), (3, 5, 3));
        let merged = WindowProfile::merge([&left, &again, &right]);
        let mut named: Vec<(String, u64)> = merged
            .named_stacks()
            .map(|(frames, count)| {
                let names: Vec<&str> = frames.iter().map(|frame| frame.function.as_str()).collect();
                (names.join(";"), count)
            })
            .collect();
        named.sort_unstable();
        assert_eq!(named, [("main".to_owned(), 1), ("main;f".to_owned(), 10)]);
    }
}
