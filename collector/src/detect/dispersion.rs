//! Learns how noisy an item is from itself and from all others: empirical Bayes.

use super::count_test::{Item, Noise};
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

/// Noise of each item, by Smyth (2004): dispersions scatter around a trend in the mean count as a scaled F; the scatter
/// says how much each may borrow from the trend.
///
/// `φ~ = max(1, (d0 s0 trend + d φ)/(d0 + d))` with `d0 + d` degrees of freedom.
pub(super) fn moderate(items: &[Item], factor_log_variance: f64) -> Vec<Noise> {
    let pearson: Vec<f64> = items.iter().map(Item::pearson).collect();
    let trend = trend(items, &pearson);
    let (prior_degrees, scale) = prior(items, &pearson, &trend);
    items
        .iter()
        .zip(pearson.iter().zip(&trend))
        .map(|(item, (phi, trend))| {
            let degrees = item.degrees();
            let total = prior_degrees + degrees;
            let moderated = (prior_degrees * scale * trend + degrees * phi) / total;
            Noise { dispersion: moderated.max(1.0), degrees: total, factor_log_variance }
        })
        .collect()
}

/// Dispersion to expect of an item with its mean count, at least 1: the mean of the bin of items of like count, and
/// straight lines in ln(count) between bins.
fn trend(items: &[Item], pearson: &[f64]) -> Vec<f64> {
    let log_count: Vec<f64> =
        items.iter().map(|item| item.mean_count().max(f64::MIN_POSITIVE).ln()).collect();
    let mut order: Vec<usize> =
        (0..items.len()).filter(|index| items[*index].pooled_rate() < PRIOR_RATE_MAX).collect();
    order.sort_by(|left, right| log_count[*left].total_cmp(&log_count[*right]));
    let bins = (order.len() / BIN_ITEMS).clamp(1, BINS_MAX);
    let points: Vec<(f64, f64)> = order
        .chunks(order.len().div_ceil(bins).max(1))
        .map(|bin| {
            let mut values: Vec<f64> = bin.iter().map(|index| pearson[*index]).collect();
            values.sort_by(f64::total_cmp);
            let clip_at = ((values.len() as f64) * (1.0 - CLIPPED_SHARE)).ceil() as usize;
            let ceiling = values[clip_at.clamp(1, values.len()) - 1];
            let mean = values.iter().map(|phi| phi.min(ceiling)).sum::<f64>() / values.len() as f64;
            let centre = bin.iter().map(|index| log_count[*index]).sum::<f64>() / bin.len() as f64;
            (centre, mean.max(1.0))
        })
        .collect();
    log_count.iter().map(|at| interpolate(&points, *at)).collect()
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
fn prior(items: &[Item], pearson: &[f64], trend: &[f64]) -> (f64, f64) {
    // The bias and spread of ln φ by chance alone, and what remains.
    let residuals: Vec<(f64, f64)> = items
        .iter()
        .zip(pearson.iter().zip(trend))
        .filter(|(item, (phi, _))| {
            item.degrees() > 0.0 && **phi > 0.0 && item.pooled_rate() < PRIOR_RATE_MAX
        })
        .map(|(item, (phi, trend))| {
            let half = item.degrees() / 2.0;
            ((phi / trend).ln() - digamma(half) + half.ln(), trigamma(half))
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
    use super::super::count_test::Arm;
    use super::*;

    fn item(counts: [f64; 4]) -> Item {
        let arm = |counts: &[f64]| Arm { counts: counts.to_vec(), exposures: vec![1e4; 2] };
        Item { baseline: arm(&counts[..2]), candidate: arm(&counts[2..]) }
    }

    #[test]
    fn quiet_items_borrow_noise_from_their_neighbours() {
        let mut items = vec![item([80.0, 120.0, 130.0, 70.0]); 40];
        items.push(item([100.0, 100.0, 100.0, 100.0]));
        let noise = moderate(&items, 0.0);
        assert!(noise[40].dispersion > 2.0, "{:?}", noise[40]);
        assert!(noise[40].degrees > 2.0);
    }

    #[test]
    fn a_root_without_noise_does_not_spoil_what_others_lend() {
        let mut items: Vec<Item> =
            (0..40).map(|k| item([80.0 + f64::from(k), 120.0, 130.0, 70.0])).collect();
        let before = moderate(&items, 0.0)[0].degrees;
        items.push(item([1e4, 1e4, 1e4, 1e4 + 1e-3]));
        assert_eq!(moderate(&items, 0.0)[0].degrees, before);
    }

    #[test]
    fn an_item_alone_stands_on_its_own_replicates() {
        let noise = moderate(&[item([100.0, 100.0, 100.0, 100.0])], 0.0);
        assert_eq!((noise[0].dispersion, noise[0].degrees), (1.0, 2.0));
    }
}
