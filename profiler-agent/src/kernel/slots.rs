//! Reads the syscall histograms: the per-CPU slots through shared memory, the overflow table by lookups.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use aya::maps::{HashMap, Map, MapData};
use aya::{Ebpf, Pod};
use memmap2::{MmapOptions, MmapRaw};
use profiler_common::abi::latency::LatencySlot;
use profiler_common::abi::{LATENCY_OVERFLOW_MAX, maps};

use crate::latency::{SlotId, SlotSource};

const SLOT_WORDS: usize = size_of::<LatencySlot>() / size_of::<u64>();

/// All histograms of one loaded program.
pub(super) struct KernelSlots {
    mapped: MmapRaw,
    slots: usize,
    overflow: HashMap<MapData, u64, SlotBytes>,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct SlotBytes(LatencySlot);

// SAFETY: the slot is made of integers without padding (its size is asserted beside the type), and the wrapper is
// transparent, so any bytes are a valid value and every byte is initialised.
unsafe impl Pod for SlotBytes {}

impl KernelSlots {
    /// Maps the slots and opens the overflow table. Both stay readable after the program is detached.
    pub(super) fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let latency = clone_map(ebpf, maps::LATENCY)?;
        let slots = latency.info()?.max_entries() as usize;
        let mapped = MmapOptions::new()
            .len(slots * size_of::<LatencySlot>())
            .map_raw(&latency.fd().as_fd())
            .context("failed to map the histograms into memory")?;
        let overflow = Map::HashMap(clone_map(ebpf, maps::LATENCY_OVERFLOW)?);
        Ok(Self { mapped, slots, overflow: overflow.try_into()? })
    }

    /// The words of one slot. The kernel writes to them at any time, so they are only read and written one by one.
    fn words(&self, slot: usize) -> &[AtomicU64; SLOT_WORDS] {
        assert!(slot < self.slots, "the index comes from the number of slots");
        // SAFETY: the mapping is page-aligned, readable and writable, and long enough for `slots` slots, whose size is
        // a multiple of 8; the index is checked above; atomics may be written by others at any time.
        unsafe { &*self.mapped.as_mut_ptr().cast::<[AtomicU64; SLOT_WORDS]>().add(slot) }
    }
}

impl SlotSource for KernelSlots {
    fn read_slots(&mut self, each: &mut dyn FnMut(SlotId, &LatencySlot)) {
        for at in 0..self.slots {
            let words = self.words(at);
            // The kernel writes the key after the start of the process and the flags.
            if words[0].load(Ordering::Acquire) == 0 {
                continue;
            }
            let copy: [u64; SLOT_WORDS] =
                std::array::from_fn(|word| words[word].load(Ordering::Relaxed));
            // SAFETY: the slot is made of integers without padding and has exactly the size of the words.
            let slot: LatencySlot = unsafe { std::mem::transmute(copy) };
            each(SlotId::Mapped(at as u32), &slot);
        }
        // An element that is removed while we iterate can start the walk over, hence the limit.
        for (key, slot) in self.overflow.iter().flatten().take(LATENCY_OVERFLOW_MAX as usize) {
            each(SlotId::Overflow(key), &slot.0);
        }
    }

    fn free_slot(&mut self, slot: SlotId) {
        match slot {
            SlotId::Mapped(at) => {
                let [key, rest @ ..] = self.words(at as usize);
                for word in rest {
                    word.store(0, Ordering::Relaxed);
                }
                // Last: from here on the kernel may claim the slot.
                key.store(0, Ordering::Release);
            }
            // An error means that it is gone already.
            SlotId::Overflow(key) => drop(self.overflow.remove(&key)),
        }
    }
}

/// Opens a map of the object once more.
pub(super) fn clone_map(ebpf: &Ebpf, name: &'static str) -> anyhow::Result<MapData> {
    let (Map::Array(map) | Map::HashMap(map) | Map::ArrayOfMaps(map)) =
        ebpf.map(name).with_context(|| format!("the object lacks map `{name}`"))?
    else {
        anyhow::bail!("map `{name}` is of another type");
    };
    let fd = map.fd().as_fd().try_clone_to_owned()?;
    MapData::from_fd(fd).with_context(|| format!("failed to open map `{name}`"))
}
