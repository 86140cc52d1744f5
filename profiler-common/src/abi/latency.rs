//! Log-linear latency histograms: the same buckets in the kernel, the agent and the collector.
//!
//! Below 16 ns each nanosecond has its bucket; above, every power of two is cut into 16 equal parts, so a bucket is at
//! most 1/16 (6.25 %) of its lower edge wide.

/// Parts of each power of two, as a power of two.
pub const SUB_BUCKET_BITS: u32 = 4;

/// Parts of each power of two.
pub const SUB_BUCKETS: u32 = 1 << SUB_BUCKET_BITS;

/// Values of 2^38 ns (275 s) and above share the last bucket.
pub const VALUE_BITS_MAX: u32 = 38;

/// Number of buckets.
pub const BUCKETS: usize = ((VALUE_BITS_MAX - SUB_BUCKET_BITS + 1) * SUB_BUCKETS) as usize;

/// Errors are counted for errno 1 to 133; 0 stands for any other.
pub const ERRNOS: usize = 134;

/// Largest value of `nr` that is counted; larger ones are no calls of this architecture.
pub const SYSCALL_NUMBER_MAX: u32 = 1023;

/// Histogram and error counts of one syscall of one process on one CPU.
///
/// Counters only grow; the agent takes differences. A slot with `key` 0 is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct LatencySlot {
    /// `tgid << 32 | (syscall number + 1)`; 0 for a free slot.
    pub key: u64,
    /// Start of the process in nanoseconds since boot (`CLOCK_BOOTTIME`); 0 where the kernel gave none.
    pub start_ns: u64,
    /// Sum of all latencies in nanoseconds.
    pub sum_ns: u64,
    /// Largest latency in nanoseconds.
    pub max_ns: u64,
    /// [`SLOT_IA32`], or 0.
    pub flags: u64,
    /// Calls by latency.
    pub buckets: [u32; BUCKETS],
    /// Calls by positive errno; index 0 holds those above [`ERRNOS`].
    pub errors: [u32; ERRNOS],
}

/// The first call of the slot came from 32-bit code, whose syscalls have other numbers.
///
/// It is looked at only once for each slot: looking at each call would cost more than all the rest.
pub const SLOT_IA32: u64 = 1;

/// A call start packed into one word, so that one 8-byte store writes it: `tag:6 | syscall:10 | time:48`.
///
/// The tag is what the index of the array does not hold of the tid (a tid has at most 22 bits). The time wraps after
/// 2^48 ns (3.2 days); a call that takes longer than that is measured too short. 0 stands for no call.
pub mod call_start {
    /// Bits of the tid that make the index.
    pub const INDEX_BITS: u32 = 16;
    /// Bits of the time.
    pub const TIME_BITS: u32 = 48;
    /// Bits of the syscall number.
    pub const NUMBER_BITS: u32 = 10;

    const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

    /// Packs a start; never 0, because the lowest bit of the time is set.
    #[inline(always)]
    #[must_use]
    pub const fn pack(tid: u32, nr: u32, time_ns: u64) -> u64 {
        tag(tid) | ((nr as u64) << TIME_BITS) | (time_ns & TIME_MASK) | 1
    }

    /// Whether the start belongs to this thread, given that it lies at the thread's index.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(start: u64, tid: u32) -> bool {
        start != 0 && (start ^ tag(tid)) >> (TIME_BITS + NUMBER_BITS) == 0
    }

    /// The same call, as a call of another thread.
    #[inline(always)]
    #[must_use]
    pub const fn with_tid(start: u64, tid: u32) -> u64 {
        tag(tid) | (start & ((1 << (TIME_BITS + NUMBER_BITS)) - 1))
    }

    /// Number of the syscall.
    #[inline(always)]
    #[must_use]
    pub const fn number(start: u64) -> u32 {
        (start >> TIME_BITS) as u32 & super::SYSCALL_NUMBER_MAX
    }

    /// Time since the start in nanoseconds, one too many at most.
    #[inline(always)]
    #[must_use]
    pub const fn elapsed_ns(start: u64, now_ns: u64) -> u64 {
        (now_ns | 1).wrapping_sub(start) & TIME_MASK
    }

    const fn tag(tid: u32) -> u64 {
        ((tid >> INDEX_BITS) as u64) << (TIME_BITS + NUMBER_BITS)
    }
}

const _: () = assert!(SYSCALL_NUMBER_MAX == (1 << call_start::NUMBER_BITS) - 1);
const _: () = assert!(super::CALL_STARTS == 1 << call_start::INDEX_BITS);
const _: () = assert!(BUCKETS == 560);
const _: () = assert!(size_of::<LatencySlot>() == 40 + 4 * (BUCKETS + ERRNOS));
const _: () = assert!(size_of::<LatencySlot>().is_multiple_of(8));

