//! Tests every series of one rung at one time.

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, HashMap};

use crate::detect::discovery;
use crate::detect::special::t_upper_tail;

use super::calendar::Calendar;
use super::finding::{Pace, Rung, RungState, Span};
use super::operator::{Against, Operator, Residuals, mean};
use super::options::{Mask, TemporalOptions};
use super::scale::{Scale, scales};
use super::season::{DAYS_MIN, Seasonal};
use super::series::{ITEM_SAMPLES_MIN, Series};
use super::timeline::{FINE_SLOTS_MAX, HOUR_NS, HOUR_SLOTS_MAX, Timeline};

/// Largest logarithm of the factor. Beyond it most of the service changed, and which part did cannot be told by shares.
const FACTOR_LOG_MAX: f64 = 0.2;

/// Independent values of the past that it takes to know the noise.
const INDEPENDENT_MIN: usize = 3;

/// Windows of the past that it takes on the rungs below that of a day, whatever k is.
const WINDOWS_MIN: usize = 24;

/// Hours of past comparisons from which the noise is taken.
const PAST_HOURS: usize = 14 * 24;

/// Part of the mean change that each window in a row must show: what fades is going away.
const LASTING_PART: f64 = 0.5;

/// Rungs among which the false discovery rate is split.
pub(super) const RUNGS: f64 = Rung::ALL.len() as f64;

/// Past comparisons of one operator, oldest first.
type Past = Vec<(usize, Residuals)>;

/// One rung of the ladder, with what was computed of it.
pub(super) struct Step {
    pub(super) rung: Rung,
    pub(super) series: Series,
    pub(super) seasonal: Seasonal,
    past: RefCell<BTreeMap<usize, Past>>,
}

/// A series that changed.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) rung: Rung,
    pub(super) pace: Pace,
    /// Position of the item in the series of the rung.
    pub(super) item: usize,
    /// Position of the newest window.
    pub(super) at: usize,
    pub(super) k: usize,
    /// Logarithm of the change against the nearer baseline.
    pub(super) change: f64,
    /// Logarithm of the value before.
    pub(super) before: f64,
    /// Noise of `change`.
    pub(super) scale: Scale,
    pub(super) t: f64,
    pub(super) p: f64,
    /// All rungs together.
    pub(super) q: f64,
    /// Windows of the trailing baseline, newest first.
    pub(super) trailing: Vec<usize>,
}

impl Step {
    /// The rungs that need one series each, from the shortest to the longest.
    pub(super) fn ladder(timeline: &Timeline, mask: &Mask, calendar: Calendar) -> Vec<Self> {
        let series = |rung| Series::of(timeline, rung, mask, calendar);
        let hours = series(Rung::Hour);
        let hourly = Seasonal::of(&hours, 1);
        let fine = series(Rung::TenMinutes);
        let between = Seasonal::between(&fine, &hours, &hourly);
        let step =
            |rung, series, seasonal| Self { rung, series, seasonal, past: RefCell::default() };
        let long = [(Rung::SixHours, 1), (Rung::Day, DAY_WINDOWS)].map(|(rung, lag)| {
            let series = series(rung);
            let seasonal = Seasonal::of(&series, lag);
            step(rung, series, seasonal)
        });
        let mut ladder =
            vec![step(Rung::TenMinutes, fine, between), step(Rung::Hour, hours, hourly)];
        ladder.extend(long);
        ladder
    }

