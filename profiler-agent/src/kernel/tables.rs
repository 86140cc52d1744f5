//! Writes unwind tables into the maps of the kernel program: arenas through shared memory, spaces by updates.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use anyhow::Context as _;
use aya::maps::{Array, ArrayOfMaps, HashMap, IterableMap as _, Map, MapData, MapError};
use aya::{Ebpf, Pod};
use memmap2::{MmapOptions, MmapRaw};
use profiler_common::abi::maps;
use profiler_common::abi::row::{
    CHUNK_ROWS, MAPPING_ROWS_MAX, MappingRow, PAGES_MAX, Page, RULES_MAX, Rule, Space,
};

use super::slots::clone_map;
use crate::unwind::{Only, Upload};

/// Flags of the kernel: an array that can be mapped into memory, and an update of what exists.
const MMAPABLE: u32 = 1 << 10;
const ONLY_EXISTING: u64 = 2;

const MAPPING_WORDS: usize = size_of::<MappingRow>() / size_of::<u64>();

const _: () = assert!(size_of::<Page>() == size_of::<u64>());
const _: () = assert!(size_of::<Rule>() == size_of::<u64>());

#[derive(Clone, Copy)]
#[repr(transparent)]
struct SpaceBytes(Space);

// SAFETY: the space is made of integers without padding (its size is asserted beside the type), and the wrapper is
// transparent, so any bytes are a valid value and every byte is initialised.
unsafe impl Pod for SpaceBytes {}

/// One chunk of rows, as the kernel holds it.
type Chunk = Array<MapData, [u32; CHUNK_ROWS]>;

/// The maps that the walk reads.
pub(super) struct KernelTables {
    spaces: HashMap<MapData, u32, SpaceBytes>,
    mappings: Words,
    pages: Words,
    rules: Words,
    outer: ArrayOfMaps<MapData, Chunk>,
    chunks: Vec<Chunk>,
}

impl KernelTables {
    /// Opens the maps of a loaded object.
    pub(super) fn open(ebpf: &Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            spaces: Map::HashMap(clone_map(ebpf, maps::SPACES)?).try_into()?,
            mappings: Words::map(
                &clone_map(ebpf, maps::MAPPINGS)?,
                MAPPING_ROWS_MAX * MAPPING_WORDS,
            )?,
            pages: Words::map(&clone_map(ebpf, maps::PAGES)?, PAGES_MAX)?,
            rules: Words::map(&clone_map(ebpf, maps::RULES)?, RULES_MAX)?,
            outer: Map::ArrayOfMaps(clone_map(ebpf, maps::CHUNKS)?).try_into()?,
            chunks: Vec::new(),
        })
    }
}

impl Upload for KernelTables {
    fn add_chunk(&mut self) -> anyhow::Result<()> {
        let chunk = Chunk::create(1, MMAPABLE).context("failed to create a map of rows")?;
        let number = u32::try_from(self.chunks.len())?;
        self.outer.set(number, &chunk, 0).context("failed to add a map of rows")?;
        self.chunks.push(chunk);
        Ok(())
    }

    fn write_rows(&mut self, chunk: u16, first: u32, rows: &[u32]) -> anyhow::Result<()> {
        let chunk = self.chunks.get(usize::from(chunk)).context("no such map of rows")?;
        // Mapped for this moment only: all mapped memory counts as the agent's own.
        let words = Words::map(chunk.map(), CHUNK_ROWS / 2)?;
        words.store_halves(first as usize, rows);
        Ok(())
    }

    fn write_pages(&mut self, first: u32, pages: &[Page]) {
        for (at, page) in (first as usize..).zip(pages) {
            let Page { first_row, chunk, rows } = *page;
            let word = u64::from(first_row) | u64::from(chunk) << 32 | u64::from(rows) << 48;
            self.pages.store(at, word);
        }
        fence(Ordering::Release);
    }

    fn write_mappings(&mut self, first: u32, rows: &[MappingRow]) {
        for (at, row) in (first as usize..).zip(rows) {
            let pages = u64::from(row.first_page) | u64::from(row.pages) << 32;
            for (word, value) in [row.start, row.end, row.bias, pages].into_iter().enumerate() {
                self.mappings.store(at * MAPPING_WORDS + word, value);
            }
        }
        fence(Ordering::Release);
    }

    fn write_rule(&mut self, index: u16, rule: Rule) {
        let [low, high] = rule.rbp_offset.to_le_bytes();
        let [a, b, c, d] = rule.cfa_offset.to_le_bytes();
        let word = u64::from_le_bytes([rule.cfa, rule.rbp, low, high, a, b, c, d]);
        self.rules.store(usize::from(index), word);
        fence(Ordering::Release);
    }

    fn set_space(&mut self, tgid: u32, space: Space, only: Only) -> anyhow::Result<bool> {
        let flags = match only {
            Only::Set => 0,
            Only::Replace => ONLY_EXISTING,
        };
        match self.spaces.insert(tgid, SpaceBytes(space), flags) {
            Ok(()) => Ok(true),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn remove_space(&mut self, tgid: u32) {
        // An error means that the kernel removed it before.
        drop(self.spaces.remove(&tgid));
    }
}

/// The one value of an array, mapped into memory.
struct Words {
    mapped: MmapRaw,
    words: usize,
}

impl Words {
    fn map(map: &MapData, words: usize) -> anyhow::Result<Self> {
        let bytes = map.info()?.value_size() as usize;
        anyhow::ensure!(bytes == words * size_of::<u64>(), "the value of a map has {bytes} bytes");
        let mapped = MmapOptions::new()
            .len(bytes)
            .map_raw(&map.fd().as_fd())
            .context("failed to map a table into memory")?;
        Ok(Self { mapped, words })
    }

    fn store(&self, at: usize, value: u64) {
        assert!(at < self.words, "ranges come from the arena of this map");
        // SAFETY: the mapping is page-aligned, writable, and has `words` words; the index is checked above; atomics may
        // be read by the kernel at any time.
        unsafe { &*self.mapped.as_mut_ptr().cast::<AtomicU64>().add(at) }
            .store(value, Ordering::Relaxed);
    }

    /// Stores half words.
    fn store_halves(&self, first: usize, values: &[u32]) {
        let fits = first.checked_add(values.len()).is_some_and(|end| end <= 2 * self.words);
        assert!(fits, "ranges come from the arena of this map");
        for (at, value) in (first..).zip(values) {
            // SAFETY: as in `store`; a word has two halves, each aligned to its size.
            unsafe { &*self.mapped.as_mut_ptr().cast::<AtomicU32>().add(at) }
                .store(*value, Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }
}
