//! How much a series moves by itself: what the very same comparison gave in the past.

use std::collections::HashMap;

use crate::detect::dispersion::{Prior, Scatter};

use super::operator::{Against, Operator, Residuals, mean};

/// Fewest degrees of freedom that are claimed for a series of any length.
const DEGREES_MIN: f64 = 8.0;

/// Residuals that stand for one independent value, in windows: three times the windows of the mean.
const CORRELATED: usize = 3;

/// Factor that makes the median absolute deviation of a normal its standard deviation.
const MAD_TO_SD: f64 = 1.4826;

/// Part of the plain standard deviation that is believed whatever the median says: rare disturbances leave the median
/// alone, and are the reason for false alarms.
const SD_PART: f64 = 0.7;

/// Noise of one series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) standard_deviation: f64,
    pub(super) degrees: f64,
}

/// Most series from which the noise of all is learned, besides those that are asked for: enough for the trend.
const PRIOR_ITEMS_MAX: usize = 160;

/// Scale of the items asked for against one baseline: `max(1.4826 MAD, 0.7 sd)` around 0 of past residuals, its square moderated
/// towards that of series of like counts (empirical Bayes, Smyth 2004) and never below the sampling variance.
///
/// Degrees of freedom are `max(8, n/(3k))` of its own, n being the windows that the past residuals span, and those that
/// the others lend. The CPU of the service is no share: it stands alone.
pub(super) fn scales(
    operator: &Operator<'_>,
    at: usize,
    against: Against,
    (past, wanted): (&[&(usize, Residuals)], &[usize]),
) -> HashMap<usize, Scale> {
    let side = against as usize;
    let width = operator.series.width;
    let stride = match past {
        [(left, _), (right, _), ..] => left.abs_diff(*right).max(1),
        _ => 1,
    };
    let series = operator.series;
    let mut buffer = Vec::with_capacity(past.len());
    let mut scatter = |item: usize| {
        let is_usable = |at: &usize| {
            !series.is_masked(item) || operator.tested(*at).all(|at| series.is_clean(item, at))
        };
        buffer.clear();
        buffer.extend(
            past.iter()
                .filter(|(at, _)| is_usable(at))
                .map(|(_, residuals)| residuals.values[side][item])
                .filter(|value| !value.is_nan()),
        );
        let windows = (buffer.len() * stride) as f64 / width as f64;
        let noise = operator.noise(item, at, against);
        let scatter = Scatter {
            dispersion: spread(&mut buffer).powi(2) / noise,
            degrees: (windows / (CORRELATED * operator.k) as f64).max(DEGREES_MIN),
            mean_count: 1.0 / mean(operator.tested(at).map(|at| series.noise[item][at])),
            rate: 0.0,
            parts: 1.0,
            least: 1.0,
        };
        (scatter.dispersion.is_finite() && scatter.mean_count.is_finite())
            .then_some((scatter, noise))
    };
    let every = (series.items.len() / PRIOR_ITEMS_MAX).max(1);
    let mut items: Vec<usize> = (0..series.items.len()).step_by(every).collect();
    items.extend(wanted);
    items.sort_unstable();
    items.dedup();
    let scatters: HashMap<usize, (Scatter, f64)> =
        items.iter().filter_map(|item| Some((*item, scatter(*item)?))).collect();
    let shares: Vec<Scatter> = items
        .iter()
        .filter(|item| series.items[**item].is_share())
        .filter_map(|item| Some(scatters.get(item)?.0))
        .collect();
    let prior = Prior::learn(&shares);
    wanted
        .iter()
        .filter_map(|item| {
            let (scatter, noise) = scatters.get(item)?;
            let (dispersion, degrees) = if series.items[*item].is_share() {
                let moderated = prior.noise(scatter);
                (moderated.dispersion, moderated.degrees)
            } else {
                (scatter.dispersion.max(1.0), scatter.degrees)
            };
            Some((*item, Scale { standard_deviation: (dispersion * noise).sqrt(), degrees }))
        })
        .collect()
}

/// `max(1.4826 median |r|, 0.7 √(mean r²))`, around 0: that is what the comparison gives when nothing changes.
pub(super) fn spread(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let square = values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64;
    (MAD_TO_SD * median_size(values)).max(SD_PART * square.sqrt())
}

/// Median of the absolute values, which it leaves in `values`.
pub(super) fn median_size(values: &mut [f64]) -> f64 {
    for value in values.iter_mut() {
        *value = value.abs();
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}
