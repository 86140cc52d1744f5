//! The comparison that is made of every window, now and in the past: the mean of the last k windows less a baseline.

use crate::detect::normalize::middle;

use super::finding::Rung;
use super::season::Seasonal;
use super::series::Series;

/// Clean windows of the trailing baseline.
const TRAILING: usize = 24;

/// The same on the rung of a day: a week.
const TRAILING_DAYS: usize = 7;

/// How far back clean windows are looked for, in lengths of the trailing baseline: an alert may last for weeks.
const TRAILING_REACH: usize = 28;

/// Spread that functions have anyway, so that huge ones do not decide the factor alone.
const SPREAD: f64 = 0.05;

/// Fewest series from which a factor is taken.
const FACTOR_ITEMS_MIN: usize = 5;

/// The two baselines, which must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// The same hour of past days.
    Season,
    /// The last windows before those that are tested.
    Trail,
}

/// The comparison of one rung with `k` windows in a row.
pub(super) struct Operator<'s> {
    pub(super) series: &'s Series,
    pub(super) seasonal: &'s Seasonal,
    pub(super) k: usize,
    /// Clean windows of the trailing baseline.
    pub(super) trailing: usize,
    /// Whether the season is taken out of the trailing baseline: four hours lie in another part of the day.
    is_adjusted: bool,
}

/// What it gives at one time, by item; not a number where an item has no data.
#[derive(Debug, Clone)]
pub(super) struct Residuals {
    /// Mean of the last k logarithms less their baseline, less `factor`: against the season, and against the trail.
    pub(super) values: [Vec<f64>; 2],
    /// Logarithm of the factor by which unchanged shares moved, against each baseline.
    pub(super) factors: [f64; 2],
    /// Windows of the trailing baseline, newest first.
    pub(super) trailing: Vec<usize>,
}

impl<'s> Operator<'s> {
    pub(super) fn new(series: &'s Series, seasonal: &'s Seasonal, rung: Rung, k: usize) -> Self {
        let trailing =
            if matches!(rung, Rung::Day | Rung::Drift) { TRAILING_DAYS } else { TRAILING };
        Self { series, seasonal, k, trailing, is_adjusted: rung == Rung::TenMinutes }
    }

    /// Windows that are tested at `at`, newest first; fewer than k where time begins.
    pub(super) fn tested(&self, at: usize) -> impl Iterator<Item = usize> + use<'_, 's> {
        (0..self.k).map_while(move |back| at.checked_sub(back * self.series.width))
    }

    /// The comparison at `at`; `None` when a tested window has no data or a baseline has too few windows.
    pub(super) fn residuals(&self, at: usize) -> Option<Residuals> {
        let tested: Vec<usize> = self.tested(at).collect();
        if tested.len() < self.k || !tested.iter().all(|at| self.series.has_data(*at)) {
            return None;
        }
        let trailing = self.trail(at, None)?;
        if tested.iter().any(|at| self.seasonal.references[*at].is_empty()) {
            return None;
        }
        let items = self.series.items.len();
        let [mut seasonal, mut trailed] = [vec![f64::NAN; items], vec![f64::NAN; items]];
        for (item, (of_season, of_trail)) in seasonal.iter_mut().zip(&mut trailed).enumerate() {
            let own = self.series.is_masked(item).then(|| self.trail(at, Some(item)));
            let trailing = match &own {
                Some(Some(own)) => own,
                Some(None) => continue,
                None => &trailing,
            };
            *of_season = self.less(item, &tested, |at| self.seasonal.expected[item][at]);
            let level = self.level(item, trailing);
            *of_trail = self.less(item, &tested, |at| level + self.adjustment(item, at));
        }
        let mut values = [seasonal, trailed];
        let mut factors = [0.0; 2];
        for (values, factor) in values.iter_mut().zip(&mut factors) {
            *factor = self.factor(values, at);
            for (item, value) in self.series.items.iter().zip(values) {
                if item.is_share() {
                    *value -= *factor;
                }
            }
        }
        Some(Residuals { values, factors, trailing })
    }

