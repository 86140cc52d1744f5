//! Turns the kernel's growing syscall histograms into those of one window.

mod syscalls;

pub use syscalls::{is_waiting, syscall_name};

use std::collections::{BTreeMap, HashMap};

use profiler_common::abi::latency::{
    ERRNOS, LatencySlot, SLOT_IA32, SYSCALL_NUMBER_MAX, slot_syscall, slot_tgid,
};
use profiler_common::profile::LatencyHistogram;

use crate::process::ProcessKey;

/// Calls of one syscall by one process in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallWindow {
    /// The process.
    pub process: ProcessKey,
    /// Name of the syscall, or `syscall_NUMBER`; `ia32_syscall_NUMBER` for one of a 32-bit process.
    pub name: String,
    /// Whether the call waits by design (`epoll_wait`, `futex`, `nanosleep`).
    pub waiting: bool,
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (positive errno, calls), by rising errno; 0 stands for an unknown one.
    pub errors: Vec<(u32, u64)>,
}

/// Names a slot for as long as it is not freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SlotId {
    /// Index into the memory-mapped slots.
    Mapped(u32),
    /// Key in the overflow table.
    Overflow(u64),
}

/// Where the growing histograms lie: the kernel's maps, or a test's.
pub trait SlotSource: Send {
    /// Hands over a copy of every slot that is not free.
    fn read_slots(&mut self, each: &mut dyn FnMut(SlotId, &LatencySlot));

    /// Frees a slot whose process is gone.
    fn free_slot(&mut self, slot: SlotId);
}

/// Takes the differences between two looks at the slots.
pub struct LatencyReader {
    slots: Box<dyn SlotSource>,
    /// What each slot held at the last look: as many entries as there are slots in the kernel's maps, at most.
    before: HashMap<SlotId, Counted>,
}

/// What a slot held, without its zeros: a slot takes 3 kB, and few of its counters are ever used.
struct Counted {
    key: u64,
    start_ns: u64,
    sum_ns: u64,
    max_ns: u64,
    buckets: Sparse,
    errors: Sparse,
}

impl Counted {
    fn of(slot: &LatencySlot) -> Self {
        Self {
            key: slot.key,
            start_ns: slot.start_ns,
            sum_ns: slot.sum_ns,
            max_ns: slot.max_ns,
            buckets: Sparse::of(&slot.buckets),
            errors: Sparse::of(&slot.errors),
        }
    }
}

/// The counters that are not zero: (index, count), by index.
struct Sparse(Box<[(u16, u32)]>);

impl Sparse {
    fn of(counters: &[u32]) -> Self {
        let indexed = (0..).zip(counters.iter().copied());
        Self(indexed.filter(|(_, count)| *count > 0).collect())
    }

    fn get(&self, index: usize) -> u32 {
        let found = self.0.binary_search_by_key(&index, |(index, _)| usize::from(*index));
        found.map_or(0, |at| self.0[at].1)
    }
}

impl std::fmt::Debug for LatencyReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LatencyReader").field("slots", &self.before.len()).finish()
    }
}

impl LatencyReader {
    /// Starts to read; what the slots hold already belongs to the first window.
    #[must_use]
    pub fn new(slots: Box<dyn SlotSource>) -> Self {
        Self { slots, before: HashMap::new() }
    }

    /// Calls since the last look, one entry for each process and syscall, by process and name.
    ///
    /// Slots of processes that are not `alive` any more are freed after this last look at them: the next process with
    /// such a number would count into them.
    pub fn take_window(&mut self, alive: &dyn Fn(ProcessKey) -> bool) -> Vec<SyscallWindow> {
        let mut windows = BTreeMap::new();
        // A process has a slot for each of its syscalls and CPUs.
        let mut living = HashMap::new();
        let mut dead = Vec::new();
        let before = &mut self.before;
        self.slots.read_slots(&mut |id, slot| {
            let Some(nr) = slot_syscall(slot.key) else { return };
            let earlier = before.insert(id, Counted::of(slot));
            // A slot that was freed and claimed again starts at zero.
            let earlier = earlier
                .filter(|earlier| earlier.key == slot.key && earlier.start_ns == slot.start_ns);
            add_difference(&mut windows, nr, slot, earlier.as_ref());
            let process = ProcessKey { tgid: slot_tgid(slot.key), start_ns: slot.start_ns };
            if !*living.entry(process).or_insert_with(|| alive(process)) {
                dead.push(id);
            }
        });
        for id in dead {
            self.slots.free_slot(id);
            self.before.remove(&id);
        }
        windows.into_values().filter(|window| window.histogram.calls() > 0).collect()
    }
}