    pub(super) fn operator(&self, k: usize) -> Operator<'_> {
        Operator::new(&self.series, &self.seasonal, self.rung, k)
    }

    /// Comparisons with `k` windows up to window `at` whose windows may serve for comparison, oldest first.
    pub(super) fn past(&self, k: usize, at: usize) -> (Ref<'_, Past>, std::ops::Range<usize>) {
        let reach = match self.rung {
            Rung::TenMinutes => FINE_SLOTS_MAX,
            // Disturbances are rare: single hours are looked at as far back as there are any.
            Rung::Hour if k == 1 => HOUR_SLOTS_MAX,
            Rung::Hour | Rung::SixHours => PAST_HOURS,
            Rung::Day | Rung::Drift => HOUR_SLOTS_MAX,
        };
        if !self.past.borrow().contains_key(&k) {
            let operator = self.operator(k);
            let stride = self.series.width.div_ceil(6);
            let all: Past = (0..self.series.len())
                .step_by(stride)
                .filter(|at| operator.tested(*at).all(|at| self.series.is_clean_for_all(at)))
                .filter_map(|at| Some((at, operator.residuals(at)?)))
                .collect();
            self.past.borrow_mut().insert(k, all);
        }
        let all = Ref::map(self.past.borrow(), |past| &past[&k]);
        let start = all.partition_point(|(position, _)| position + reach <= at);
        let end = all.partition_point(|(position, _)| position + k * self.series.width <= at);
        (all, start..end.max(start))
    }

    /// Tests all series at window `at`, which must exist, with `k` windows in a row.
    pub(super) fn test(
        &self,
        at: usize,
        (k, pace): (usize, Pace),
        options: &TemporalOptions,
    ) -> Result<(Vec<Candidate>, usize), RungState> {
        let operator = self.operator(k);
        let residuals = operator.residuals(at).ok_or_else(|| self.why_not(at, k))?;
        let (all, range) = self.past(k, at);
        let past: Vec<&(usize, Residuals)> = all[range].iter().collect();
        let spanned = past.len() * self.series.width.div_ceil(6) / self.series.width;
        let need = match self.rung {
            Rung::Day | Rung::Drift => INDEPENDENT_MIN * k,
            Rung::TenMinutes | Rung::Hour | Rung::SixHours => WINDOWS_MIN.max(INDEPENDENT_MIN * k),
        };
        if spanned < need {
            return Err(RungState::NotYet { have: spanned, need });
        }
        let largest = residuals.factors.into_iter().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        let factor = largest.unwrap_or(0.0);
        if factor.abs() > FACTOR_LOG_MAX {
            return Err(RungState::MixChanged { factor: factor.exp() });
        }
        let (rung, operator, residuals) = (self.rung, &operator, &residuals);
        let oldest = past.first().map_or(at, |(at, _)| *at);
        let context = Context { rung, operator, at, oldest, residuals, pace, options };
        let effects: Vec<Effect> =
            (0..self.series.items.len()).filter_map(|item| context.effect(item)).collect();
        let lasting: Vec<usize> =
            effects.iter().filter(|effect| effect.lasts).map(|effect| effect.item).collect();
        // The noise of hundreds of series takes most of the time, and mostly nothing lasts.
        let scales = [Against::Season, Against::Trail].map(|side| {
            if lasting.is_empty() {
                HashMap::new()
            } else {
                scales(operator, at, side, (&past, &lasting))
            }
        });
        let [season, trail] = &scales;
        let tested: Vec<Candidate> = effects
            .iter()
            .map(|effect| {
                let scale = |scales: &HashMap<usize, Scale>| scales.get(&effect.item).copied();
                context.test(effect, scale(season).zip(scale(trail)))
            })
            .collect();
        let adjusted = discovery::adjust(&tested.iter().map(|one| one.p).collect::<Vec<f64>>());
        let tests = tested.len();
        let level = if pace == Pace::Fast { options.fast_q } else { options.q };
        let found = tested
            .into_iter()
            .zip(adjusted)
            .map(|(one, q)| Candidate { q: (q * RUNGS).min(1.0), ..one })
            .filter(|one| one.q <= level)
            .collect();
        Ok((found, tests))
    }

    /// Spans of the seasonal baseline of a window; those of ten minutes are compared with whole hours.
    pub(super) fn seasonal_spans(&self, item: usize, at: usize) -> Vec<Span> {
        let references = self.seasonal.references_of(&self.series, item, at);
        let Some(first) = self.seasonal.hours_from else { return self.spans(&references) };
        let span = |hour: &usize| {
            let start_unix_ns = (first + *hour as u64) * HOUR_NS;
            Span { start_unix_ns, end_unix_ns: start_unix_ns + HOUR_NS }
        };
        references.iter().map(span).collect()
    }

    /// Spans of windows given by their position.
    pub(super) fn spans(&self, windows: &[usize]) -> Vec<Span> {
        windows.iter().map(|at| self.series.span(*at)).collect()
    }

    fn why_not(&self, at: usize, k: usize) -> RungState {
        let operator = self.operator(k);
        let tested: Vec<usize> = operator.tested(at).collect();
        if tested.len() == k && tested.iter().any(|at| !self.series.has_data(*at)) {
            return RungState::NoData;
        }
        let alike = tested.iter().map(|at| self.seasonal.references[*at].len()).min();
        let alike = alike.unwrap_or(0);
        if alike < DAYS_MIN {
            return RungState::NotYet { have: alike, need: DAYS_MIN };
        }
        let clean = (0..=at).filter(|at| self.series.is_clean_for_all(*at)).count();
        let need = operator.trailing / 2 + k;
        RungState::NotYet { have: (clean / self.series.width).min(need - 1), need }
    }
}

