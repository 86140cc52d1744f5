//! Shares out one range of entries, first fit; what is given back rests before it is used again.

use std::collections::{BTreeMap, VecDeque};

use profiler_common::abi::row::REUSE_DELAY_MS;

/// A range of entries of which parts are taken and given back.
#[derive(Debug)]
pub(super) struct Arena {
    /// Free ranges, start and length; neighbours are joined.
    free: BTreeMap<u32, u32>,
    /// What was given back and may still be read: when it is free, start and length.
    resting: VecDeque<(u64, u32, u32)>,
    taken: u32,
}

impl Arena {
    /// An arena of that many entries, all free.
    pub(super) fn new(entries: u32) -> Self {
        let free = if entries == 0 { BTreeMap::new() } else { BTreeMap::from([(0, entries)]) };
        Self { free, resting: VecDeque::new(), taken: 0 }
    }

    /// Takes a range; `None` when no free one is as long. A range of length 0 lies anywhere.
    pub(super) fn take(&mut self, entries: u32, now_ms: u64) -> Option<u32> {
        self.settle(now_ms);
        if entries == 0 {
            return Some(0);
        }
        let (start, length) = self.free.iter().find(|(_, length)| **length >= entries)?;
        let (start, length) = (*start, *length);
        self.free.remove(&start);
        if length > entries {
            self.free.insert(start + entries, length - entries);
        }
        self.taken += entries;
        Some(start)
    }

    /// Gives a range back that was taken, to be used again after [`REUSE_DELAY_MS`].
    pub(super) fn give_back(&mut self, start: u32, entries: u32, now_ms: u64) {
        if entries > 0 {
            self.taken -= entries;
            self.resting.push_back((now_ms.saturating_add(REUSE_DELAY_MS), start, entries));
        }
    }

    /// Number of entries in use; those that rest are not.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether something was given back and is not free yet.
    pub(super) fn is_settling(&self) -> bool {
        !self.resting.is_empty()
    }

    fn settle(&mut self, now_ms: u64) {
        while let Some((free_at, start, entries)) = self.resting.front().copied() {
            if free_at > now_ms {
                break;
            }
            self.resting.pop_front();
            self.join(start, entries);
        }
    }

    fn join(&mut self, mut start: u32, mut entries: u32) {
        if let Some((before, length)) = self.free.range(..start).next_back()
            && before + length == start
        {
            (start, entries) = (*before, length + entries);
        }
        if let Some(length) = self.free.remove(&(start + entries)) {
            entries += length;
        }
        self.free.insert(start, entries);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_given_back_rests_before_it_is_taken_again() {
        let mut arena = Arena::new(10);
        assert_eq!(arena.take(10, 0), Some(0));
        arena.give_back(0, 10, 5);
        assert_eq!(arena.take(1, 5 + REUSE_DELAY_MS - 1), None);
        assert_eq!(arena.take(10, 5 + REUSE_DELAY_MS), Some(0));
        assert_eq!(arena.taken(), 10);
    }

    #[test]
    fn neighbours_are_joined() {
        let mut arena = Arena::new(9);
        for start in [0, 3, 6] {
            assert_eq!(arena.take(3, 0), Some(start));
        }
        for start in [0, 6, 3] {
            arena.give_back(start, 3, 0);
        }
        assert_eq!(arena.take(9, REUSE_DELAY_MS), Some(0));
    }

    proptest! {
        #[test]
        fn no_two_ranges_overlap_and_none_returns_too_early(
            steps in proptest::collection::vec((any::<bool>(), 0u32..40, 0u64..700), 1..200)
        ) {
            const ENTRIES: u32 = 256;
            let mut arena = Arena::new(ENTRIES);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            let mut resting: Vec<(u64, u32, u32)> = Vec::new();
            let mut now = 0;
            for (take, number, pause) in steps {
                now += pause;
                resting.retain(|(free_at, ..)| *free_at > now);
                if take {
                    let Some(start) = arena.take(number, now) else { continue };
                    prop_assert!(start + number <= ENTRIES);
                    let overlaps = |other: u32, length: u32| start < other + length && other < start + number;
                    prop_assert!(!taken.iter().any(|(other, length)| overlaps(*other, *length)));
                    prop_assert!(!resting.iter().any(|(_, other, length)| overlaps(*other, *length)));
                    taken.push((start, number));
                } else if !taken.is_empty() {
                    let (start, length) = taken.swap_remove(number as usize % taken.len());
                    arena.give_back(start, length, now);
                    resting.push((now + REUSE_DELAY_MS, start, length));
                }
                prop_assert_eq!(arena.taken(), taken.iter().map(|(_, length)| length).sum::<u32>());
            }
            for (start, length) in taken {
                arena.give_back(start, length, now);
            }
            prop_assert_eq!(arena.take(ENTRIES, now + REUSE_DELAY_MS), Some(0), "nothing is lost");
        }
    }
}
