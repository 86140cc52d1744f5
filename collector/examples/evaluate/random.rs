//! Random numbers that are the same everywhere: seeded, and split by name so that the order of work does not matter.

/// A stream of random numbers: `xoshiro256++` (Blackman and Vigna 2019).
#[derive(Debug, Clone)]
pub(crate) struct Random([u64; 4]);

impl Random {
    /// The stream of this name. Equal names give equal streams; others are independent.
    pub(crate) fn of(name: &[u64]) -> Self {
        let mut state = 0x6a09_e667_f3bc_c908;
        for part in name {
            state = split_mix(state ^ split_mix(*part));
        }
        Self([1, 2, 3, 4].map(|word: u64| split_mix(state.wrapping_add(word))))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let bits = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        bits
    }

    /// Uniform in (0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// One of the numbers below `end`, each as often.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.uniform() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// One of `values`, each as often.
    pub(crate) fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Standard normal, by the polar method (Marsaglia and Bray 1964).
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }

    /// Gamma of this shape and scale 1 (Marsaglia and Tsang 2000).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.uniform().powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A factor with mean 1 and this coefficient of variation; 1 without variation.
    pub(crate) fn factor(&mut self, variation: f64) -> f64 {
        if variation <= 0.0 {
            return 1.0;
        }
        let shape = 1.0 / (variation * variation);
        self.gamma(shape) / shape
    }

    /// Poisson of this mean: by inversion below 10, else by transformed rejection (Hörmann 1993, PTRS).
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean < 10.0 {
            let (mut count, mut term) = (0, (-mean).exp());
            let mut rest = self.uniform();
            while rest > term && count < 200 {
                rest -= term;
                count += 1;
                term *= mean / count as f64;
            }
            return count;
        }
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.024_83 * b;
        let inverse = 1.1239 + 1.1328 / (b - 3.4);
        let center = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let (u, v) = (self.uniform() - 0.5, self.uniform());
            let us = 0.5 - u.abs();
            let count = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= center {
                return count as u64;
            }
            if count < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let density = count * mean.ln() - mean - ln_factorial(count);
            if (v * inverse / (a / (us * us) + b)).ln() <= density {
                return count as u64;
            }
        }
    }

    /// Samples that come in runs of this mean length, with this mean number of samples: Poisson many runs, each
    /// geometric.
    pub(crate) fn runs(&mut self, mean: f64, length: f64) -> u64 {
        if length <= 1.0 {
            return self.poisson(mean);
        }
        let runs = self.poisson(mean / length);
        if runs == 0 {
            return 0;
        }
        // The sum of geometric numbers is negative binomial: a Poisson number with a gamma mean.
        let more = self.gamma(runs as f64) * (length - 1.0);
        runs + self.poisson(more)
    }
}

/// The finisher of `SplitMix64` (Steele, Lea, Flood 2014).
const fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `ln n!` by Stirling's series.
fn ln_factorial(count: f64) -> f64 {
    let n = count + 1.0;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * n * n)) / (n * n)) / n;
    (n - 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl FnMut() -> f64) -> [f64; 2] {
        const DRAWS: usize = 100_000;
        let values: Vec<f64> = std::iter::repeat_with(draw).take(DRAWS).collect();
        let mean = values.iter().sum::<f64>() / DRAWS as f64;
        let square: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        [mean, square / DRAWS as f64]
    }

    #[test]
    fn counts_have_the_mean_and_the_variance_of_poisson() {
        for mean in [0.01_f64, 0.7, 9.9, 10.1, 45.0, 3e3] {
            let mut random = Random::of(&[1, mean.to_bits()]);
            let [found, variance] = moments(|| random.poisson(mean) as f64);
            assert!((found / mean - 1.0).abs() < 5.0 / (mean * 1e5).sqrt(), "{mean}: {found}");
            assert!((variance / mean - 1.0).abs() < 0.15, "{mean}: {variance}");
        }
    }

    #[test]
    fn factors_have_mean_1_and_the_variation_that_was_asked_for() {
        for variation in [0.05_f64, 0.3, 1.5] {
            let mut random = Random::of(&[2, variation.to_bits()]);
            let [mean, variance] = moments(|| random.factor(variation));
            assert!((mean - 1.0).abs() < 0.03 * variation, "{mean}");
            assert!((variance.sqrt() / variation - 1.0).abs() < 0.05, "{variance}");
        }
    }

    #[test]
    fn samples_in_runs_keep_their_mean_and_scatter_more() {
        let mut random = Random::of(&[3]);
        let [mean, variance] = moments(|| random.runs(20.0, 3.0) as f64);
        assert!((mean / 20.0 - 1.0).abs() < 0.02, "{mean}");
        // A sum of Poisson many geometric runs of mean m has the variance (2m - 1) times its mean.
        assert!((variance / mean / 5.0 - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn equal_names_give_equal_streams_and_others_do_not() {
        let first = |name: &[u64]| Random::of(name).bits();
        assert_eq!(first(&[1, 2]), first(&[1, 2]));
        assert_ne!(first(&[1, 2]), first(&[2, 1]));
        assert_ne!(first(&[1]), first(&[1, 0]));
    }
}
