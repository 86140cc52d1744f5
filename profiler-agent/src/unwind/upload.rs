//! Where tables and spaces are written: the maps of the kernel program, or memory in tests.

use profiler_common::abi::row::{MappingRow, Page, Rule, Space};

/// Writes what the kernel reads. Ranges are chosen by the caller; what it overwrites nobody reads any more.
pub trait Upload: Send {
    /// Adds a chunk of rows; chunks are numbered in the order in which they were added.
    ///
    /// # Errors
    ///
    /// When the kernel gives no memory for it.
    fn add_chunk(&mut self) -> anyhow::Result<()>;

    /// Writes rows into a chunk.
    ///
    /// # Errors
    ///
    /// When the chunk cannot be mapped into memory.
    fn write_rows(&mut self, chunk: u16, first: u32, rows: &[u32]) -> anyhow::Result<()>;

    /// Writes entries of the page arena.
    fn write_pages(&mut self, first: u32, pages: &[Page]);

    /// Writes entries of the mapping arena.
    fn write_mappings(&mut self, first: u32, rows: &[MappingRow]);

    /// Writes one rule.
    fn write_rule(&mut self, index: u16, rule: Rule);

    /// Gives a process a space. Returns whether it has it now: a process that has none yet gets none with
    /// [`Only::Replace`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses, as it does when too many processes have one.
    fn set_space(&mut self, tgid: u32, space: Space, only: Only) -> anyhow::Result<bool>;

    /// Takes the space of a process away, if it has one.
    fn remove_space(&mut self, tgid: u32);
}

/// Which processes get a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// Any.
    Set,
    /// One that has a space: it ran no other program since, for the kernel takes the space away then.
    Replace,
}

#[cfg(test)]
pub(super) mod memory {
    //! The kernel's lookups on maps in memory.

    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use profiler_common::abi::row::{
        CHUNK_ROWS, FIRST_PAGE_PENDING, MAPPING_ROWS_MAX, MAPPING_STEPS, PAGE_SHIFT, PAGES_MAX,
        ROW_STEPS, RULES_MAX, row_offset, row_rule,
    };
    use profiler_common::abi::sample::WalkEnd;
    use profiler_common::unwind::find_last;

    use super::*;

    /// What the kernel would see.
    #[derive(Debug)]
    pub(in crate::unwind) struct Memory {
        pub chunks: Vec<Vec<u32>>,
        pub chunks_max: usize,
        pub pages: Vec<Page>,
        pub mappings: Vec<MappingRow>,
        pub rules: Vec<Rule>,
        pub spaces: HashMap<u32, Space>,
    }

    /// Handle to it that both the test and the manager hold.
    #[derive(Debug, Clone)]
    pub(in crate::unwind) struct SharedMemory(pub Arc<Mutex<Memory>>);

    impl SharedMemory {
        pub(in crate::unwind) fn new(chunks_max: usize) -> Self {
            Self(Arc::new(Mutex::new(Memory {
                chunks: Vec::new(),
                chunks_max,
                pages: vec![Page::default(); PAGES_MAX],
                mappings: vec![MappingRow::default(); MAPPING_ROWS_MAX],
                rules: vec![Rule::NONE; RULES_MAX],
                spaces: HashMap::new(),
            })))
        }

        /// The rule that the kernel would find, or how a walk would end.
        pub(in crate::unwind) fn rule(&self, tgid: u32, pc: u64) -> Result<Rule, WalkEnd> {
            let Some(space) = self.space(tgid) else { return Err(WalkEnd::NoTables) };
            let header = self.0.lock().unwrap().mappings[space.header as usize];
            let is_current = header.start == u64::from(space.id) && space.mappings > 0;
            if is_current { self.rule_in(space, pc) } else { Err(WalkEnd::Unmapped) }
        }

        /// The space that a walk begins with.
        pub(in crate::unwind) fn space(&self, tgid: u32) -> Option<Space> {
            self.0.lock().unwrap().spaces.get(&tgid).copied()
        }

        /// What a walk finds that began with a space and looked at its header then.
        pub(in crate::unwind) fn rule_in(&self, space: Space, pc: u64) -> Result<Rule, WalkEnd> {
            let memory = self.0.lock().unwrap();
            let entry = |at: u32| memory.mappings[at as usize];
            let first = space.header + 1;
            let above = |at: u32| entry(first + at).start > pc;
            let found = entry(first + find_last(space.mappings, MAPPING_STEPS, above));
            if pc < found.start || pc >= found.end {
                return Err(WalkEnd::Unmapped);
            }
            if found.first_page == FIRST_PAGE_PENDING {
                return Err(WalkEnd::NoTables);
            }
            let relative = pc.wrapping_sub(found.bias);
            let number = relative >> PAGE_SHIFT;
            if number >= u64::from(found.pages) {
                return Ok(Rule::NONE);
            }
            let page = memory.pages[found.first_page as usize + number as usize];
            if page.rows == 0 {
                return Ok(Rule::NONE);
            }
            let row =
                |at: u32| memory.chunks[usize::from(page.chunk)][(page.first_row + at) as usize];
            let above = |at: u32| row_offset(row(at)) > relative as u16;
            let found = row(find_last(u32::from(page.rows), ROW_STEPS, above));
            Ok(memory.rules[usize::from(row_rule(found))])
        }

        /// What the kernel does when a process runs another program or ends.
        pub(in crate::unwind) fn kernel_removes(&self, tgid: u32) {
            self.0.lock().unwrap().spaces.remove(&tgid);
        }

        /// What the kernel does when a process gets a child.
        pub(in crate::unwind) fn kernel_copies(&self, parent: u32, child: u32) {
            if let Some(space) = self.space(parent) {
                let space = Space { start_ns: child.into(), ..space };
                self.with(|memory| memory.spaces.insert(child, space));
            }
        }

        fn with<T>(&self, act: impl FnOnce(&mut Memory) -> T) -> T {
            act(&mut self.0.lock().unwrap())
        }
    }

    impl Upload for SharedMemory {
        fn add_chunk(&mut self) -> anyhow::Result<()> {
            self.with(|memory| {
                anyhow::ensure!(memory.chunks.len() < memory.chunks_max, "out of memory");
                memory.chunks.push(vec![0; CHUNK_ROWS]);
                Ok(())
            })
        }

        fn write_rows(&mut self, chunk: u16, first: u32, rows: &[u32]) -> anyhow::Result<()> {
            let range = first as usize..first as usize + rows.len();
            self.with(|memory| memory.chunks[usize::from(chunk)][range].copy_from_slice(rows));
            Ok(())
        }

        fn write_pages(&mut self, first: u32, pages: &[Page]) {
            let first = first as usize;
            self.0.lock().unwrap().pages[first..first + pages.len()].copy_from_slice(pages);
        }

        fn write_mappings(&mut self, first: u32, rows: &[MappingRow]) {
            let first = first as usize;
            self.0.lock().unwrap().mappings[first..first + rows.len()].copy_from_slice(rows);
        }

        fn write_rule(&mut self, index: u16, rule: Rule) {
            self.0.lock().unwrap().rules[usize::from(index)] = rule;
        }

        fn set_space(&mut self, tgid: u32, space: Space, only: Only) -> anyhow::Result<bool> {
            self.with(|memory| {
                let sets = only == Only::Set || memory.spaces.contains_key(&tgid);
                if sets {
                    memory.spaces.insert(tgid, space);
                }
                Ok(sets)
            })
        }

        fn remove_space(&mut self, tgid: u32) {
            self.0.lock().unwrap().spaces.remove(&tgid);
        }
    }
}
