//! Remembers the names of addresses, so that each is looked up once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use profiler_common::profile::Frame;

/// Most addresses remembered: at about 50 bytes each besides the names, 5 MB. A busy host touches 20,000 to 50,000
/// unique addresses.
pub(super) const NAMES_MAX: usize = 98_304;

/// Most bytes of names remembered: names may have kilobytes each, and anybody can make some. A function with its
/// module takes about 300.
const NAMES_BYTES_MAX: usize = 12 << 20;

/// An address that means the same for as long as this program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum NameKey {
    /// In an executable, by its serial and the offset in its file.
    File(u64, u64),
    /// In the kernel.
    Kernel(u64),
}

/// The frames at one address, outermost first.
pub(super) type Names = Arc<[Frame]>;

/// A cache of two generations: what was not used while half the limit was filled with newer names is dropped.
///
/// So names of executables that no longer run go by themselves. Addresses of one function share its name.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    young: HashMap<NameKey, Names>,
    young_names: HashSet<Names>,
    young_bytes: usize,
    old: HashMap<NameKey, Names>,
}

impl NameCache {
    /// Finds the names of an address, and keeps them from growing old.
    pub(super) fn get(&mut self, key: NameKey) -> Option<Names> {
        if let Some(names) = self.young.get(&key) {
            return Some(Arc::clone(names));
        }
        let names = self.old.remove(&key)?;
        Some(self.insert(key, names))
    }

    /// Remembers the names of an address, and gives those to use: equal ones may be known.
    pub(super) fn insert(&mut self, key: NameKey, names: Names) -> Names {
        let (names, bytes) = match self.young_names.get(&names) {
            Some(known) => (Arc::clone(known), 0),
            None => (Arc::clone(&names), bytes_of(&names)),
        };
        let full = self.young_bytes + bytes > NAMES_BYTES_MAX / 2;
        if full || self.young.len() >= NAMES_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_names = HashSet::new();
            self.young_bytes = 0;
        }
        if self.young_names.insert(Arc::clone(&names)) {
            self.young_bytes += bytes_of(&names);
        }
        self.young.insert(key, Arc::clone(&names));
        names
    }

    /// Forgets the names of kernel addresses, after other code was loaded there.
    pub(super) fn forget_kernel(&mut self) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|key, _| !matches!(key, NameKey::Kernel(_)));
        }
    }
}

fn bytes_of(names: &[Frame]) -> usize {
    let texts = names.iter().map(|frame| {
        let Frame { function, module, file, build_id, .. } = frame;
        function.len() + module.len() + file.len() + build_id.len()
    });
    size_of_val(names) + texts.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_function_share_its_name() {
        let mut cache = NameCache::default();
        let function = || -> Names { Arc::new([Frame::marker("f")]) };
        let first = cache.insert(NameKey::File(1, 0), function());
        let second = cache.insert(NameKey::File(1, 8), function());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(cache.young_bytes, bytes_of(&first));
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = NameCache::default();
        let names: Names = Arc::new([]);
        let used = NameKey::Kernel(1);
        let unused = NameKey::Kernel(2);
        cache.insert(used, Arc::clone(&names));
        cache.insert(unused, Arc::clone(&names));
        for offset in 0..2 * NAMES_MAX as u64 {
            cache.insert(NameKey::File(1, offset), Arc::clone(&names));
            assert!(offset % 1000 != 0 || cache.get(used).is_some());
            assert!(cache.young.len() + cache.old.len() <= NAMES_MAX);
        }
        assert!(cache.get(unused).is_none());
        cache.forget_kernel();
        assert!(cache.get(used).is_none());
    }

    #[test]
    fn long_names_are_bounded_by_their_bytes() {
        let mut cache = NameCache::default();
        let long = "x".repeat(1 << 20);
        for offset in 0..200 {
            let name = format!("{offset}{long}");
            cache.insert(NameKey::File(1, offset), Arc::new([Frame::marker(&name)]));
            let kept = cache.young.values().chain(cache.old.values());
            assert!(kept.map(|names| bytes_of(names)).sum::<usize>() <= NAMES_BYTES_MAX);
        }
        assert!(cache.get(NameKey::File(1, 199)).is_some());
        assert!(cache.get(NameKey::File(1, 0)).is_none());
    }
}
