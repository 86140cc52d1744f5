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

/// Dispersion to expect of an item, `1 + μ τ²` with τ² the squared coefficient of variation between hosts: what is made of
/// many parts that vary by themselves scatters less than what is one. It is τ² that items of like count share; the
/// dispersion itself grows with the count, so the largest item would be expected to scatter like the ten that follow.
#[derive(Debug, Clone)]
pub(super) struct Trend {
    /// (most parts, points by rising count) by rising parts; the last has no upper end.
    classes: Vec<(f64, Vec<Point>)>,
}

/// Items of like count.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Mean of the logarithms of their counts.
    log_count: f64,
    /// Squared coefficient of variation between hosts.
    tau2: f64,
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
        let tau2 =
            self.classes.get(class).map_or(0.0, |(_, points)| tau2_at(points, scatter.log_count()));
        scatter.mean_count.mul_add(tau2, 1.0).max(scatter.least)
    }

    /// Dispersion of an item of middling size and parts; 1 where there are none.
    pub(super) fn typical(&self) -> f64 {
        let class = self.classes.get(self.classes.len() / 2);
        let point = class.and_then(|(_, points)| points.get(points.len() / 2));
        point.map_or(1.0, |point| point.log_count.exp().mul_add(point.tau2, 1.0))
    }
}

/// What bins of items of like count have in the mean.
fn curve(scatters: &[&Scatter]) -> Vec<Point> {
    let mut rising = scatters.to_vec();
    rising.sort_unstable_by(|left, right| {
        let by_count = left.mean_count.total_cmp(&right.mean_count);
        by_count.then(left.dispersion.total_cmp(&right.dispersion))
    });
    let bins = (rising.len() / BIN_ITEMS).clamp(1, BINS_MAX);
    rising.chunks(rising.len().div_ceil(bins).max(1)).map(point).collect()
}

fn point(bin: &[&Scatter]) -> Point {
    let mut values: Vec<f64> = bin.iter().map(|scatter| scatter.dispersion).collect();
    values.sort_unstable_by(f64::total_cmp);
    let clip_at = ((values.len() as f64) * (1.0 - CLIPPED_SHARE)).ceil() as usize;
    let ceiling = values[clip_at.clamp(1, values.len()) - 1];
    let items = bin.len() as f64;
    let dispersion = values.iter().map(|phi| phi.min(ceiling)).sum::<f64>() / items;
    let count = bin.iter().map(|scatter| scatter.mean_count).sum::<f64>() / items;
    Point {
        log_count: bin.iter().map(|scatter| scatter.log_count()).sum::<f64>() / items,
        tau2: (dispersion - 1.0).max(0.0) / count.max(f64::MIN_POSITIVE),
    }
}

/// τ² at a count, on the line through `points`, constant outside them; 0 where there are none.
fn tau2_at(points: &[Point], log_count: f64) -> f64 {
    let right = points.partition_point(|point| point.log_count < log_count);
    match (right.checked_sub(1).and_then(|left| points.get(left)), points.get(right)) {
        (Some(left), Some(right)) if right.log_count > left.log_count => {
            let part = (log_count - left.log_count) / (right.log_count - left.log_count);
            (right.tau2 - left.tau2).mul_add(part, left.tau2)
        }
        (Some(only), _) | (None, Some(only)) => only.tau2,
        (None, None) => 0.0,
    }
}

impl Scatter {
    fn log_count(&self) -> f64 {
        self.mean_count.max(f64::MIN_POSITIVE).ln()
    }
}
