//! The exposures that make shares comparable: without them, one function that grows makes all others look smaller.

use super::count_test::Exposures;
use super::design::{Design, Stratum};
use super::items::{Family, Items};

/// Fewest samples a side of a function that has a say.
const VOTER_SAMPLES_MIN: f64 = 50.0;

/// Fewest functions from which anything is taken; with fewer the majority cannot be told.
const VOTERS_MIN: usize = 3;

/// Relative spread that functions have anyway, so that huge ones do not decide alone.
const SPREAD: f64 = 0.05;

/// Standard deviations from the middle beyond which a function counts as changed.
const OUTLYING: f64 = 2.5;

/// How often the unchanged functions are chosen anew around their mean.
const ROUNDS: usize = 3;

/// Furthest that the exposure of a replicate may be from its samples: one without any unchanged function has some.
const ROW_FACTOR_MAX: f64 = 4.0;

/// What each replicate has of the functions that did not change, in samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// Exposure over samples, by row; all of the baseline together have 1.
    pub(super) rows: Vec<f64>,
    /// The same of the whole candidate: the factor by which the shares of unchanged functions grew.
    pub(super) factor: f64,
    /// Variance of the logarithm of the exposure of one row.
    pub(super) log_variance: f64,
}

impl Scale {
    /// The weighted mean over unchanged functions of each one's share of a replicate over its share of all; `samples` are
    /// those of each replicate.
    ///
    /// What is unchanged lies about the weighted median over functions of the ratio of self shares, candidate over
    /// baseline, as chance lets it (median of ratios, Anders and Huber 2010, then one-step, Bickel 1975). Weights are
    /// `1/(1/x0 + 1/x1 + SPREAD²)`. Since each replicate has its own exposure, how uncertain it is shows in how the
    /// replicates scatter, and with the sign it has: a function that takes much of one host makes the others small there.
    pub(super) fn of(items: &Items, samples: &[f64], design: &Design) -> Self {
        let voters = unchanged(voters(items, samples, design));
        if voters.is_empty() {
            return Self::flat(samples.len());
        }
        let mut rows = vec![0.0; samples.len()];
        for voter in &voters {
            for (row, count) in rows.iter_mut().zip(items.counts(voter.index)) {
                *row += voter.weight() / voter.samples * count;
            }
        }
        let pooled = design.pooled(samples);
        let mean = design.pooled(&rows)[0] / pooled[0];
        for (row, samples) in rows.iter_mut().zip(samples) {
            let all = (mean * samples).max(f64::MIN_POSITIVE);
            *row = (*row / all).clamp(1.0 / ROW_FACTOR_MAX, ROW_FACTOR_MAX);
        }
        let exposures: Vec<f64> = rows.iter().zip(samples).map(|(row, all)| row * all).collect();
        let factor = design.pooled(&exposures)[1] / pooled[1];
        Self { rows, factor, log_variance: log_variance(&voters, items, design, &exposures) }
    }

    /// Every replicate counts by its samples.
    pub(super) fn flat(rows: usize) -> Self {
        Self { rows: vec![1.0; rows], factor: 1.0, log_variance: 0.0 }
    }

    /// Exposures of the replicates of `design`, from what each measured.
    pub(super) fn correct(&self, design: Design, mut measured: Vec<f64>) -> Exposures {
        for (own, row) in measured.iter_mut().zip(&self.rows) {
            *own *= row;
        }
        Exposures::uncertain(design, measured, self.log_variance)
    }
}

/// A function that has a say.
#[derive(Debug, Clone, Copy)]
struct Voter {
    /// Its item.
    index: usize,
    /// Ratio of its self shares, candidate over baseline.
    ratio: f64,
    /// Samples of both sides.
    samples: f64,
    /// Variance of the logarithm of the ratio by sampling alone.
    sampling: f64,
}

impl Voter {
    fn weight(&self) -> f64 {
        1.0 / SPREAD.mul_add(SPREAD, self.sampling)
    }
}

/// The functions with enough samples, by rising ratio; none where they are too few.
fn voters(items: &Items, samples: &[f64], design: &Design) -> Vec<Voter> {
    let [n0, n1] = design.pooled(samples);
    let voter = |index: usize| {
        let [x0, x1] = design.pooled(items.counts(index));
        (x0 >= VOTER_SAMPLES_MIN && x1 >= VOTER_SAMPLES_MIN).then(|| Voter {
            index,
            ratio: x1 / x0 * n0 / n1,
            samples: x0 + x1,
            sampling: 1.0 / x0 + 1.0 / x1,
        })
    };
    let own = |index: &usize| items.list[*index].family == Family::SelfTime;
    let mut voters: Vec<Voter> = (0..items.list.len()).filter(own).filter_map(voter).collect();
    if voters.len() < VOTERS_MIN {
        voters.clear();
    }
    voters.sort_unstable_by(|left, right| left.ratio.total_cmp(&right.ratio));
    voters
}

