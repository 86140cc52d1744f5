//! Tests whether a rate grew, with replicates that differ more than Poisson: in groups, or as pairs.

use super::design::{Design, Stratum};
use super::special::{beta_binomial_upper_mid, t_upper_tail};

/// Tail of the two-sided 95 % interval.
pub(super) const INTERVAL_TAIL: f64 = 0.025;

/// Below this many counts on both sides together the t approximation is backed by an exact test.
const FEW_COUNTS: f64 = 100.0;

/// The exact test is only done where the other one says less than this: it can only make p larger.
const EXACT_BELOW: f64 = 0.1;

/// Samples or calls that could have been hits, and how replicates are compared: what all items of a comparison share.
#[derive(Debug, Clone)]
pub(super) struct Exposures {
    pub(super) design: Design,
    /// By row; positive on the rows that are used.
    rows: Vec<f64>,
    /// Sums over the rows that are used: of the baseline, and of the candidate.
    pooled: [f64; 2],
    /// Number of replicates that are used, both sides together.
    replicates: f64,
    degrees: f64,
    /// Variance of the logarithm of a row, where it is an estimate.
    log_variance: f64,
}

impl Exposures {
    /// Exposures that are known.
    pub(super) fn new(design: Design, rows: Vec<f64>) -> Self {
        Self::uncertain(design, rows, 0.0)
    }

    /// Exposures that are estimates, with the variance of the logarithm of each.
    pub(super) fn uncertain(design: Design, rows: Vec<f64>, log_variance: f64) -> Self {
        let pooled = design.pooled(&rows);
        let replicates = design.replicates().iter().sum::<usize>() as f64;
        let degrees = design.degrees();
        Self { design, rows, pooled, replicates, degrees, log_variance }
    }

    /// Number of rows, used or not.
    pub(super) const fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Sums over the rows that are used: of the baseline, and of the candidate.
    pub(super) const fn pooled(&self) -> [f64; 2] {
        self.pooled
    }
}

/// The counts of one item over the exposures of its comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'s> {
    counts: &'s [f64],
    exposures: &'s Exposures,
    /// Sums of the counts: of the baseline, and of the candidate.
    pooled: [f64; 2],
}

/// The noise of an item, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    /// Dispersion, at least 1.
    pub(super) dispersion: f64,
    /// Degrees of freedom behind it; infinite for sampling noise alone.
    pub(super) degrees: f64,
}

/// What a test found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) baseline_rate: f64,
    pub(super) candidate_rate: f64,
    pub(super) delta: f64,
    /// Standard error of `delta` under the rates that were found.
    pub(super) error: f64,
    /// Degrees of freedom of `error`.
    pub(super) degrees: f64,
    /// Standard errors of the two rates.
    pub(super) side_errors: [f64; 2],
    /// Distance beyond the minimum effect, in standard errors: positive in the direction of `delta`, else 0 or less.
    pub(super) t: f64,
    /// One-sided P of such a difference or a larger one, in the direction of `delta`, if the true one is at most the
    /// minimum effect; 1 where `delta` is below it.
    pub(super) p: f64,
}

impl Outcome {
    /// Ends of the interval of `delta` that reaches `t` standard errors to each side.
    pub(super) fn interval(&self, t: f64) -> [f64; 2] {
        [self.delta - t * self.error, self.delta + t * self.error]
    }

    /// Ends of the same interval of the ratio of the rates, by the delta method on its logarithm; `None` where a rate is 0.
    pub(super) fn ratio_interval(&self, t: f64) -> Option<[f64; 2]> {
        let Self { baseline_rate: p0, candidate_rate: p1, .. } = *self;
        if p0 <= 0.0 || p1 <= 0.0 {
            return None;
        }
        let relative = (self.side_errors[0] / p0).hypot(self.side_errors[1] / p1);
        // In a paired design the error of the difference is smaller than the two together say.
        let paired = self.error / self.side_errors[0].hypot(self.side_errors[1]);
        let reach = t * relative * paired.min(1.0);
        Some([p1 / p0 * (-reach).exp(), p1 / p0 * reach.exp()])
    }
}

