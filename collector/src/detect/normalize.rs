//! The factor that makes shares comparable: without it, one function that grows makes all others look smaller.

use super::design::Design;
use super::items::{Family, Items};

/// Fewest samples a side of a function that takes part in the factor.
const FACTOR_SAMPLES_MIN: f64 = 50.0;

/// Fewest functions from which a factor is taken; with fewer the majority cannot be told.
const FACTOR_FUNCTIONS_MIN: usize = 3;

/// Relative spread that functions have anyway, so that huge ones do not decide alone.
const SPREAD: f64 = 0.05;

/// Correction of the candidate's exposures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factor {
    /// Factor by which unchanged functions' shares grew; the candidate's exposures are multiplied with it.
    pub(super) value: f64,
    /// Variance of its logarithm.
    pub(super) log_variance: f64,
}

impl Factor {
    /// Nothing to correct.
    const ONE: Self = Self { value: 1.0, log_variance: 0.0 };

    /// Weighted median over functions of the ratio of self shares, candidate over baseline, and the variance of its
    /// logarithm; `samples` are those of each replicate. Weights are `1/(1/x0 + 1/x1 + SPREAD²)` (median of ratios,
    /// Anders and Huber 2010); a median of normals has variance `π/2 / Σ 1/v`, with v each one's sampling variance plus
    /// the scatter of all around the median.
    pub(super) fn of(items: &Items, samples: &[f64], design: &Design) -> Self {
        let [n0, n1] = design.pooled(samples);
        let mut ratios: Vec<(f64, f64)> = items
            .list
            .iter()
            .enumerate()
            .filter(|(_, item)| item.family == Family::SelfTime)
            .filter_map(|(index, _)| {
                let [x0, x1] = design.pooled(items.counts(index));
                (x0 >= FACTOR_SAMPLES_MIN && x1 >= FACTOR_SAMPLES_MIN)
                    .then(|| (x1 / x0 * n0 / n1, 1.0 / (1.0 / x0 + 1.0 / x1 + SPREAD * SPREAD)))
            })
            .collect();
        if ratios.len() < FACTOR_FUNCTIONS_MIN {
            return Self::ONE;
        }
        ratios.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let weight: f64 = ratios.iter().map(|(_, weight)| weight).sum();
        let median = weighted_median(&ratios, weight);
        Self { value: median, log_variance: median_log_variance(&ratios, median) }
    }
}

/// Median of rising (value, weight) pairs. Where two values share the middle, the one nearer to 1 is taken: nothing
/// says that more has changed.
fn weighted_median(rising: &[(f64, f64)], weight: f64) -> f64 {
    let mut below = 0.0;
    for (index, (value, own)) in rising.iter().enumerate() {
        below += own;
        let is_shared = (below / weight - 0.5).abs() < 1e-9;
        match rising.get(index + 1) {
            Some((next, _)) if is_shared => {
                return if value.ln().abs() <= next.ln().abs() { *value } else { *next };
            }
            _ if below >= weight / 2.0 => return *value,
            _ => {}
        }
    }
    1.0
}

/// Variance of the logarithm of the median of (ratio, weight) pairs.
///
/// The scatter is the median absolute deviation, 1.4826 times it for normals, enlarged by n/(n-1) since few values lie
/// close to their own median by construction. It is weighted like the median itself, with n = (Σw)²/Σw² (Kish 1965):
/// what rare functions do, whose ratios have no say in the median, says nothing of its precision.
fn median_log_variance(ratios: &[(f64, f64)], median: f64) -> f64 {
    let sum = |of: fn(f64) -> f64| ratios.iter().map(|(_, weight)| of(*weight)).sum::<f64>();
    let (weight, squares) = (sum(|weight| weight), sum(|weight| weight * weight));
    let count = weight * weight / squares;
    let deviation = |(ratio, weight): &(f64, f64)| ((ratio / median).ln().abs(), *weight);
    let scatter =
        1.4826 * middle(ratios.iter().map(deviation).collect()) * count / (count - 1.0).max(1.0);
    let sampling = |weight: f64| (1.0 / weight - SPREAD * SPREAD).max(0.0);
    let chance = |(_, weight): &(f64, f64)| (sampling(*weight), *weight);
    // What chance alone scatters is counted with each ratio; only the rest is common to all.
    let chance = middle(ratios.iter().map(chance).collect());
    let excess = scatter.mul_add(scatter, -chance).max(0.0);
    let information: f64 =
        ratios.iter().map(|(_, weight)| 1.0 / (excess + sampling(*weight)).max(f64::EPSILON)).sum();
    std::f64::consts::FRAC_PI_2 / information
}

/// Weighted median of (value, weight) pairs: the least value with half of the weight at or below it; 0 of none.
pub(super) fn middle(mut pairs: Vec<(f64, f64)>) -> f64 {
    pairs.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let half = pairs.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let reaches_half = |(_, own): &&(f64, f64)| {
        below += own;
        below >= half
    };
    pairs.iter().find(reaches_half).map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_the_one_that_changed() {
        assert_eq!(weighted_median(&[(0.9, 1.0), (0.91, 1.0), (1.3, 1.0)], 3.0), 0.91);
    }

    #[test]
    fn rare_functions_that_scatter_do_not_blur_a_median_that_large_ones_agree_on() {
        let agreed = [(0.90, 400.0), (0.91, 400.0), (0.92, 400.0)];
        let with_rare = [agreed.to_vec(), vec![(0.3, 20.0), (0.5, 20.0), (2.0, 20.0), (4.0, 20.0)]];
        let variance = median_log_variance(&with_rare.concat(), 0.91);
        assert!(variance.sqrt() < 0.03, "{variance}");
        let disagreed = [(0.7, 400.0), (0.91, 400.0), (1.2, 400.0)];
        assert!(median_log_variance(&disagreed, 0.91).sqrt() > 0.1);
    }

    #[test]
    fn a_shared_middle_goes_to_the_smaller_change() {
        assert_eq!(weighted_median(&[(0.9, 1.0), (1.3, 1.0)], 2.0), 0.9);
    }
}