/// Windows in a row of the rung of a day.
pub(super) const DAY_WINDOWS: usize = 3;

/// What the test of one series needs.
struct Context<'c, 's> {
    rung: Rung,
    operator: &'c Operator<'s>,
    at: usize,
    /// The oldest window with which anything is compared.
    oldest: usize,
    residuals: &'c Residuals,
    pace: Pace,
    options: &'c TemporalOptions,
}

/// How a series moved.
struct Effect {
    item: usize,
    /// Mean of k residuals against the season and the trail.
    values: [f64; 2],
    sign: f64,
    /// Logarithm of the least change of interest.
    least: f64,
    /// Logarithm of the trailing baseline.
    level: f64,
    /// Whether each of the k windows shows it, against both baselines.
    lasts: bool,
}

impl Context<'_, '_> {
    /// How an item moved; `None` when it has too few samples or cannot be judged.
    fn effect(&self, item: usize) -> Option<Effect> {
        let Self { operator, at, oldest, residuals, pace, options, .. } = *self;
        let series = operator.series;
        let values = [0, 1].map(|side: usize| residuals.values[side][item]);
        let trailing = operator.trailing_of(item, at, residuals);
        let level = mean(trailing.iter().map(|at| series.logs[item][*at]));
        let count = |windows: &mut dyn Iterator<Item = usize>| {
            mean(windows.map(|at| 1.0 / series.noise[item][at]))
        };
        let now = count(&mut operator.tested(at));
        let before = count(&mut trailing.iter().copied());
        let sign = values[0].signum();
        if values.iter().any(|value| value.is_nan())
            || now.max(before) < ITEM_SAMPLES_MIN
            || (sign < 0.0 && !series.is_known_since(item, oldest))
        {
            return None;
        }
        let (rel, abs) = match pace {
            Pace::Fast => (options.fast_rel_min, options.fast_abs_min),
            Pace::Lasting | Pace::Slow => (options.rel_min, options.abs_min),
        };
        let abs = if series.items[item].is_share() { abs / level.exp() } else { 0.0 };
        // What falls by a tenth and what grows by a ninth are equally far: both are measured on the logarithm.
        let least = rel.max(abs).ln_1p();
        let floors = values.map(|value| least.max(LASTING_PART * value * sign));
        let lasts = operator
            .each(item, at, residuals)
            .all(|each| each.into_iter().zip(floors).all(|(value, floor)| value * sign > floor));
        Some(Effect { item, values, sign, least, level, lasts })
    }

    /// `t = (|mean of k residuals| - ln(1 + δ))/sd` against each baseline; the larger p counts, since both must agree
    /// (an intersection-union test, Berger 1982). Both directions are looked at, so p is doubled. What does not last
    /// has no scale, and p = 1.
    fn test(&self, effect: &Effect, scales: Option<(Scale, Scale)>) -> Candidate {
        let &Effect { item, values, sign, least, level, lasts } = effect;
        let none = Scale { standard_deviation: f64::INFINITY, degrees: 1.0 };
        let scales = scales.map_or([none; 2], |(season, trail)| [season, trail]);
        let near = usize::from(values[1] * sign < values[0] * sign);
        let t = |side: usize| (values[side] * sign - least) / scales[side].standard_deviation;
        let tail = |side: usize| (2.0 * t_upper_tail(t(side), scales[side].degrees)).min(1.0);
        Candidate {
            rung: self.rung,
            pace: self.pace,
            item,
            at: self.at,
            k: self.operator.k,
            change: values[near],
            before: level,
            scale: scales[near],
            t: t(0).min(t(1)),
            p: if lasts { tail(0).max(tail(1)) } else { 1.0 },
            q: 1.0,
            trailing: self.operator.trailing_of(item, self.at, self.residuals),
        }
    }
}
