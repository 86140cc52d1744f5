//! What dispersion to expect of an item, before it is looked at: that of items of like count and like parts.

use super::Scatter;

/// Largest rate of an item from which anything is learned: a root function is in every sample, so its count follows
/// the exposure without any noise, and says nothing of the noise of others.
pub(super) const RATE_MAX: f64 = 0.5;

/// Fewest items of a class of like parts, and most classes.
const CLASS_ITEMS_MIN: usize = 80;
const CLASSES_MAX: usize = 4;

/// Fewest items of a bin of the trend. Fewer make the trend follow chance; many more leave big and small functions,
/// whose dispersions differ most, in one bin, and the scatter that this makes looks like noise of its own.
const BIN_ITEMS: usize = 10;

/// Most bins of a class.
const BINS_MAX: usize = 25;

/// Share of the largest dispersions of a bin that is clipped before its mean is taken.
const CLIPPED_SHARE: f64 = 0.02;

/// Dispersion to expect of an item: what is made of many parts that vary by themselves scatters less than what is one.
#[derive(Debug, Clone)]
pub(super) struct Trend {
    /// (most parts, (ln of the mean count, dispersion) by rising count) by rising parts; the last has no upper end.
    classes: Vec<(f64, Vec<(f64, f64)>)>,
}

impl Trend {
    pub(super) fn of(scatters: &[Scatter]) -> Self {
        let mut rising: Vec<&Scatter> =
            scatters.iter().filter(|scatter| scatter.rate < RATE_MAX).collect();
        rising.sort_unstable_by(|left, right| left.parts.total_cmp(&right.parts));
        let classes = (rising.len() / CLASS_ITEMS_MIN).clamp(1, CLASSES_MAX);
        let mut trend = Self { classes: Vec::new() };
        for class in rising.chunks(rising.len().div_ceil(classes).max(1)) {
            let most = class.last().map_or(f64::INFINITY, |scatter| scatter.parts);
            trend.classes.push((most, curve(class)));
        }
        if let Some(last) = trend.classes.last_mut() {
            last.0 = f64::INFINITY;
        }
        trend
    }

    /// Dispersion to expect of an item, at least that which its exposures make.
    pub(super) fn at(&self, scatter: &Scatter) -> f64 {
        let class = self.classes.partition_point(|(most, _)| *most < scatter.parts);
        let of_class = self.classes.get(class);
        of_class
            .map_or(1.0, |(_, points)| interpolate(points, log_count(scatter)))
            .max(scatter.least)
    }

    /// Dispersion of an item of middling size and parts; 1 where there are none.
    pub(super) fn typical(&self) -> f64 {
        let class = self.classes.get(self.classes.len() / 2);
        let point = class.and_then(|(_, points)| points.get(points.len() / 2));
        point.map_or(1.0, |(_, dispersion)| *dispersion)
    }
}

/// Dispersion to expect at a mean count, at least 1: the means of bins of items of like count.
fn curve(scatters: &[&Scatter]) -> Vec<(f64, f64)> {
    let mut rising: Vec<(f64, f64)> =
        scatters.iter().map(|scatter| (log_count(scatter), scatter.dispersion)).collect();
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

fn log_count(scatter: &Scatter) -> f64 {
    scatter.mean_count.max(f64::MIN_POSITIVE).ln()
}
