//! Tests two rates whose counts come from replicates that differ more than Poisson.

use super::special::{binomial_upper_tail, t_quantile, t_upper_tail};

/// Tail of the two-sided 95 % interval.
const INTERVAL_TAIL: f64 = 0.025;

/// Below this many counts on both sides together the normal approximation is backed by an exact test.
const FEW_COUNTS: f64 = 100.0;

/// One side of an item: a count and an exposure for each replicate.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// Samples or calls that were hits.
    pub(super) counts: Vec<f64>,
    /// Samples or calls that could have been; each is positive.
    pub(super) exposures: Vec<f64>,
}

impl Arm {
    pub(super) fn count(&self) -> f64 {
        self.counts.iter().sum()
    }

    pub(super) fn exposure(&self) -> f64 {
        self.exposures.iter().sum()
    }

    /// Hits for each unit of exposure.
    pub(super) fn rate(&self) -> f64 {
        let exposure = self.exposure();
        if exposure > 0.0 { self.count() / exposure } else { 0.0 }
    }
}

/// One thing to test.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) baseline: Arm,
    pub(super) candidate: Arm,
}

impl Item {
    /// Residual degrees of freedom of the two-group model: replicates minus two.
    pub(super) fn degrees(&self) -> f64 {
        (self.baseline.counts.len() + self.candidate.counts.len()) as f64 - 2.0
    }

    pub(super) fn pooled_rate(&self) -> f64 {
        let exposure = self.baseline.exposure() + self.candidate.exposure();
        if exposure > 0.0 {
            (self.baseline.count() + self.candidate.count()) / exposure
        } else {
            0.0
        }
    }

    /// Expected count of a mean replicate.
    pub(super) fn mean_count(&self) -> f64 {
        let replicates = self.degrees() + 2.0;
        self.pooled_rate() * (self.baseline.exposure() + self.candidate.exposure()) / replicates
    }

    /// Pearson dispersion: `Σ (x_h - p_side N_h)² / (p_pooled N_h)` over the degrees of freedom; 1 is pure Poisson.
    pub(super) fn pearson(&self) -> f64 {
        let pooled = self.pooled_rate();
        let degrees = self.degrees();
        if pooled <= 0.0 || degrees <= 0.0 {
            return 1.0;
        }
        let sum: f64 = [&self.baseline, &self.candidate]
            .into_iter()
            .map(|arm| {
                let rate = arm.rate();
                let residuals = arm.counts.iter().zip(&arm.exposures);
                residuals.map(|(x, n)| (x - rate * n).powi(2) / (pooled * n)).sum::<f64>()
            })
            .sum();
        sum / degrees
    }
}

/// The noise of an item, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    /// Dispersion, at least 1.
    pub(super) dispersion: f64,
    /// Degrees of freedom behind it; infinite for sampling noise alone.
    pub(super) degrees: f64,
    /// Variance of the logarithm of the factor that the candidate's exposures were corrected with.
    pub(super) factor_log_variance: f64,
}

/// What a test found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) baseline_rate: f64,
    pub(super) candidate_rate: f64,
    pub(super) delta: f64,
    pub(super) ci_low: f64,
    pub(super) ci_high: f64,
    /// P of such growth if the true one is at most the minimum effect.
    pub(super) p_growth: f64,
    /// P of such shrinking if the true one is at most the minimum effect.
    pub(super) p_shrink: f64,
    /// Standard errors of the two rates.
    pub(super) baseline_error: f64,
    pub(super) candidate_error: f64,
}