impl<'s> Sample<'s> {
    pub(super) fn new(counts: &'s [f64], exposures: &'s Exposures) -> Self {
        Self { counts, exposures, pooled: exposures.design.pooled(counts) }
    }

    /// Counts of the baseline and of the candidate.
    pub(super) const fn pooled(&self) -> [f64; 2] {
        self.pooled
    }

    /// Hits for each unit of exposure, both sides together.
    pub(super) fn pooled_rate(&self) -> f64 {
        let [n0, n1] = self.exposures.pooled;
        if n0 + n1 > 0.0 { (self.pooled[0] + self.pooled[1]) / (n0 + n1) } else { 0.0 }
    }

    /// Expected count of a mean replicate.
    pub(super) fn mean_count(&self) -> f64 {
        (self.pooled[0] + self.pooled[1]) / self.exposures.replicates.max(1.0)
    }

    /// Dispersion that the uncertainty of the exposures alone makes; 1 where they are known.
    pub(super) fn least_dispersion(&self) -> f64 {
        self.mean_count().mul_add(self.exposures.log_variance, 1.0)
    }

    /// Residual degrees of freedom.
    pub(super) const fn degrees(&self) -> f64 {
        self.exposures.degrees
    }

    /// Dispersion; 1 is pure Poisson.
    ///
    /// Groups: Pearson's `Σ (x_h - p_side N_h)² / (p_pooled N_h)` over the degrees of freedom. Pairs: with
    /// `W = N0 N1/(N0 + N1)` and `D = x1/N1 - x0/N0`, `Σ W (D - mean)² / p_pooled` over the pairs minus one.
    pub(super) fn pearson(&self) -> f64 {
        let (pooled, degrees) = (self.pooled_rate(), self.degrees());
        if pooled <= 0.0 || degrees <= 0.0 {
            return 1.0;
        }
        let design = &self.exposures.design;
        let strata = design.strata.iter();
        let sum: f64 = if design.is_paired {
            strata.map(|stratum| self.pair_scatter(stratum, pooled)).sum()
        } else {
            strata.map(|stratum| self.group_scatter(stratum, pooled)).sum()
        };
        sum / degrees
    }

    fn group_scatter(&self, stratum: &Stratum, pooled: f64) -> f64 {
        let arm = |rows: &[usize]| -> f64 {
            let (x, n) = self.sums(rows);
            let rate = if n > 0.0 { x / n } else { 0.0 };
            let residual = |row: &usize| {
                let n = self.exposures.rows[*row];
                (self.counts[*row] - rate * n).powi(2) / n
            };
            rows.iter().map(residual).sum::<f64>() / pooled
        };
        arm(&stratum.baseline) + arm(&stratum.candidate)
    }

    fn pair_scatter(&self, stratum: &Stratum, pooled: f64) -> f64 {
        let pairs = || self.pairs(stratum);
        let (weight, sum) = pairs().fold((0.0, 0.0), |(w, s), (own, d)| (w + own, s + own * d));
        let mean = sum / weight;
        pairs().map(|(own, d)| own * (d - mean).powi(2)).sum::<f64>() / pooled
    }

    /// (weight, difference of the rates) of each pair.
    fn pairs(&self, stratum: &Stratum) -> impl Iterator<Item = (f64, f64)> {
        stratum.baseline.iter().zip(&stratum.candidate).map(|(before, after)| {
            let (n0, n1) = (self.exposures.rows[*before], self.exposures.rows[*after]);
            (n0 * n1 / (n0 + n1), self.counts[*after] / n1 - self.counts[*before] / n0)
        })
    }

    fn sums(&self, rows: &[usize]) -> (f64, f64) {
        rows.iter()
            .fold((0.0, 0.0), |(x, n), row| (x + self.counts[*row], n + self.exposures.rows[*row]))
    }

