//! One window of one series as bytes: stack identities as steps, counts, and syscall histograms, packed with zstd.

use std::collections::BTreeMap;

use profiler_common::profile::{LatencyHistogram, Quality};
use prost::Message as _;
use zstd::bulk::{Compressor, Decompressor};

use super::counts::StackCounts;
use crate::store::{LostSamples, StoreError, UnitSyscall};

/// Largest unpacked block. A block holds less than the batch it came from: identities for indices, and a batch has at
/// most 16 MiB; ten bytes for each varint that took one give the factor.
const BLOCK_BYTES_MAX: usize = 160 << 20;

/// zstd's default: higher levels save 3 % on such blocks and take twice as long.
const LEVEL: i32 = 3;

/// Samples and syscalls of one window.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// Samples by stack identity.
    pub(super) stacks: StackCounts,
    /// Syscalls by (waiting, name).
    pub(super) syscalls: BTreeMap<(bool, String), UnitSyscall>,
    /// How the walks over the stacks ended.
    pub(super) quality: Quality,
    /// What the agent took and lost, of all services.
    pub(super) lost: LostSamples,
}

/// The packed form. Fields are only added, never renumbered.
#[derive(Clone, PartialEq, prost::Message)]
struct Block {
    /// Rising stack identities, each as the step from the one before.
    #[prost(uint64, repeated, tag = "1")]
    stack_steps: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    counts: Vec<u64>,
    #[prost(message, repeated, tag = "3")]
    syscalls: Vec<Syscall>,
    #[prost(message, repeated, tag = "4")]
    walks: Vec<WalkEndCount>,
    #[prost(uint64, tag = "5")]
    samples_taken: u64,
    #[prost(uint64, tag = "6")]
    samples_lost: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WalkEndCount {
    #[prost(string, tag = "1")]
    end: String,
    #[prost(uint64, tag = "2")]
    samples: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Syscall {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    waiting: bool,
    #[prost(uint64, tag = "3")]
    sum_ns: u64,
    #[prost(uint64, tag = "4")]
    max_ns: u64,
    #[prost(uint32, repeated, tag = "5")]
    buckets: Vec<u32>,
    #[prost(uint64, repeated, tag = "6")]
    bucket_calls: Vec<u64>,
    #[prost(uint32, repeated, tag = "7")]
    errnos: Vec<u32>,
    #[prost(uint64, repeated, tag = "8")]
    errno_calls: Vec<u64>,
}

/// Packs blocks; keeps its buffers between calls.
pub(super) struct Packer {
    compressor: Compressor<'static>,
}

impl Packer {
    pub(super) fn new() -> Result<Self, StoreError> {
        let mut compressor = Compressor::new(LEVEL).map_err(no_zstd)?;
        // The length of a blob is known, and its pages have no checksums of ours to repeat.
        compressor.include_checksum(false).map_err(no_zstd)?;
        Ok(Self { compressor })
    }

    pub(super) fn pack(&mut self, content: Content) -> Result<Vec<u8>, StoreError> {
        let block = Block {
            stack_steps: steps_of(content.stacks.iter().map(|(stack, _)| stack)),
            counts: content.stacks.iter().map(|(_, count)| count).collect(),
            walks: walks_of(&content.quality),
            syscalls: content.syscalls.into_values().map(Syscall::from).collect(),
            samples_taken: content.lost.taken,
            samples_lost: content.lost.lost,
        };
        self.compress(&block.encode_to_vec())
    }

    pub(super) fn compress(&mut self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.compressor
            .compress(bytes)
            .map_err(|_too_large| StoreError::Inconsistent("a window does not fit a block"))
    }
}

/// Unpacks blocks; keeps its buffers between calls.
#[derive(Default)]
pub(super) struct Unpacker {
    /// Made when it is first used: making one asks the processor what it can, which is slow in a virtual machine.
    decompressor: Option<Decompressor<'static>>,
}

impl Unpacker {
    /// Adds what a block holds to `content`.
    pub(super) fn unpack_into(
        &mut self,
        data: &[u8],
        content: &mut Content,
    ) -> Result<(), StoreError> {
        let block = Block::decode(&*self.unpack(data)?).map_err(undecodable)?;
        if block.stack_steps.len() != block.counts.len() {
            return Err(StoreError::Damaged("a block has stacks without counts"));
        }
        content.stacks.merge(&stacks_of(&block.stack_steps).zip(block.counts).collect());
        for syscall in block.syscalls {
            content.add_syscall(syscall.into());
        }
        add_walks(block.walks, &mut content.quality);
        content.lost.add(LostSamples { taken: block.samples_taken, lost: block.samples_lost });
        Ok(())
    }

    pub(super) fn unpack(&mut self, data: &[u8]) -> Result<Vec<u8>, StoreError> {
        let bytes = zstd::zstd_safe::get_frame_content_size(data)
            .ok()
            .flatten()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| *bytes <= BLOCK_BYTES_MAX)
            .ok_or(StoreError::Damaged("a block has no length"))?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            None => self.decompressor.insert(Decompressor::new().map_err(no_zstd)?),
        };
        decompressor
            .decompress(data, bytes)
            .map_err(|_damaged| StoreError::Damaged("a block cannot be unpacked"))
    }
}

