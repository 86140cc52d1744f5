//! Turns addresses into (executable, offset) pairs.
//!
//! It names nothing: that is for [`symbolize`](crate::symbolize).

use std::sync::Arc;

use profiler_common::abi::sample::WalkEnd;

use crate::drain::RawSample;
use crate::process::{Executable, ProcessKey, ProcessTable};

/// A stack whose addresses no longer depend on where the kernel put things.
#[derive(Debug, Clone)]
pub struct LocatedSample {
    /// The process.
    pub process: ProcessKey,
    /// User frames, leaf first.
    pub user: Vec<Located>,
    /// Kernel addresses, leaf first; return addresses already point into the call before them.
    pub kernel: Vec<u64>,
    /// How the user walk ended.
    pub walk_end: WalkEnd,
    /// Number of samples.
    pub count: u64,
}

/// Where a user address lies.
#[derive(Debug, Clone)]
pub enum Located {
    /// In an executable or library that is held open.
    File {
        /// The executable or library.
        executable: Arc<Executable>,
        /// Offset in its file.
        offset: u64,
    },
    /// In an executable or library that could not be opened.
    Unopened {
        /// File name without its folder.
        module: Arc<str>,
        /// Offset in the file.
        offset: u64,
    },
    /// In the vDSO.
    Vdso {
        /// Offset in its image.
        offset: u64,
    },
    /// In memory that no file backs: code made at run time.
    Anonymous {
        /// The address.
        address: u64,
        /// Offset in its mapping, which depends less on chance than the address.
        offset: u64,
        /// Number of the process inside its own pid namespace, which names its perf map.
        namespace_tgid: u32,
    },
    /// In no mapping of the process: the walk went astray, or the mapping is gone.
    Unmapped,
    /// The process ended before its mappings could be read.
    Exited,
}

/// Locates the addresses of a sample; a return address is looked up one byte before, in the call that it returns from.
#[must_use]
pub fn locate(sample: &RawSample, table: &ProcessTable) -> LocatedSample {
    let user = calls(&sample.user).map(|address| table.locate(sample.process, address)).collect();
    LocatedSample {
        process: sample.process,
        user,
        kernel: calls(&sample.kernel).collect(),
        walk_end: sample.walk_end,
        count: sample.count,
    }
}

/// The addresses to look up: the leaf as it is, and each return address less one.
fn calls(addresses: &[u64]) -> impl Iterator<Item = u64> + '_ {
    addresses
        .iter()
        .enumerate()
        .map(|(index, address)| if index == 0 { *address } else { address.saturating_sub(1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::TableOptions;

    proptest! {
        #[test]
        fn every_address_of_a_sample_is_kept_in_its_place(
            user in proptest::collection::vec(any::<u64>(), 0..20),
            kernel in proptest::collection::vec(any::<u64>(), 0..20),
            count in any::<u64>(),
        ) {
            let sample = RawSample {
                // No process has this number, so nothing can be known about it.
                process: ProcessKey { tgid: u32::MAX, start_ns: 1 },
                comm: String::new(),
                cgroup_id: 0,
                kernel: kernel.clone().into(),
                user: user.clone().into(),
                walk_end: WalkEnd::Root,
                count,
            };
            let located = locate(&sample, &ProcessTable::new(TableOptions::default()));
            prop_assert_eq!(located.count, count);
            prop_assert_eq!(located.user.len(), user.len());
            prop_assert!(located.user.iter().all(|place| matches!(place, Located::Exited)));
            prop_assert_eq!(located.kernel.len(), kernel.len());
            for (index, (found, address)) in located.kernel.iter().zip(&kernel).enumerate() {
                let expected = if index == 0 { *address } else { address.saturating_sub(1) };
                prop_assert_eq!(*found, expected);
            }
        }
    }
}
