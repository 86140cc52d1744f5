//! Learns how noisy an item is from itself and from all others: empirical Bayes.

use super::count_test::{Noise, Sample};
use super::special::{digamma, trigamma, trigamma_inverse};

/// Most degrees of freedom that the other items may lend. Above it rare noisy items pass as quiet ones: simulated
/// false alarms at p < 1e-5 were 2 to 58 times too frequent with 3 replicates a side.
const PRIOR_DEGREES_MAX: f64 = 10.0;

/// Fewest items from which a prior can be learned; with fewer each stands alone.
const PRIOR_ITEMS_MIN: usize = 5;

/// Largest rate of an item from which the prior is learned: a root function is in every sample, so its count follows
/// the exposure without any noise, and says nothing of the noise of others.
const PRIOR_RATE_MAX: f64 = 0.5;

/// Fewest items of a bin of the trend. Fewer make the trend follow chance; many more leave big and small functions,
/// whose dispersions differ most, in one bin, and the scatter that this makes looks like noise of its own.
const BIN_ITEMS: usize = 10;

/// Most bins of the trend.
const BINS_MAX: usize = 25;

/// Share of the largest dispersions of a bin that is clipped before its mean is taken.
const CLIPPED_SHARE: f64 = 0.02;

/// The dispersion of one item, before anything is borrowed from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scatter {
    /// Pearson's dispersion.
    pub(super) dispersion: f64,
    /// Degrees of freedom behind it.
    pub(super) degrees: f64,
    /// Expected count of a mean replicate.
    pub(super) mean_count: f64,
    /// Hits for each unit of exposure, both sides together.
    pub(super) rate: f64,
}

impl Scatter {
    pub(super) fn of(sample: &Sample<'_>) -> Self {
        Self {
            dispersion: sample.pearson(),
            degrees: sample.degrees(),
            mean_count: sample.mean_count(),
            rate: sample.pooled_rate(),
        }
    }
}

/// What all items together say of the noise of one.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    /// (ln of the mean count, dispersion) of the trend, by rising count.
    points: Vec<(f64, f64)>,
    degrees: f64,
    scale: f64,
}

impl Prior {
    /// Learns the noise by Smyth (2004): dispersions scatter around a trend in the mean count as a scaled F; the scatter
    /// says how much each may borrow from the trend.
    pub(super) fn learn(scatters: &[Scatter]) -> Self {
        let points = trend(scatters);
        let (degrees, scale) = strength(scatters, &points);
        Self { points, degrees, scale }
    }

    /// Degrees of freedom that it lends to each item.
    pub(super) const fn degrees(&self) -> f64 {
        self.degrees
    }

    /// Dispersion of an item of middling size; 1 where there are none.
    pub(super) fn typical(&self) -> f64 {
        self.points.get(self.points.len() / 2).map_or(1.0, |(_, dispersion)| *dispersion)
    }

    /// The noise of an item: `φ~ = max(1, (d0 s0 trend + d φ)/(d0 + d))` with `d0 + d` degrees of freedom.
    pub(super) fn noise(&self, scatter: &Scatter, factor_log_variance: f64) -> Noise {
        let degrees = self.degrees + scatter.degrees;
        let trend = interpolate(&self.points, log_count(scatter));
        let moderated = (self.degrees * self.scale * trend + scatter.degrees * scatter.dispersion)
            / degrees.max(f64::MIN_POSITIVE);
        Noise { dispersion: moderated.max(1.0), degrees, factor_log_variance }
    }
}

fn log_count(scatter: &Scatter) -> f64 {
    scatter.mean_count.max(f64::MIN_POSITIVE).ln()
}

/// Dispersion to expect at a mean count, at least 1: the means of bins of items of like count.
fn trend(scatters: &[Scatter]) -> Vec<(f64, f64)> {
    let mut rising: Vec<(f64, f64)> = scatters
        .iter()
        .filter(|scatter| scatter.rate < PRIOR_RATE_MAX)
        .map(|scatter| (log_count(scatter), scatter.dispersion))
        .collect();
    rising.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let bins = (rising.len() / BIN_ITEMS).clamp(1, BINS_MAX);
    rising
        .chunks(rising.len().div_ceil(bins).max(1))
        .map(|bin| {
            let mut values: Vec<f64> = bin.iter().map(|(_, dispersion)| *dispersion).collect();
            values.sort_unstable_by(f64::total_cmp);
            let clip_at = ((values.len() as f64) * (1.0 - CLIPPED_SHARE)).ceil() as usize;
            let ceiling = values[clip_at.clamp(1, values.len()) - 1];
            let mean = values.iter().map(|phi| phi.min(ceiling)).sum::<f64>() / values.len() as f64;
            let centre = bin.iter().map(|(at, _)| at).sum::<f64>() / bin.len() as f64;
            (centre, mean.max(1.0))
        })
        .collect()
}

