//! Draws ranks as real stacks come: the second rank half as often as the first, the third a third as often.

/// Zipf's law with exponent 1 over a number of ranks. The recorded programs lie near it.
#[derive(Debug)]
pub(super) struct Zipf {
    /// Probability of this rank or a lower one.
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        for value in &mut cumulative {
            *value /= sum;
        }
        Self { cumulative }
    }

    /// Probability of each rank.
    pub(super) fn shares(&self) -> impl Iterator<Item = f64> + '_ {
        let before = std::iter::once(&0.0).chain(&self.cumulative);
        self.cumulative.iter().zip(before).map(|(upto, before)| upto - before)
    }

    /// The rank, from 0, for a number drawn evenly from 0 to 1.
    pub(super) fn rank(&self, uniform: f64) -> usize {
        self.cumulative.partition_point(|upto| *upto <= uniform).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_comes_as_often_as_its_number_says() {
        let zipf = Zipf::new(1000);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![0_u32; 1000];
        for _ in 0..1_000_000 {
            counts[zipf.rank(random.f64())] += 1;
        }
        // H(1000) = 7.485; five standard deviations of the count at rank 100 are 14 % of it.
        for rank in [1, 2, 10, 100] {
            let expected = 1e6 / 7.485 / f64::from(rank);
            let found = f64::from(counts[rank as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.15, "rank {rank}: {found} for {expected}");
        }
        assert_eq!(zipf.rank(1.0), 999);
    }
}
