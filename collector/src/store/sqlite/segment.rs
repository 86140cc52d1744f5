//! Windows of one series or release as bytes: the stacks of all of them once, and the counts of each.

use profiler_common::profile::Quality;
use prost::Message as _;

use super::block::{
    Content, Packer, Syscall, Unpacker, WalkEndCount, add_walks, stacks_of, steps_of, undecodable,
    walks_of,
};
use super::counts::StackCounts;
use crate::store::{LostSamples, StoreError};

/// A window with all that happened in it.
#[derive(Debug, Clone, Default)]
pub(super) struct WindowContent {
    /// Unix nanoseconds.
    pub(super) start_unix_ns: u64,
    /// Unix nanoseconds.
    pub(super) end_unix_ns: u64,
    /// CPU time in nanoseconds.
    pub(super) cpu_ns: u64,
    pub(super) content: Content,
}

/// The packed form. Fields are only added, never renumbered.
#[derive(Clone, PartialEq, prost::Message)]
struct Segment {
    /// Rising stack identities, each as the step from the one before.
    #[prost(uint64, repeated, tag = "1")]
    stack_steps: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    windows: Vec<Window>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Window {
    /// Nanoseconds after the start of the segment's period.
    #[prost(uint64, tag = "1")]
    offset_ns: u64,
    #[prost(uint64, tag = "2")]
    length_ns: u64,
    #[prost(uint64, tag = "3")]
    cpu_ns: u64,
    /// Of each stack of the segment, 0 where the window has none of it.
    #[prost(uint64, repeated, tag = "4")]
    counts: Vec<u64>,
    #[prost(message, repeated, tag = "5")]
    syscalls: Vec<Syscall>,
    #[prost(message, repeated, tag = "6")]
    walks: Vec<WalkEndCount>,
    #[prost(uint64, tag = "7")]
    samples_taken: u64,
    #[prost(uint64, tag = "8")]
    samples_lost: u64,
}

/// A segment of which only the walks are read.
#[derive(Clone, PartialEq, prost::Message)]
struct SegmentWalks {
    #[prost(message, repeated, tag = "2")]
    windows: Vec<WindowWalks>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WindowWalks {
    #[prost(message, repeated, tag = "6")]
    walks: Vec<WalkEndCount>,
}

impl WindowContent {
    /// Adds another window to this one, which then reaches over both.
    pub(super) fn merge(&mut self, other: &Self) {
        if self.end_unix_ns == 0 {
            self.clone_from(other);
            return;
        }
        self.start_unix_ns = self.start_unix_ns.min(other.start_unix_ns);
        self.end_unix_ns = self.end_unix_ns.max(other.end_unix_ns);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.content.merge(&other.content);
    }
}

/// Packs the windows of a segment whose period starts at `base_unix_ns`.
pub(super) fn pack(
    packer: &mut Packer,
    base_unix_ns: u64,
    windows: Vec<WindowContent>,
) -> Result<Vec<u8>, StoreError> {
    let mut all = StackCounts::default();
    for window in &windows {
        all.merge(&window.content.stacks);
    }
    let pack_window = |window: WindowContent| {
        let mut own = window.content.stacks.iter().peekable();
        let counts = all
            .iter()
            .map(|(stack, _)| own.next_if(|(id, _)| *id == stack).map_or(0, |(_, count)| count))
            .collect();
        Window {
            offset_ns: window.start_unix_ns.saturating_sub(base_unix_ns),
            length_ns: window.end_unix_ns.saturating_sub(window.start_unix_ns),
            cpu_ns: window.cpu_ns,
            counts,
            walks: walks_of(&window.content.quality),
            syscalls: window.content.syscalls.into_values().map(Syscall::from).collect(),
            samples_taken: window.content.lost.taken,
            samples_lost: window.content.lost.lost,
        }
    };
    let segment = Segment {
        stack_steps: steps_of(all.iter().map(|(stack, _)| stack)),
        windows: windows.into_iter().map(pack_window).collect(),
    };
    packer.compress(&segment.encode_to_vec())
}

/// Unpacks the windows of a segment whose period starts at `base_unix_ns`.
pub(super) fn unpack(
    unpacker: &mut Unpacker,
    base_unix_ns: u64,
    data: &[u8],
) -> Result<Vec<WindowContent>, StoreError> {
    let segment = Segment::decode(&*unpacker.unpack(data)?).map_err(undecodable)?;
    let stacks: Vec<i64> = stacks_of(&segment.stack_steps).collect();
    let unpack_window = |window: Window| {
        if window.counts.len() != stacks.len() {
            return Err(StoreError::Damaged("a segment has stacks without counts"));
        }
        let counts = stacks.iter().copied().zip(window.counts).filter(|(_, count)| *count > 0);
        let mut content = Content { stacks: counts.collect(), ..Content::default() };
        for syscall in window.syscalls {
            content.add_syscall(syscall.into());
        }
        add_walks(window.walks, &mut content.quality);
        content.lost = LostSamples { taken: window.samples_taken, lost: window.samples_lost };
        let start_unix_ns = base_unix_ns.saturating_add(window.offset_ns);
        Ok(WindowContent {
            start_unix_ns,
            end_unix_ns: start_unix_ns.saturating_add(window.length_ns),
            cpu_ns: window.cpu_ns,
            content,
        })
    };
    segment.windows.into_iter().map(unpack_window).collect()
}

/// Adds how the walks in a segment ended.
pub(super) fn unpack_walks(
    unpacker: &mut Unpacker,
    data: &[u8],
    quality: &mut Quality,
) -> Result<(), StoreError> {
    let segment = SegmentWalks::decode(&*unpacker.unpack(data)?).map_err(undecodable)?;
    for window in segment.windows {
        add_walks(window.walks, quality);
    }
    Ok(())
}