    /// Compares the two rates against a minimum effect in the rate (`McCarthy` and Smyth 2009, TREAT).
    ///
    /// Counts have variance `N p + (N p τ)²`, `τ² = (φ-1)/μ`, so replicates weigh `1/(1 + N p τ²)`: between equal samples
    /// and equal replicates. Strata are put together by inverse variance. With few counts the exact conditional
    /// beta-binomial test must agree too, since the t tail is too light for skewed counts.
    pub(super) fn compare(&self, noise: Noise, minimum: impl Fn(f64) -> f64) -> Outcome {
        let estimate = self.estimate(noise);
        let minimum = minimum(estimate.rates[0]);
        let delta = estimate.rates[1] - estimate.rates[0];
        let null_error = estimate.null_variance.sqrt();
        let excess = delta.abs() - minimum;
        let t = if null_error > 0.0 { excess / null_error } else { 0.0 };
        let mut p = if t > 0.0 { t_upper_tail(t, noise.degrees) } else { 1.0 };
        if p < EXACT_BELOW {
            p = p.max(self.exact(noise, delta > 0.0));
        }
        Outcome {
            baseline_rate: estimate.rates[0],
            candidate_rate: estimate.rates[1],
            delta,
            error: estimate.variance.sqrt(),
            degrees: noise.degrees,
            side_errors: estimate.variances.map(f64::sqrt),
            t,
            p,
        }
    }

    /// P of so uneven counts, by their exact conditional distribution, where there are few; 0 where there are many.
    ///
    /// Given `x0 + x1` hits, those of the growing side are beta-binomial: n trials, mean its part of the exposure, and
    /// correlation `ρ` such that the variance is φ times the binomial one. Mid-p (Lancaster 1961).
    fn exact(&self, noise: Noise, is_growth: bool) -> f64 {
        let ([x0, x1], [n0, n1]) = (self.pooled, self.exposures.pooled);
        if x0 + x1 >= FEW_COUNTS && x0 > 0.0 && x1 > 0.0 {
            return 0.0;
        }
        let (x, share) = if is_growth { (x1, n1 / (n0 + n1)) } else { (x0, n0 / (n0 + n1)) };
        let total = x0 + x1;
        let correlation = ((noise.dispersion - 1.0) / (total - 1.0).max(1.0)).clamp(0.0, 0.5);
        beta_binomial_upper_mid(x, total, share, correlation)
    }
}

/// Rates of the two sides, put together over strata.
struct Estimate {
    rates: [f64; 2],
    /// Variances of the two rates under the rates that were found.
    variances: [f64; 2],
    /// Variance of their difference under the rates that were found.
    variance: f64,
    /// The same if both sides had the pooled rate.
    null_variance: f64,
}