/// Value at `at` on the line through `points`, constant outside them.
fn interpolate(points: &[(f64, f64)], at: f64) -> f64 {
    let right = points.partition_point(|(x, _)| *x < at);
    match (right.checked_sub(1).and_then(|left| points.get(left)), points.get(right)) {
        (Some((x0, y0)), Some((x1, y1))) if x1 > x0 => {
            (y1 - y0).mul_add((at - x0) / (x1 - x0), *y0)
        }
        (Some((_, y)), _) | (None, Some((_, y))) => *y,
        (None, None) => 1.0,
    }
}

/// Degrees of freedom and scale of the prior, by matching the moments of ln(φ/trend).
fn strength(scatters: &[Scatter], points: &[(f64, f64)]) -> (f64, f64) {
    // The bias and spread of ln φ by chance alone, and what remains. Most items have the same degrees.
    let mut last = (f64::NAN, 0.0, 0.0);
    let residuals: Vec<(f64, f64)> = scatters
        .iter()
        .filter(|scatter| {
            scatter.degrees > 0.0 && scatter.dispersion > 0.0 && scatter.rate < PRIOR_RATE_MAX
        })
        .map(|scatter| {
            let half = scatter.degrees / 2.0;
            if half != last.0 {
                last = (half, half.ln() - digamma(half), trigamma(half));
            }
            let trend = interpolate(points, log_count(scatter));
            ((scatter.dispersion / trend).ln() + last.1, last.2)
        })
        .collect();
    if residuals.len() < PRIOR_ITEMS_MIN {
        return (0.0, 1.0);
    }
    let count = residuals.len() as f64;
    let mean = residuals.iter().map(|(residual, _)| residual).sum::<f64>() / count;
    let variance = residuals.iter().map(|(residual, _)| (residual - mean).powi(2)).sum::<f64>()
        / (count - 1.0);
    let excess = variance - residuals.iter().map(|(_, chance)| chance).sum::<f64>() / count;
    let degrees = if excess > 0.0 {
        (2.0 * trigamma_inverse(excess)).min(PRIOR_DEGREES_MAX)
    } else {
        PRIOR_DEGREES_MAX
    };
    let half = degrees / 2.0;
    (degrees, (mean + digamma(half) - half.ln()).exp())
}

#[cfg(test)]
mod tests {
    use super::super::count_test::Exposures;
    use super::super::design::{Design, Stratum};
    use super::*;

    fn noises(items: &[[f64; 4]]) -> Vec<Noise> {
        let stratum = Stratum { baseline: vec![0, 1], candidate: vec![2, 3] };
        let design = Design { strata: vec![stratum], is_paired: false };
        let exposures = Exposures::new(design, vec![1e4; 4]);
        let scatters: Vec<Scatter> =
            items.iter().map(|counts| Scatter::of(&Sample::new(counts, &exposures))).collect();
        let prior = Prior::learn(&scatters);
        scatters.iter().map(|scatter| prior.noise(scatter, 0.0)).collect()
    }

    #[test]
    fn quiet_items_borrow_noise_from_their_neighbours() {
        let mut items = vec![[80.0, 120.0, 130.0, 70.0]; 40];
        items.push([100.0, 100.0, 100.0, 100.0]);
        let noise = noises(&items);
        assert!(noise[40].dispersion > 2.0, "{:?}", noise[40]);
        assert!(noise[40].degrees > 2.0);
    }

    #[test]
    fn a_root_without_noise_does_not_spoil_what_others_lend() {
        let mut items: Vec<[f64; 4]> =
            (0..40).map(|k| [80.0 + f64::from(k), 120.0, 130.0, 70.0]).collect();
        let before = noises(&items)[0].degrees;
        items.push([1e4, 1e4, 1e4, 1e4 + 1e-3]);
        assert_eq!(noises(&items)[0].degrees, before);
    }

    #[test]
    fn an_item_alone_stands_on_its_own_replicates() {
        let noise = noises(&[[100.0, 100.0, 100.0, 100.0]]);
        assert_eq!((noise[0].dispersion, noise[0].degrees), (1.0, 2.0));
    }

    #[test]
    fn what_items_lend_each_other_is_what_limma_finds() {
        // limma 3.54 squeezeVar, by tests/reference/moderation.R; of one mean count, so the trend is flat.
        let dispersions = [1.2, 9.5, 1.1, 14.0, 1.3, 2.2, 30.0, 1.05, 6.0, 1.4, 18.0, 1.15];
        let scatter =
            |dispersion| Scatter { dispersion, degrees: 4.0, mean_count: 100.0, rate: 0.01 };
        let scatters = dispersions.map(scatter);
        let prior = Prior::learn(&scatters);
        assert!((prior.degrees() / 2.928_483_598_078_21 - 1.0).abs() < 1e-6, "{}", prior.degrees());
        let found = prior.noise(&scatters[6], 0.0).dispersion;
        assert!((found / 18.624_526_090_234_21 - 1.0).abs() < 1e-6, "{found}");
        let found = prior.noise(&scatters[7], 0.0).dispersion;
        assert!((found / 1.910_912_157_147_89 - 1.0).abs() < 1e-6, "{found}");
    }
}