/// Those of `rising` that did not change: they lie about the middle as sampling and the common scatter let them.
fn unchanged(rising: Vec<Voter>) -> Vec<Voter> {
    let ratios: Vec<(f64, f64)> =
        rising.iter().map(|voter| (voter.ratio, voter.weight())).collect();
    let median = weighted_median(&ratios, ratios.iter().map(|(_, weight)| weight).sum());
    let excess = excess(&ratios, median);
    let own = |voter: &Voter| excess + voter.sampling;
    // A median of normals has variance π/2 / Σ 1/v.
    let information: f64 = rising.iter().map(|voter| 1.0 / own(voter).max(f64::MIN_POSITIVE)).sum();
    let (mut centre, mut variance) = (median.ln(), std::f64::consts::FRAC_PI_2 / information);
    let mut near = Vec::new();
    for _ in 0..ROUNDS {
        let is_near = |voter: &&Voter| {
            (voter.ratio.ln() - centre).powi(2) <= OUTLYING * OUTLYING * (own(voter) + variance)
        };
        near = rising.iter().filter(is_near).copied().collect();
        let sum = |of: &dyn Fn(&Voter) -> f64| near.iter().map(of).sum::<f64>();
        let weights = sum(&Voter::weight);
        centre = sum(&|voter| voter.weight() * voter.ratio.ln()) / weights;
        variance = sum(&|voter| voter.weight().powi(2) * own(voter)) / (weights * weights);
    }
    near
}

/// Variance of the logarithm of a row's exposure: each unchanged function's scatter about the rate of its side of the
/// stratum, or of its pairs about each other; that of sampling alone without replicates.
fn log_variance(voters: &[Voter], items: &Items, design: &Design, exposures: &[f64]) -> f64 {
    let weights: f64 = voters.iter().map(Voter::weight).sum();
    let rows = design.replicates().iter().sum::<usize>() as f64;
    let degrees = design.degrees();
    let inverse: Vec<f64> =
        exposures.iter().map(|exposure| 1.0 / exposure.max(f64::MIN_POSITIVE)).collect();
    let of = |voter: &Voter| {
        let counts = items.counts(voter.index);
        let row = |row: usize| (counts[row], exposures[row], counts[row] * inverse[row]);
        let scatter: f64 = if degrees > 0.0 {
            let strata = design.strata.iter();
            strata.map(|stratum| scatter(stratum, design.is_paired, row)).sum::<f64>() / degrees
        } else {
            rows / voter.samples
        };
        (voter.weight() / weights).powi(2) * scatter
    };
    voters.iter().map(of).sum()
}

/// Sum of the squares of the relative residuals of a function: `Σ (r/p - 1)² = Σr²/p² - 2 Σr/p + n` for the n rows of a
/// side of rate p, and half of `Σ (r1/p1 - r0/p0)²` for pairs. `row` gives the count, the exposure and the rate of a row.
fn scatter(stratum: &Stratum, is_paired: bool, row: impl Fn(usize) -> (f64, f64, f64)) -> f64 {
    let arm = |rows: &[usize]| {
        let (mut hits, mut exposure, mut sum, mut squares) = (0.0, 0.0, 0.0, 0.0);
        for at in rows {
            let (count, own, rate) = row(*at);
            hits += count;
            exposure += own;
            sum += rate;
            squares += rate * rate;
        }
        // One over the rate of the side.
        let unit = exposure / f64::max(hits, f64::MIN_POSITIVE);
        (unit, squares * unit * unit - 2.0 * sum * unit + rows.len() as f64)
    };
    let ((before, old), (after, new)) = (arm(&stratum.baseline), arm(&stratum.candidate));
    if !is_paired {
        return old + new;
    }
    let pairs = stratum.baseline.iter().zip(&stratum.candidate);
    let differences = pairs.map(|(old, new)| row(*new).2 * after - row(*old).2 * before);
    differences.map(|difference| difference * difference / 2.0).sum()
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

/// Variance of the logarithms of (ratio, weight) pairs about the median beyond that of sampling.
///
/// The scatter is the median absolute deviation, 1.4826 times it for normals, enlarged by n/(n-1) since few values lie
/// close to their own median by construction. It is weighted like the median itself, with n = (Σw)²/Σw² (Kish 1965):
/// what rare functions do, whose ratios have no say in the median, says nothing of the others.
fn excess(ratios: &[(f64, f64)], median: f64) -> f64 {
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
    scatter.mul_add(scatter, -chance).max(0.0)
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
    fn rare_functions_that_scatter_do_not_widen_what_large_ones_agree_on() {
        let agreed = [(0.90, 400.0), (0.91, 400.0), (0.92, 400.0)];
        let with_rare = [agreed.to_vec(), vec![(0.3, 20.0), (0.5, 20.0), (2.0, 20.0), (4.0, 20.0)]];
        assert!(excess(&with_rare.concat(), 0.91).sqrt() < 0.05);
        let disagreed = [(0.7, 400.0), (0.91, 400.0), (1.2, 400.0)];
        assert!(excess(&disagreed, 0.91).sqrt() > 0.2);
    }

    fn voter(ratio: f64) -> Voter {
        Voter { index: 0, ratio, samples: 20_000.0, sampling: 2e-4 }
    }

    #[test]
    fn what_changed_has_no_say() {
        let rising = [0.89, 0.90, 0.90, 0.91, 0.92, 1.4].map(voter);
        let near: Vec<f64> = unchanged(rising.into()).iter().map(|voter| voter.ratio).collect();
        assert_eq!(near, [0.89, 0.90, 0.90, 0.91, 0.92]);
    }

    #[test]
    fn functions_of_very_different_ratios_all_have_a_say() {
        assert_eq!(unchanged([0.5, 0.9, 1.6].map(voter).into()).len(), 3);
    }

    #[test]
    fn a_shared_middle_goes_to_the_smaller_change() {
        assert_eq!(weighted_median(&[(0.9, 1.0), (1.3, 1.0)], 2.0), 0.9);
    }
}