    /// What each tested window alone shows of an item, newest first.
    pub(super) fn each<'r>(
        &'r self,
        item: usize,
        at: usize,
        residuals: &'r Residuals,
    ) -> impl Iterator<Item = [f64; 2]> + 'r {
        let factor = if self.series.items[item].is_share() { residuals.factors } else { [0.0; 2] };
        let level = self.level(item, &self.trailing_of(item, at, residuals));
        self.tested(at).map(move |at| {
            let log = self.series.logs[item][at];
            let trail = level + self.adjustment(item, at);
            [log - self.seasonal.expected[item][at] - factor[0], log - trail - factor[1]]
        })
    }

    /// Sampling variance of the comparison of an item: that of the mean of k windows, and of the baseline.
    pub(super) fn noise(&self, item: usize, at: usize, against: Against) -> f64 {
        let noise = &self.series.noise[item];
        let tested = mean(self.tested(at).map(|at| noise[at]));
        let k = self.k as f64;
        let windows = match against {
            Against::Season => {
                let days = self.seasonal.references[at].len() as f64;
                // Overlapping weeks of the same k hours: each of the k windows has its own references.
                days * k
            }
            Against::Trail => self.trailing as f64,
        };
        tested / k + tested / windows.max(1.0)
    }

    /// The last clean windows before those that are tested, newest first; `None` when fewer than half are found.
    fn trail(&self, at: usize, item: Option<usize>) -> Option<Vec<usize>> {
        let width = self.series.width;
        let start = at.checked_sub(self.k * width)?;
        let reach = (0..TRAILING_REACH * self.trailing)
            .map_while(|back| start.checked_sub(back * width))
            .filter(|at| match item {
                Some(item) => self.series.is_clean(item, *at),
                None => self.series.is_clean_for_all(*at),
            });
        let found: Vec<usize> = reach.take(self.trailing).collect();
        (2 * found.len() >= self.trailing).then_some(found)
    }

    /// What the trailing baseline expects, apart from the season where that is taken out.
    fn level(&self, item: usize, trailing: &[usize]) -> f64 {
        mean(trailing.iter().map(|at| self.series.logs[item][*at] - self.adjustment(item, *at)))
    }

    /// What the season expects of a window, where it is taken out.
    fn adjustment(&self, item: usize, at: usize) -> f64 {
        if self.is_adjusted { self.seasonal.expected[item][at] } else { 0.0 }
    }

    /// Windows of the trailing baseline of an item.
    pub(super) fn trailing_of(&self, item: usize, at: usize, residuals: &Residuals) -> Vec<usize> {
        let own = self.series.is_masked(item).then(|| self.trail(at, Some(item))).flatten();
        own.unwrap_or_else(|| residuals.trailing.clone())
    }

    fn less(&self, item: usize, tested: &[usize], baseline: impl Fn(usize) -> f64) -> f64 {
        mean(tested.iter().map(|at| self.series.logs[item][*at] - baseline(*at)))
    }

    /// Weighted median of the residuals of the functions' own shares: the growth of one makes all others look smaller
    /// (median of ratios, Anders and Huber 2010). Weights are `1/(1/x + SPREAD²)`.
    fn factor(&self, values: &[f64], at: usize) -> f64 {
        let pairs: Vec<(f64, f64)> = self
            .series
            .items
            .iter()
            .enumerate()
            .filter(|(item, kind)| {
                matches!(kind, super::series::Item::Own(_)) && !values[*item].is_nan()
            })
            .map(|(item, _)| {
                (values[item], 1.0 / SPREAD.mul_add(SPREAD, self.series.noise[item][at]))
            })
            .collect();
        if pairs.len() < FACTOR_ITEMS_MIN {
            return 0.0;
        }
        middle(pairs)
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { f64::NAN } else { sum / count as f64 }
}
