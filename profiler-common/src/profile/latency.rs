//! A latency histogram in user space, on the buckets of the kernel.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::abi::latency::{BUCKETS, VALUE_BITS_MAX, bucket_floor_ns};

/// Most bits of the number of calls of which quantiles are taken: ranks are computed as `f64`, which has 53.
const COUNT_BITS_MAX: u32 = 52;

/// Latencies of one syscall: sparse counts by bucket of [`abi::latency`](crate::abi::latency).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LatencyHistogram {
    counts: BTreeMap<u32, u64>,
    /// Sum of all latencies in nanoseconds.
    pub sum_ns: u64,
    /// Largest latency in nanoseconds.
    pub max_ns: u64,
}

impl LatencyHistogram {
    /// Adds calls to a bucket; buckets past the last one count into the last.
    pub fn add(&mut self, bucket: u32, calls: u64) {
        if calls > 0 {
            let known = self.counts.entry(bucket.min(BUCKETS as u32 - 1)).or_default();
            *known = known.saturating_add(calls);
        }
    }

    /// Adds all calls of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, calls) in &other.counts {
            self.add(*bucket, *calls);
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Number of calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counts.values().fold(0, |sum, calls| sum.saturating_add(*calls))
    }

    /// (bucket, calls), by rising bucket, without empty ones.
    pub fn buckets(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.counts.iter().map(|(bucket, calls)| (*bucket, *calls))
    }

    /// Calls in buckets whose floor is at least `threshold_ns`.
    #[must_use]
    pub fn calls_at_least(&self, threshold_ns: u64) -> u64 {
        self.buckets()
            .filter(|(bucket, _)| bucket_floor_ns(*bucket) >= threshold_ns)
            .fold(0, |sum, (_, calls)| sum.saturating_add(calls))
    }

    /// Latencies in nanoseconds at the given quantiles (0 to 1), each accurate to one bucket (6.25 %); 0 when empty.
    ///
    /// A bucket counts with its middle, and never with more than the largest latency seen.
    #[must_use]
    pub fn quantiles_ns<const N: usize>(&self, quantiles: [f64; N]) -> [u64; N] {
        let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 1 << (VALUE_BITS_MAX + 1), 3)
        else {
            return [0; N];
        };
        // Counts of a damaged file may be anything: those too large are told apart less finely.
        let all: u128 = self.counts.values().map(|calls| u128::from(*calls)).sum();
        let shift = (u128::BITS - all.leading_zeros()).saturating_sub(COUNT_BITS_MAX);
        for (bucket, calls) in self.buckets() {
            let calls = (calls >> shift).max(1);
            let floor = bucket_floor_ns(bucket);
            let middle = (floor + bucket_floor_ns(bucket + 1)) / 2;
            histogram.saturating_record_n(middle.min(self.max_ns.max(floor)), calls);
        }
        quantiles.map(
            |quantile| {
                if histogram.is_empty() { 0 } else { histogram.value_at_quantile(quantile) }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::latency::bucket_of;
    use proptest::prelude::*;

    fn histogram_of(values: &[u64]) -> LatencyHistogram {
        let mut histogram = LatencyHistogram::default();
        for value in values {
            histogram.add(bucket_of(*value), 1);
            histogram.sum_ns += value;
            histogram.max_ns = histogram.max_ns.max(*value);
        }
        histogram
    }

    #[test]
    fn an_empty_histogram_has_no_latency() {
        assert_eq!(LatencyHistogram::default().quantiles_ns([0.5, 0.99]), [0, 0]);
    }

    #[test]
    fn counts_of_any_size_have_quantiles() {
        let mut histogram = LatencyHistogram::default();
        for bucket in 0..BUCKETS as u32 {
            histogram.add(bucket, u64::MAX);
            histogram.add(bucket, u64::MAX);
        }
        histogram.max_ns = u64::MAX;
        assert_eq!((histogram.calls(), histogram.calls_at_least(0)), (u64::MAX, u64::MAX));
        let quantiles = histogram.quantiles_ns([0.1, 0.5, 0.9, 1.0]);
        assert!(quantiles.is_sorted() && quantiles[0] < quantiles[2], "{quantiles:?}");
    }

    proptest! {
        #[test]
        fn quantiles_lie_within_a_bucket_of_the_truth(
            mut values in proptest::collection::vec(16u64..1 << 36, 1..200),
            quantile in 0.01f64..1.0,
        ) {
            let [found] = histogram_of(&values).quantiles_ns([quantile]);
            values.sort_unstable();
            let rank = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let truth = values[rank - 1] as f64;
            prop_assert!((found as f64 - truth).abs() <= truth * 0.07, "{found} for {truth}");
        }

        #[test]
        fn merging_is_adding(
            left in proptest::collection::vec(any::<u32>(), 0..50),
            right in proptest::collection::vec(any::<u32>(), 0..50),
        ) {
            let left: Vec<u64> = left.into_iter().map(u64::from).collect();
            let right: Vec<u64> = right.into_iter().map(u64::from).collect();
            let mut merged = histogram_of(&left);
            merged.merge(&histogram_of(&right));
            prop_assert_eq!(merged, histogram_of(&[left, right].concat()));
        }
    }
}