/// Compares the two rates against a minimum effect in the rate (`McCarthy` and Smyth 2009, TREAT).
///
/// Replicates are weighted between equal samples and equal replicates: `w = 1/(1 + N p τ²)`, `τ² = (φ-1)/μ`, the best
/// weights when counts have variance `N p + (N p τ)²`. With few counts the exact conditional binomial test on counts
/// divided by φ must agree too, since the t tail is too light for skewed counts.
pub(super) fn compare(item: &Item, noise: Noise, minimum_effect: f64) -> Outcome {
    let pooled = item.pooled_rate();
    let mean_count = item.mean_count();
    let tau2 =
        if mean_count > 0.0 { ((noise.dispersion - 1.0) / mean_count).max(0.0) } else { 0.0 };
    let (p0, var0) = weighted_rate(&item.baseline, pooled, tau2);
    let (p1, var1) = weighted_rate(&item.candidate, pooled, tau2);
    let delta = p1 - p0;
    let se = (p1 * p1).mul_add(noise.factor_log_variance, var0 + var1).sqrt();
    let tail = |excess: f64| if se > 0.0 { t_upper_tail(excess / se, noise.degrees) } else { 1.0 };
    let (mut p_growth, mut p_shrink) =
        (tail(delta - minimum_effect), tail(-delta - minimum_effect));
    let (x0, x1) = (item.baseline.count(), item.candidate.count());
    if x0 + x1 < FEW_COUNTS || x0 == 0.0 || x1 == 0.0 {
        let share =
            item.candidate.exposure() / (item.baseline.exposure() + item.candidate.exposure());
        let (x0, x1) = (x0 / noise.dispersion, x1 / noise.dispersion);
        p_growth = p_growth.max(binomial_upper_tail(x1, x0 + x1, share));
        p_shrink = p_shrink.max(binomial_upper_tail(x0, x0 + x1, 1.0 - share));
    }
    let reach = t_quantile(INTERVAL_TAIL, noise.degrees) * se;
    Outcome {
        baseline_rate: p0,
        candidate_rate: p1,
        delta,
        ci_low: delta - reach,
        ci_high: delta + reach,
        p_growth,
        p_shrink,
        baseline_error: var0.sqrt(),
        candidate_error: var1.sqrt(),
    }
}

/// Weighted rate of a side and its variance under the pooled rate.
fn weighted_rate(arm: &Arm, pooled: f64, tau2: f64) -> (f64, f64) {
    let (mut hits, mut exposure, mut variance) = (0.0, 0.0, 0.0);
    for (x, n) in arm.counts.iter().zip(&arm.exposures) {
        let expected = n * pooled;
        let weight = 1.0 / expected.mul_add(tau2, 1.0);
        hits += weight * x;
        exposure += weight * n;
        variance += weight * weight * (expected * expected).mul_add(tau2, expected);
    }
    if exposure > 0.0 { (hits / exposure, variance / (exposure * exposure)) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(counts: &[f64], exposure: f64) -> Arm {
        Arm { counts: counts.to_vec(), exposures: vec![exposure; counts.len()] }
    }

    const POISSON: Noise =
        Noise { dispersion: 1.0, degrees: f64::INFINITY, factor_log_variance: 0.0 };

    #[test]
    fn the_dispersion_is_that_of_pearson() {
        // statsmodels: GLM(x, group, Poisson(identity), exposure): with equal exposures Σ(x - mean)²/mean_pooled / (n-2).
        let item = Item { baseline: arm(&[90.0, 110.0], 1e3), candidate: arm(&[80.0, 120.0], 1e3) };
        assert!((item.pearson() - (200.0 + 800.0) / 100.0 / 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_interval_is_that_of_two_poisson_rates() {
        let item =
            Item { baseline: arm(&[200.0, 200.0], 1e3), candidate: arm(&[250.0, 250.0], 1e3) };
        let noise = Noise { degrees: 1e9, ..POISSON };
        let outcome = compare(&item, noise, 0.0);
        // Rates 0.2 and 0.25, pooled 0.225: se = sqrt(2 * 0.225 / 2000) = 0.015; z(0.975) = 1.959964.
        assert!((outcome.delta - 0.05).abs() < 1e-12);
        assert!((outcome.ci_high - (0.05 + 1.959_964 * 0.015)).abs() < 1e-6);
    }

    #[test]
    fn a_minimum_effect_makes_it_harder() {
        let item =
            Item { baseline: arm(&[200.0, 200.0], 1e3), candidate: arm(&[250.0, 250.0], 1e3) };
        let noise = Noise { degrees: 20.0, ..POISSON };
        let plain = compare(&item, noise, 0.0).p_growth;
        let treat = compare(&item, noise, 0.04).p_growth;
        assert!(plain < 0.01 && treat > 0.2, "{plain} {treat}");
    }

    #[test]
    fn few_counts_need_the_exact_test_too() {
        let item = Item { baseline: arm(&[0.0, 0.0], 1e3), candidate: arm(&[3.0, 2.0], 1e3) };
        let outcome = compare(&item, Noise { degrees: 1e6, ..POISSON }, 0.0);
        assert!((outcome.p_growth - 0.5f64.powi(5)).abs() < 1e-9, "{}", outcome.p_growth);
    }
}
