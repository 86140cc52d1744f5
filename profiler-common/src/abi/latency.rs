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
    /// Sum of all latencies in nanoseconds.
    pub sum_ns: u64,
    /// Largest latency in nanoseconds.
    pub max_ns: u64,
    /// Calls by latency.
    pub buckets: [u32; BUCKETS],
    /// Calls by positive errno; index 0 holds those above [`ERRNOS`].
    pub errors: [u32; ERRNOS],
}

const _: () = assert!(BUCKETS == 560);
const _: () = assert!(size_of::<LatencySlot>() == 24 + 4 * (BUCKETS + ERRNOS));
const _: () = assert!(size_of::<LatencySlot>().is_multiple_of(8));

/// Packs process and syscall into a slot key, which is never 0.
#[must_use]
pub const fn slot_key(tgid: u32, nr: u32) -> u64 {
    ((tgid as u64) << 32) | (nr as u64 + 1)
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
}
