//! Questions that need more than one row: the whole profile of a selection, and its syscalls.

use profiler_common::profile::Profile;

use crate::store::{Selection, Store, StoreError, TimeRange, UnitSyscall, WindowProfile};

/// Merges all samples of a selection into one profile.
///
/// # Errors
///
/// When the store cannot be read, or the answer does not fit in memory.
pub fn merge(
    store: &dyn Store,
    selection: &Selection,
    range: TimeRange,
) -> Result<Profile, StoreError> {
    Ok(WindowProfile::merge([&store.merge(selection, range)?.profile]))
}

/// Merges the syscalls of a selection by name, by falling time spent; waiting calls come last.
///
/// # Errors
///
/// When the store cannot be read, or the answer does not fit in memory.
pub fn syscalls(
    store: &dyn Store,
    selection: &Selection,
    range: TimeRange,
) -> Result<Vec<UnitSyscall>, StoreError> {
    let mut merged = store.merge(selection, range)?.syscalls;
    merged.sort_by_key(|syscall| (syscall.waiting, std::cmp::Reverse(syscall.histogram.sum_ns)));
    Ok(merged)
}
