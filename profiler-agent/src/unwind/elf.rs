//! Reads what is needed of an ELF file, piece by piece and bounded.

use std::borrow::Cow;
use std::io;

use crate::process::Executable;

/// Where an ELF file is read from.
pub trait Source {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Reads at most `limit` bytes at an offset; fewer at the end.
    ///
    /// # Errors
    ///
    /// When reading fails.
    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>>;
}

impl Source for Executable {
    fn size(&self) -> u64 {
        self.id.size
    }

    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>> {
        Self::read(self, offset, limit).map(Cow::Owned)
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>> {
        let size = self.len();
        let start = usize::try_from(offset).unwrap_or(size).min(size);
        let end = start.saturating_add(usize::try_from(limit).unwrap_or(size)).min(size);
        Ok(Cow::Borrowed(&self[start..end]))
    }
}
