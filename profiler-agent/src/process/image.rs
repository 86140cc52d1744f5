//! What one program has mapped, and the opened files behind it.

use std::sync::{Arc, Weak};

use super::ProcessKey;
use super::executable::{EXECUTABLES_MAX, Executable, ExecutableCache};
use super::facts::{self, Status};
use super::mappings::{Mapping, MappingKind, find_mapping, read_mappings};
use crate::normalize::Located;

/// Executable mappings of one program, sorted by address.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The process just before its mappings were read; `None` when it was gone.
    status: Option<Status>,
    mappings: Vec<Mapping>,
    /// One for each mapping.
    files: Vec<Opened>,
}

/// Whether the file behind a mapping was opened.
#[derive(Debug, Clone, Default)]
enum Opened {
    #[default]
    NotYet,
    Failed,
    /// Held open by the cache; the cache may have closed it since.
    Open(Weak<Executable>),
}

impl Image {
    /// Reads the mappings of a process, as many as `bytes_max` allows, and opens what is behind them, while it lives.
    pub(super) fn read(
        key: ProcessKey,
        executables: &mut ExecutableCache,
        bytes_max: usize,
    ) -> Self {
        let tgid = key.tgid;
        let status = facts::read_status(key);
        let mappings = facts::open_maps(tgid).and_then(|maps| read_mappings(maps, bytes_max));
        let mappings = mappings.unwrap_or_default();
        let mut files = vec![Opened::NotYet; mappings.len()];
        // More than the cache holds would only push one another out; the rest is opened when an address needs it.
        for (mapping, file) in mappings.iter().zip(&mut files).take(EXECUTABLES_MAX / 2) {
            if matches!(mapping.kind, MappingKind::File | MappingKind::Deleted) {
                *file = Opened::from(executables.open(tgid, mapping).ok().as_ref());
            }
        }
        Self { status, mappings, files }
    }

    /// Whether a process has the same mappings now as when they were read.
    pub(super) fn is_current(&self, key: ProcessKey) -> bool {
        /// More than one mapping takes, so that a new one is seen.
        const ONE_MORE: usize = 8192;
        let maps = facts::open_maps(key.tgid);
        let maps = maps.and_then(|maps| read_mappings(maps, self.bytes() + ONE_MORE));
        let now = facts::read_status(key);
        now.is_some() && now == self.status && maps.is_ok_and(|mappings| mappings == self.mappings)
    }

    /// The process just before its mappings were read.
    pub(super) fn status(&self) -> Option<Status> {
        self.status
    }

    /// All mappings with the files behind them, as far as they can be opened.
    pub(super) fn files(
        &mut self,
        open: &mut dyn FnMut(&Mapping) -> Option<Arc<Executable>>,
    ) -> Vec<(Mapping, Option<Arc<Executable>>)> {
        let mut all = Vec::with_capacity(self.mappings.len());
        for (mapping, file) in self.mappings.iter().zip(&mut self.files) {
            let is_file = matches!(mapping.kind, MappingKind::File | MappingKind::Deleted);
            let mut known = file.get();
            if is_file && known.is_none() && !matches!(file, Opened::Failed) {
                known = open(mapping);
                *file = Opened::from(known.as_ref());
            }
            all.push((mapping.clone(), known));
        }
        all
    }

    /// Memory that its mappings take.
    pub(super) fn bytes(&self) -> usize {
        self.mappings.iter().map(Mapping::bytes).sum()
    }

    /// Whether nothing is mapped, as in a process that is ending.
    pub(super) fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// Index of the mapping that holds an address.
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        find_mapping(&self.mappings, address)
    }

    /// The opened file that has a path, as the process sees it.
    pub(super) fn find_file(&self, path: &[u8]) -> Option<Arc<Executable>> {
        let index = self.mappings.iter().position(|mapping| mapping.path == path)?;
        self.files.get(index)?.get()
    }

    /// Lets files that could not be opened be tried again.
    pub(super) fn retry(&mut self) {
        for file in &mut self.files {
            if matches!(file, Opened::Failed) {
                *file = Opened::NotYet;
            }
        }
    }

    /// Locates an address inside the mapping with that index.
    pub(super) fn locate(
        &mut self,
        index: usize,
        address: u64,
        open: &mut dyn FnMut(&Mapping) -> Option<Arc<Executable>>,
    ) -> Located {
        let (Some(mapping), Some(file)) = (self.mappings.get(index), self.files.get_mut(index))
        else {
            return Located::Unmapped;
        };
        let inside = address.saturating_sub(mapping.start);
        let offset = inside.saturating_add(mapping.offset);
        let anonymous = Located::Anonymous { address, offset: inside, namespace_tgid: 0 };
        match mapping.kind {
            MappingKind::Vdso => return Located::Vdso { offset },
            MappingKind::Anonymous | MappingKind::Vsyscall => return anonymous,
            MappingKind::File | MappingKind::Deleted => {}
        }
        let mut known = file.get();
        if known.is_none() && !matches!(file, Opened::Failed) {
            known = open(mapping);
            *file = Opened::from(known.as_ref());
        }
        match known {
            // Runtimes map files without a name and format for code that they make.
            Some(executable) if !executable.is_elf && mapping.kind == MappingKind::Deleted => {
                anonymous
            }
            Some(executable) => Located::File { executable, offset },
            None => Located::Unopened { module: mapping.file_name().into(), offset },
        }
    }
}

impl Opened {
    fn get(&self) -> Option<Arc<Executable>> {
        match self {
            Self::Open(executable) => executable.upgrade(),
            Self::NotYet | Self::Failed => None,
        }
    }
}

impl From<Option<&Arc<Executable>>> for Opened {
    fn from(executable: Option<&Arc<Executable>>) -> Self {
        executable.map_or(Self::Failed, |executable| Self::Open(Arc::downgrade(executable)))
    }
}

#[cfg(test)]
impl Image {
    /// First address of a mapping that a file backs.
    pub(super) fn first_file(&self) -> u64 {
        let file = self.mappings.iter().find(|mapping| mapping.kind == MappingKind::File);
        file.expect("every program is a file").start
    }
}
