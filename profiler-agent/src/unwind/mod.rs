//! Unwinds stacks of programs without frame pointers: makes tables of what compilers wrote about their frames.
//!
//! Every executable gets one [`Table`], whatever number of processes runs it. It is made by [`compact::build`] from
//! `.eh_frame`, `.debug_frame` and the procedure linkage tables, and kept on disk by its build id ([`cache`]). The kernel
//! reads the rows and rules in the form that the table has them in; `profiler_common::abi::row` tells how.
//!
//! ELF files come from anybody, and may change while they are read. So [`compact::build`] takes an [`elf::Source`], which
//! is read piece by piece into bounded buffers and never mapped: an `Executable` is one, and so is a byte slice such as the
//! image of the vDSO.

mod bytes;
pub mod elf;
mod pointer;
mod expression;
mod cfi;
mod eh_frame;
mod go;
mod plt;
mod entry;
mod writer;
pub mod compact;
mod table;
mod stored;
pub mod cache;
mod arena;
mod builder;
mod manager;
mod metrics;
mod placement;
mod report;
mod rules;
mod spaces;
mod tables;
mod tracked;
mod upload;

pub use manager::{UnwindOptions, Unwinder};
pub use metrics::UnwindMetrics;
pub use report::UnwindReport;
pub use table::{Segment, Table};
pub use upload::{Only, Upload};

#[cfg(test)]
mod compact_tests;
#[cfg(test)]
mod tests;