/// Rising identities as steps.
pub(super) fn steps_of(stacks: impl Iterator<Item = i64>) -> Vec<u64> {
    let mut previous = 0_i64;
    stacks
        .map(|stack| stack.wrapping_sub(std::mem::replace(&mut previous, stack)).cast_unsigned())
        .collect()
}

/// Identities from their steps.
pub(super) fn stacks_of(steps: &[u64]) -> impl Iterator<Item = i64> {
    steps.iter().scan(0_i64, |stack, step| {
        *stack = stack.wrapping_add(step.cast_signed());
        Some(*stack)
    })
}

pub(super) fn walks_of(quality: &Quality) -> Vec<WalkEndCount> {
    quality.ends().map(|(end, samples)| WalkEndCount { end: end.to_owned(), samples }).collect()
}

pub(super) fn add_walks(walks: Vec<WalkEndCount>, quality: &mut Quality) {
    for WalkEndCount { end, samples } in walks {
        quality.add(&end, samples);
    }
}

pub(super) fn undecodable(_error: prost::DecodeError) -> StoreError {
    StoreError::Damaged("a block cannot be decoded")
}

impl Content {
    /// Adds all of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.stacks.merge(&other.stacks);
        for (key, syscall) in &other.syscalls {
            match self.syscalls.get_mut(key) {
                Some(known) => known.merge(syscall),
                None => {
                    self.syscalls.insert(key.clone(), syscall.clone());
                }
            }
        }
        self.quality.merge(&other.quality);
        self.lost.add(other.lost);
    }

    /// Adds the calls of a syscall, merged with earlier ones of the same name.
    pub(super) fn add_syscall(&mut self, syscall: UnitSyscall) {
        let key = (syscall.waiting, syscall.name.clone());
        match self.syscalls.get_mut(&key) {
            Some(known) => known.merge(&syscall),
            None => {
                self.syscalls.insert(key, syscall);
            }
        }
    }
}

impl From<UnitSyscall> for Syscall {
    fn from(from: UnitSyscall) -> Self {
        let UnitSyscall { name, waiting, histogram, errors } = from;
        let (buckets, bucket_calls) = histogram.buckets().unzip();
        let (errnos, errno_calls) = errors.into_iter().unzip();
        let (sum_ns, max_ns) = (histogram.sum_ns, histogram.max_ns);
        Self { name, waiting, sum_ns, max_ns, buckets, bucket_calls, errnos, errno_calls }
    }
}

impl From<Syscall> for UnitSyscall {
    fn from(from: Syscall) -> Self {
        let mut histogram = LatencyHistogram::default();
        for (bucket, calls) in from.buckets.into_iter().zip(from.bucket_calls) {
            histogram.add(bucket, calls);
        }
        histogram.sum_ns = from.sum_ns;
        histogram.max_ns = from.max_ns;
        let errors = from.errnos.into_iter().zip(from.errno_calls).collect();
        Self { name: from.name, waiting: from.waiting, histogram, errors }
    }
}

fn no_zstd(_error: std::io::Error) -> StoreError {
    StoreError::Damaged("zstd refuses its own settings")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            stacks in proptest::collection::btree_map(0..i64::MAX, 1..u64::MAX, 0..50),
            buckets in proptest::collection::btree_map(0u32..500, 1u64..1 << 40, 1..20),
            errors in proptest::collection::btree_map(1u32..133, 1u64..1 << 40, 0..5),
            walks in proptest::collection::btree_map("[a-z -]{1,9}", 1u64..1 << 40, 0..4),
            waiting: bool,
        ) {
            let mut histogram = LatencyHistogram::default();
            (histogram.sum_ns, histogram.max_ns) = (7, 5);
            for (bucket, calls) in buckets {
                histogram.add(bucket, calls);
            }
            let errors: Vec<(u32, u64)> = errors.into_iter().collect();
            let syscall =
                UnitSyscall { name: "read".to_owned(), waiting, histogram: histogram.clone(), errors: errors.clone() };
            let mut content = Content { stacks: stacks.clone().into_iter().collect(), ..Default::default() };
            content.add_syscall(syscall);
            for (end, samples) in &walks {
                content.quality.add(end, *samples);
            }
            content.lost = LostSamples { taken: 9, lost: 2 };
            let quality = content.quality.clone();
            let packed = Packer::new().unwrap().pack(content).unwrap();
            let mut read = Content::default();
            Unpacker::default().unpack_into(&packed, &mut read).unwrap();
            prop_assert_eq!(read.stacks, stacks.into_iter().collect());
            prop_assert_eq!(read.lost, LostSamples { taken: 9, lost: 2 });
            prop_assert_eq!(&read.quality, &quality);
            let syscall = &read.syscalls[&(waiting, "read".to_owned())];
            prop_assert_eq!(&syscall.histogram, &histogram);
            prop_assert_eq!(&syscall.errors, &errors);
        }

        #[test]
        fn damaged_bytes_are_an_error_not_a_panic(
            stacks in proptest::collection::btree_map(0i64..1000, 1u64..9, 1..50),
            at: prop::sample::Index,
            value: u8,
        ) {
            let mut packed =
                Packer::new().unwrap().pack(Content { stacks: stacks.into_iter().collect(), ..Default::default() }).unwrap();
            let at = at.index(packed.len());
            packed[at] = value;
            let mut read = Content::default();
            // Either answer is right: a changed count is still a count.
            drop(Unpacker::default().unpack_into(&packed, &mut read));
        }
    }
}