type Windows = BTreeMap<(ProcessKey, u32, bool), SyscallWindow>;

/// Adds what one slot counted since the earlier look. Counters may wrap between two looks, so they are subtracted so.
fn add_difference(windows: &mut Windows, nr: u32, slot: &LatencySlot, earlier: Option<&Counted>) {
    let process = ProcessKey { tgid: slot_tgid(slot.key), start_ns: slot.start_ns };
    let ia32 = slot.flags & SLOT_IA32 != 0;
    let window =
        windows.entry((process, nr, ia32)).or_insert_with(|| empty_window(process, nr, ia32));
    let mut highest = None;
    // A counter that is zero was zero before, unless it wrapped to exactly that.
    for (bucket, calls) in slot.buckets.iter().enumerate().filter(|(_, calls)| **calls > 0) {
        let calls = calls.wrapping_sub(earlier.map_or(0, |earlier| earlier.buckets.get(bucket)));
        if calls > 0 {
            highest = Some(bucket as u32);
            window.histogram.add(bucket as u32, u64::from(calls));
        }
    }
    window.histogram.sum_ns += slot.sum_ns.wrapping_sub(earlier.map_or(0, |slot| slot.sum_ns));
    if let Some(highest) = highest {
        let max_ns = window_max_ns(slot, earlier, highest);
        window.histogram.max_ns = window.histogram.max_ns.max(max_ns);
    }
    for errno in 0..ERRNOS {
        let before = earlier.map_or(0, |earlier| earlier.errors.get(errno));
        add_errors(&mut window.errors, errno as u32, slot.errors[errno].wrapping_sub(before));
    }
}

/// The kernel keeps the maximum since the slot was claimed. When it did not rise in this window, all that is known is
/// the highest bucket that got a call.
fn window_max_ns(slot: &LatencySlot, earlier: Option<&Counted>, highest: u32) -> u64 {
    use profiler_common::abi::latency::bucket_floor_ns;
    if earlier.is_none_or(|earlier| slot.max_ns > earlier.max_ns) {
        return slot.max_ns;
    }
    slot.max_ns.min(bucket_floor_ns(highest + 1) - 1)
}

fn add_errors(errors: &mut Vec<(u32, u64)>, errno: u32, calls: u32) {
    if calls == 0 {
        return;
    }
    match errors.binary_search_by_key(&errno, |(errno, _)| *errno) {
        Ok(at) => errors[at].1 += u64::from(calls),
        Err(at) => errors.insert(at, (errno, u64::from(calls))),
    }
}