impl Sample<'_> {
    fn estimate(&self, noise: Noise) -> Estimate {
        let pooled = self.pooled_rate();
        let mean_count = self.mean_count();
        let excess = (noise.dispersion - 1.0).max(0.0);
        if self.exposures.design.is_paired {
            return self.paired_estimate(noise.dispersion, pooled);
        }
        let tau2 = if mean_count > 0.0 { excess / mean_count } else { 0.0 };
        let mut sum = Estimate::zero();
        let mut weights = 0.0;
        for stratum in &self.exposures.design.strata {
            let [before, after] = [&stratum.baseline, &stratum.candidate]
                .map(|rows| self.weighted_rate(rows, pooled, tau2));
            let null_variance = before.null_variance + after.null_variance;
            let weight = if null_variance > 0.0 { 1.0 / null_variance } else { 1.0 };
            weights += weight;
            for (side, rate) in [before, after].into_iter().enumerate() {
                sum.rates[side] += weight * rate.rate;
                sum.variances[side] += weight * weight * rate.variance;
            }
            sum.null_variance += weight * weight * null_variance;
        }
        sum.rates = sum.rates.map(|rate| rate / weights);
        sum.variances = sum.variances.map(|variance| variance / (weights * weights));
        sum.null_variance /= weights * weights;
        sum.variance = sum.variances[0] + sum.variances[1];
        sum
    }

    /// Weighted rate of a side of a stratum, its variance, and its variance under the pooled rate.
    fn weighted_rate(&self, rows: &[usize], pooled: f64, tau2: f64) -> Rate {
        let (mut hits, mut exposure, mut flat, mut square) = (0.0, 0.0, 0.0, 0.0);
        for row in rows {
            let (x, n) = (self.counts[*row], self.exposures.rows[*row]);
            let weight = 1.0 / (n * pooled).mul_add(tau2, 1.0);
            hits += weight * x;
            exposure += weight * n;
            flat += weight * weight * n;
            square += (weight * n).powi(2);
        }
        if exposure <= 0.0 {
            return Rate { rate: 0.0, variance: 0.0, null_variance: 0.0 };
        }
        let rate = hits / exposure;
        let variance = |p: f64| (flat * p + square * p * p * tau2) / (exposure * exposure);
        // A side without a hit is not without noise: it has that of the pooled rate.
        let own = if rate > 0.0 { rate } else { pooled };
        Rate { rate, variance: variance(own), null_variance: variance(pooled) }
    }

    fn paired_estimate(&self, dispersion: f64, pooled: f64) -> Estimate {
        let mut sum = Estimate::zero();
        let (mut weights, mut difference) = (0.0, 0.0);
        let ([x0, x1], [n0, n1]) = (self.pooled, self.exposures.pooled);
        for stratum in &self.exposures.design.strata {
            for (weight, d) in self.pairs(stratum) {
                weights += weight;
                difference += weight * d;
            }
        }
        if weights <= 0.0 {
            return sum;
        }
        let base = if n0 > 0.0 { x0 / n0 } else { 0.0 };
        sum.rates = [base, base + difference / weights];
        sum.null_variance = dispersion * pooled / weights;
        let mean_rate = f64::midpoint(base, sum.rates[1].max(0.0));
        sum.variance = dispersion * mean_rate.max(pooled * f64::EPSILON) / weights;
        let own = |x: f64, n: f64| dispersion * x.max(1.0) / (n * n);
        sum.variances = [own(x0, n0), own(x1, n1)];
        sum
    }
}

struct Rate {
    rate: f64,
    variance: f64,
    null_variance: f64,
}