/// Packs process and syscall into a slot key, which is never 0.
#[inline(always)]
#[must_use]
pub const fn slot_key(tgid: u32, nr: u32) -> u64 {
    ((tgid as u64) << 32) | (nr as u64 + 1)
}

/// Spreads slot keys; the low bits choose the slot.
#[inline(always)]
#[must_use]
pub const fn slot_hash(key: u64) -> u32 {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

/// Process of a slot key.
#[must_use]
pub const fn slot_tgid(key: u64) -> u32 {
    (key >> 32) as u32
}

/// Syscall number of a slot key, or `None` for a free slot.
#[must_use]
pub const fn slot_syscall(key: u64) -> Option<u32> {
    (key as u32).checked_sub(1)
}

/// Bucket of a latency in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn bucket_of(latency_ns: u64) -> u32 {
    if latency_ns < SUB_BUCKETS as u64 {
        return latency_ns as u32;
    }
    if latency_ns >= 1 << VALUE_BITS_MAX {
        return BUCKETS as u32 - 1;
    }
    let exponent = highest_bit(latency_ns);
    let part = (latency_ns >> (exponent - SUB_BUCKET_BITS)) as u32 & (SUB_BUCKETS - 1);
    (exponent - SUB_BUCKET_BITS + 1) * SUB_BUCKETS + part
}

/// Lower edge of a bucket in nanoseconds, inclusive. The upper edge is the lower edge of the next one.
#[must_use]
pub const fn bucket_floor_ns(bucket: u32) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let exponent = bucket / SUB_BUCKETS + SUB_BUCKET_BITS - 1;
    let part = (bucket % SUB_BUCKETS + SUB_BUCKETS) as u64;
    part << (exponent - SUB_BUCKET_BITS)
}

/// Index of the highest set bit. The BPF instruction set has no count of leading zeros, so it is found by halving.
#[inline(always)]
const fn highest_bit(mut value: u64) -> u32 {
    let mut bit = 0;
    let mut step = 32;
    while step > 0 {
        if value >> step != 0 {
            value >>= step;
            bit += step;
        }
        step /= 2;
    }
    bit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_holds_its_own_floor_and_what_lies_below_the_next() {
        for bucket in 0..BUCKETS as u32 - 1 {
            let floor = bucket_floor_ns(bucket);
            let next = bucket_floor_ns(bucket + 1);
            assert!(next > floor, "bucket {bucket}");
            assert_eq!(bucket_of(floor), bucket);
            assert_eq!(bucket_of(next - 1), bucket);
        }
    }

    #[test]
    fn no_bucket_is_wider_than_a_sixteenth() {
        for bucket in SUB_BUCKETS..BUCKETS as u32 - 1 {
            let floor = bucket_floor_ns(bucket);
            let width = bucket_floor_ns(bucket + 1) - floor;
            assert!(width * 16 <= floor, "bucket {bucket}: {width} of {floor}");
        }
    }

    #[test]
    fn what_is_too_long_goes_to_the_last_bucket() {
        assert_eq!(bucket_of((1 << VALUE_BITS_MAX) - 1), BUCKETS as u32 - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS as u32 - 1);
    }

    #[test]
    fn a_key_is_never_zero_and_keeps_its_parts() {
        assert_eq!(slot_syscall(slot_key(7, 0)), Some(0));
        assert_eq!(slot_tgid(slot_key(u32::MAX, 1023)), u32::MAX);
        assert_ne!(slot_key(0, 0), 0);
    }

    #[test]
    fn a_packed_start_keeps_thread_number_and_time() {
        let tid = (1 << 22) - 1;
        let start = call_start::pack(tid, SYSCALL_NUMBER_MAX, (1 << 60) + 1_000);
        assert!(call_start::is_of(start, tid));
        assert!(!call_start::is_of(start, tid & 0xffff));
        assert_eq!(call_start::number(start), SYSCALL_NUMBER_MAX);
        assert_eq!(call_start::elapsed_ns(start, (1 << 60) + 1_500), 500);
    }

    #[test]
    fn the_time_of_a_start_may_wrap_while_the_call_runs() {
        let start = call_start::pack(7, 0, (1 << 48) - 101);
        assert_eq!(call_start::elapsed_ns(start, (1 << 48) + 100), 202);
    }

    #[test]
    fn no_start_is_of_no_thread() {
        assert!(!call_start::is_of(0, 7));
        assert_ne!(call_start::pack(7, 0, 0), 0);
    }

    #[test]
    fn a_start_can_pass_to_another_thread() {
        let start = call_start::pack(5 << 16, 59, 1_001);
        let moved = call_start::with_tid(start, 3 << 16);
        assert!(call_start::is_of(moved, 3 << 16) && !call_start::is_of(moved, 5 << 16));
        assert_eq!(call_start::number(moved), 59);
        assert_eq!(call_start::elapsed_ns(moved, 1_001), 0);
    }
}
