//! Makes the table of an executable.

use std::io;

use super::Table;
use super::elf::Source;

/// Why an executable has no table.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It could not be read.
    #[error("failed to read the executable")]
    Read(#[from] io::Error),
    /// It is no 64-bit ELF file for x86-64, or its headers make no sense.
    #[error("not an ELF file for x86-64")]
    NotElf,
    /// It is larger than what is looked at.
    #[error("the executable or one of its tables is too large")]
    TooLarge,
}

/// Makes the table of an executable. One that says nothing about its frames gives a table without rows.
///
/// # Errors
///
/// When it cannot be read, is no ELF file for x86-64, or is beyond the limits.
pub fn build<S: Source + ?Sized>(_source: &S) -> Result<Table, BuildError> {
    Err(BuildError::NotElf)
}