impl Estimate {
    const fn zero() -> Self {
        Self { rates: [0.0; 2], variances: [0.0; 2], variance: 0.0, null_variance: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(baseline: usize, candidate: usize, rows: Vec<f64>) -> Exposures {
        let stratum = Stratum {
            baseline: (0..baseline).collect(),
            candidate: (baseline..baseline + candidate).collect(),
        };
        Exposures::new(Design { strata: vec![stratum], is_paired: false }, rows)
    }

    fn noise(dispersion: f64, degrees: f64) -> Noise {
        Noise { dispersion, degrees }
    }

    fn close(found: f64, truth: f64) {
        assert!((found / truth - 1.0).abs() < 1e-9, "{found} for {truth}");
    }

    #[test]
    fn the_dispersion_of_groups_is_that_of_pearson() {
        // statsmodels GLM, Poisson with identity link: tests/reference/count_test.py.
        let exposures = groups(3, 3, vec![1000.0, 1200.0, 1100.0, 900.0, 1300.0, 1100.0]);
        let sample = Sample::new(&[90.0, 130.0, 110.0, 70.0, 150.0, 110.0], &exposures);
        close(sample.pearson(), 2.338_675_213_675_212);
    }

    #[test]
    fn pairs_are_a_weighted_mean_of_their_differences() {
        // statsmodels WLS of the differences on a constant: tests/reference/count_test.py.
        let stratum = Stratum { baseline: vec![0, 1, 2, 3], candidate: vec![4, 5, 6, 7] };
        let rows = vec![1000.0, 2000.0, 1500.0, 800.0, 1200.0, 1800.0, 1600.0, 900.0];
        let exposures = Exposures::new(Design { strata: vec![stratum], is_paired: true }, rows);
        let counts = [100.0, 230.0, 140.0, 95.0, 150.0, 260.0, 190.0, 121.0];
        let sample = Sample::new(&counts, &exposures);
        close(sample.pearson(), 0.155_064_453_040_794);
        let outcome = sample.compare(noise(sample.pearson(), 3.0), |_| 0.0);
        close(outcome.delta, 0.025_220_003_860_368_052);
        close(outcome.t, 9.627_213_900_410_565);
        close(outcome.p, 0.001_189_384_210_658_374_4);
    }

    #[test]
    fn the_interval_is_that_of_two_poisson_rates() {
        let exposures = groups(2, 2, vec![1e3; 4]);
        let sample = Sample::new(&[200.0, 200.0, 250.0, 250.0], &exposures);
        let outcome = sample.compare(noise(1.0, f64::INFINITY), |_| 0.0);
        // Rates 0.2 and 0.25: se = sqrt(0.2/2000 + 0.25/2000) = 0.015.
        assert!((outcome.interval(1.96)[1] - (0.05 + 1.96 * 0.015)).abs() < 1e-12);
        // ln(1.25) ± 1.96 sqrt(1/400 + 1/500).
        let [low, high] = outcome.ratio_interval(1.96).unwrap();
        close(low, (1.25f64.ln() - 1.96 * 0.0045f64.sqrt()).exp());
        close(high, (1.25f64.ln() + 1.96 * 0.0045f64.sqrt()).exp());
    }

    #[test]
    fn a_minimum_effect_makes_it_harder() {
        let exposures = groups(2, 2, vec![1e3; 4]);
        let sample = Sample::new(&[200.0, 200.0, 250.0, 250.0], &exposures);
        let p = |minimum: f64| sample.compare(noise(1.0, 20.0), |_| minimum).p;
        assert!(p(0.0) < 0.01 && p(0.04) > 0.2 && p(0.06) == 1.0, "{} {}", p(0.0), p(0.04));
    }

    #[test]
    fn few_counts_need_the_exact_test_too() {
        let exposures = groups(2, 2, vec![1e3; 4]);
        let outcome =
            Sample::new(&[0.0, 0.0, 3.0, 2.0], &exposures).compare(noise(1.0, 1e7), |_| 0.0);
        // All five on the candidate: 2^-5, and half of it is mid-p.
        close(outcome.p, 0.5f64.powi(6));
    }

    #[test]
    fn strata_are_compared_each_with_its_own_kind() {
        // The slow kind of machine runs the function twice as much; the candidate has more of that kind.
        let strata = vec![
            Stratum { baseline: vec![0, 1, 2, 3], candidate: vec![6, 7] },
            Stratum { baseline: vec![4, 5], candidate: vec![8, 9, 10, 11] },
        ];
        let counts =
            [100.0, 104.0, 98.0, 99.0, 205.0, 197.0, 101.0, 98.0, 199.0, 203.0, 198.0, 201.0];
        let stratified =
            Exposures::new(Design { strata: strata.clone(), is_paired: false }, vec![1e4; 12]);
        let sample = Sample::new(&counts, &stratified);
        assert!(sample.pearson() < 0.2, "{}", sample.pearson());
        let outcome = sample.compare(noise(1.0, 18.0), |_| 0.0);
        assert!(outcome.p > 0.2, "{outcome:?}");
        let mixed = groups(6, 6, vec![1e4; 12]);
        let outcome = Sample::new(&counts, &mixed).compare(noise(1.0, 18.0), |_| 0.0);
        assert!(outcome.p < 0.001, "{outcome:?}");
    }
}