fn empty_window(process: ProcessKey, nr: u32, ia32: bool) -> SyscallWindow {
    let name = match syscall_name(nr) {
        _ if ia32 => format!("ia32_syscall_{nr}"),
        Some(name) => name.to_owned(),
        None => format!("syscall_{nr}"),
    };
    let waiting = nr <= SYSCALL_NUMBER_MAX && !ia32 && is_waiting(&name);
    SyscallWindow {
        process,
        name,
        waiting,
        histogram: LatencyHistogram::default(),
        errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_common::abi::latency::{BUCKETS, bucket_of, slot_key};
    use std::sync::{Arc, Mutex};

    type Table = Arc<Mutex<BTreeMap<SlotId, LatencySlot>>>;

    struct TableSource(Table);

    impl SlotSource for TableSource {
        fn read_slots(&mut self, each: &mut dyn FnMut(SlotId, &LatencySlot)) {
            for (id, slot) in &*self.0.lock().unwrap() {
                each(*id, slot);
            }
        }

        fn free_slot(&mut self, slot: SlotId) {
            self.0.lock().unwrap().remove(&slot);
        }
    }

    fn record(table: &Table, id: SlotId, nr: u32, latency_ns: u64, errno: usize) {
        let mut table = table.lock().unwrap();
        let slot = table.entry(id).or_insert(LatencySlot {
            key: slot_key(7, nr),
            start_ns: 5,
            sum_ns: 0,
            max_ns: 0,
            flags: 0,
            buckets: [0; BUCKETS],
            errors: [0; ERRNOS],
        });
        let bucket = bucket_of(latency_ns) as usize;
        slot.buckets[bucket] = slot.buckets[bucket].wrapping_add(1);
        slot.sum_ns += latency_ns;
        slot.max_ns = slot.max_ns.max(latency_ns);
        if errno > 0 {
            slot.errors[errno] += 1;
        }
        drop(table);
    }

    fn reader() -> (Table, LatencyReader) {
        let table = Table::default();
        (Arc::clone(&table), LatencyReader::new(Box::new(TableSource(table))))
    }

    #[test]
    fn a_window_holds_only_what_came_since_the_last_one() {
        let (table, mut reader) = reader();
        record(&table, SlotId::Mapped(0), 1, 5_000, 0);
        assert_eq!(reader.take_window(&|_| true)[0].histogram.calls(), 1);
        record(&table, SlotId::Mapped(0), 1, 900, 9);
        let windows = reader.take_window(&|_| true);
        assert_eq!(windows.len(), 1);
        assert_eq!(windows[0].name, "write");
        assert_eq!(windows[0].process, ProcessKey { tgid: 7, start_ns: 5 });
        assert_eq!((windows[0].histogram.calls(), windows[0].histogram.sum_ns), (1, 900));
        assert!(windows[0].histogram.max_ns < 1_000, "the earlier maximum is not this window's");
        assert_eq!(windows[0].errors, [(9, 1)]);
        assert!(reader.take_window(&|_| true).is_empty());
    }

    #[test]
    fn slots_of_one_syscall_are_added_whatever_their_cpu_or_table() {
        let (table, mut reader) = reader();
        record(&table, SlotId::Mapped(0), 0, 100, 4);
        record(&table, SlotId::Mapped(90), 0, 200, 0);
        record(&table, SlotId::Overflow(slot_key(7, 0)), 0, 300, 4);
        let windows = reader.take_window(&|_| true);
        assert_eq!(windows.len(), 1);
        assert_eq!((windows[0].histogram.calls(), windows[0].histogram.max_ns), (3, 300));
        assert_eq!(windows[0].errors, [(4, 2)]);
    }

    #[test]
    fn a_dead_process_is_read_once_more_and_then_freed() {
        let (table, mut reader) = reader();
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        assert_eq!(reader.take_window(&|_| false).len(), 1);
        assert!(table.lock().unwrap().is_empty());
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        assert_eq!(reader.take_window(&|_| true)[0].histogram.calls(), 1, "claimed anew");
    }

    #[test]
    fn the_slots_of_a_number_that_is_used_again_are_freed() {
        let (table, mut reader) = reader();
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        let later_process = |key: ProcessKey| key.start_ns != 5;
        assert_eq!(reader.take_window(&later_process).len(), 1);
        assert!(table.lock().unwrap().is_empty());
    }

    #[test]
    fn a_counter_that_wrapped_still_gives_the_difference() {
        let (table, mut reader) = reader();
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        let bucket = bucket_of(100) as usize;
        table.lock().unwrap().get_mut(&SlotId::Mapped(0)).unwrap().buckets[bucket] = u32::MAX;
        reader.take_window(&|_| true);
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        record(&table, SlotId::Mapped(0), 0, 100, 0);
        assert_eq!(reader.take_window(&|_| true)[0].histogram.calls(), 2);
    }

    #[test]
    fn a_32_bit_call_keeps_its_number_because_its_names_differ() {
        let window = empty_window(ProcessKey { tgid: 7, start_ns: 0 }, 162, true);
        assert_eq!((window.name.as_str(), window.waiting), ("ia32_syscall_162", false));
    }
}
