//! Latencies of one side as one distribution, with the replicates weighed.

use std::collections::BTreeMap;

use profiler_common::abi::latency::bucket_floor_ns;
use profiler_common::profile::LatencyHistogram;

/// Weighted calls by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Latencies {
    /// (bucket, weight), by rising bucket.
    buckets: Vec<(u32, f64)>,
    total: f64,
    max_ns: u64,
}

impl Latencies {
    /// Adds up histograms, each with a weight.
    pub(super) fn of<'h>(
        histograms: impl IntoIterator<Item = (&'h LatencyHistogram, f64)>,
    ) -> Self {
        let mut buckets: BTreeMap<u32, f64> = BTreeMap::new();
        let mut max_ns = 0;
        for (histogram, weight) in histograms {
            for (bucket, calls) in histogram.buckets() {
                *buckets.entry(bucket).or_default() += weight * calls as f64;
            }
            max_ns = max_ns.max(histogram.max_ns);
        }
        let total = buckets.values().sum();
        Self { buckets: buckets.into_iter().collect(), total, max_ns }
    }

    /// Share of the calls in this bucket and above.
    pub(super) fn share_from(&self, bucket: u32) -> f64 {
        let from = self.buckets.partition_point(|(own, _)| *own < bucket);
        self.buckets[from..].iter().map(|(_, weight)| weight).sum::<f64>() / self.total
    }

    /// Bucket that holds a quantile, and which part of the bucket's calls lie below it; `None` without calls.
    pub(super) fn bucket_at(&self, quantile: f64) -> Option<(u32, f64)> {
        let rank = quantile.clamp(0.0, 1.0) * self.total;
        let mut below = 0.0;
        let mut last = None;
        for (bucket, weight) in &self.buckets {
            last = Some((*bucket, ((rank - below) / weight).clamp(0.0, 1.0)));
            below += weight;
            if below >= rank {
                break;
            }
        }
        last
    }

    /// Latency at a quantile, in nanoseconds, with the calls of a bucket spread evenly over it; 0 without calls.
    pub(super) fn quantile_ns(&self, quantile: f64) -> f64 {
        let Some((bucket, part)) = self.bucket_at(quantile) else {
            return 0.0;
        };
        let floor = bucket_floor_ns(bucket) as f64;
        let top = (bucket_floor_ns(bucket + 1) as f64).min(self.max_ns as f64).max(floor);
        (top - floor).mul_add(part, floor)
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::abi::latency::bucket_of;

    use super::*;

    #[test]
    fn a_quantile_lies_between_the_calls_around_it() {
        let mut histogram = LatencyHistogram::default();
        for latency_ns in 1..=1_000u64 {
            histogram.add(bucket_of(latency_ns * 1_000), 1);
        }
        histogram.max_ns = 1_000_000;
        let latencies = Latencies::of([(&histogram, 0.3)]);
        for (quantile, truth) in [(0.5, 5e5), (0.95, 9.5e5), (0.99, 9.9e5), (1.0, 1e6)] {
            let found = latencies.quantile_ns(quantile);
            assert!((found / truth - 1.0).abs() < 0.01, "{found} at {quantile}");
        }
        assert_eq!(Latencies::of([]).quantile_ns(0.5), 0.0);
    }
}
