//! Questions that need more than one row: the whole profile of a selection, and its syscalls.

use std::collections::BTreeMap;

use profiler_common::profile::Profile;

use crate::store::{Selection, Store, StoreError, TimeRange, UnitSyscall, WindowProfile};

/// Merges all samples of a selection into one profile.
///
/// # Errors
///
/// When the store cannot be read, or the answer does not fit in memory.
pub fn merge(
    store: &Store,
    selection: &Selection,
    range: TimeRange,
) -> Result<Profile, StoreError> {
    let windows = store.unit_windows(selection, range, u64::MAX)?;
    Ok(WindowProfile::merge(windows.iter().map(|window| &window.profile)))
}

/// Merges the syscalls of a selection by name, by falling time spent; waiting calls come last.
///
/// # Errors
///
/// When the store cannot be read, or the answer does not fit in memory.
pub fn syscalls(
    store: &Store,
    selection: &Selection,
    range: TimeRange,
) -> Result<Vec<UnitSyscall>, StoreError> {
    let mut merged: BTreeMap<(bool, String), UnitSyscall> = BTreeMap::new();
    for window in store.unit_windows(selection, range, u64::MAX)? {
        for syscall in window.syscalls {
            match merged.get_mut(&(syscall.waiting, syscall.name.clone())) {
                Some(known) => known.merge(&syscall),
                None => {
                    merged.insert((syscall.waiting, syscall.name.clone()), syscall);
                }
            }
        }
    }
    let mut merged: Vec<UnitSyscall> = merged.into_values().collect();
    merged.sort_by_key(|syscall| (syscall.waiting, std::cmp::Reverse(syscall.histogram.sum_ns)));
    Ok(merged)
}
