//! How long a change must last: longer than what this service is known to do for a while.

use super::operator::Residuals;
use super::options::TemporalOptions;
use super::scale::median_size;
use super::series::{ITEM_SAMPLES_MIN, Series};

/// Windows in a row for a service that was calm for [`CALM_HOURS`].
pub(super) const WINDOWS_CALM: usize = 4;

/// Windows in a row for a service that had a disturbance, or is not known yet: two more than six, which covers the
/// usual batch job, backup, cache refill or short incident.
const WINDOWS_RESTLESS: usize = 8;

/// Windows by which a change must outlast the longest disturbance: chance alone often adds one.
const WINDOWS_MORE: usize = 2;

/// Hours that must be known of a service before it can be called calm.
const CALM_HOURS: usize = 14 * 24;

/// Longest disturbance, hours. What lasts longer is a change of which the baselines learn.
const DISTURBANCE_HOURS_MAX: usize = 11;

/// Least relative size of a disturbance, as a logarithm: 15 %.
const SIZE_MIN: f64 = 0.139_761_942_375_158_8;

/// Size of a disturbance over the noise of the series.
const SIGMAS: f64 = 5.0;

/// Factor that makes the median absolute deviation of a normal its standard deviation.
const MAD_TO_SD: f64 = 1.4826;

/// What the past says of the disturbances of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// Longest disturbance that went away, hours; 0 when there was none.
    pub(super) longest_hours: usize,
    /// Whether the service is known for long enough and had none.
    pub(super) is_calm: bool,
}

impl Patience {
    /// Looks for disturbances in past comparisons of single hours, oldest first. One begins when a series leaves both
    /// baselines by more than 15 %, and the season by five times its noise, and ends when it is back half way.
    pub(super) fn of(
        series: &Series,
        past: &[&(usize, Residuals)],
        options: &TemporalOptions,
    ) -> Self {
        let longest = (0..series.items.len())
            .filter(|item| series.items[*item].is_share())
            .map(|item| longest(series, item, past, options))
            .max();
        let longest_hours = longest.unwrap_or(0);
        Self { longest_hours, is_calm: longest_hours == 0 && past.len() >= CALM_HOURS }
    }

    /// Windows of an hour that a change must last.
    pub(super) fn hours(self) -> usize {
        if self.is_calm {
            WINDOWS_CALM
        } else {
            WINDOWS_RESTLESS.max(self.longest_hours + WINDOWS_MORE)
        }
    }
}

fn longest(
    series: &Series,
    item: usize,
    past: &[&(usize, Residuals)],
    options: &TemporalOptions,
) -> usize {
    let mut values: Vec<f64> = past
        .iter()
        .map(|(_, residuals)| residuals.values[0][item])
        .filter(|value| !value.is_nan())
        .collect();
    if values.is_empty() {
        return 0;
    }
    let threshold = (SIGMAS * MAD_TO_SD * median_size(&mut values)).max(SIZE_MIN);
    let (mut longest, mut begun): (usize, Option<(usize, f64)>) = (0, None);
    for (at, residuals) in past {
        let [season, trail] = [0, 1].map(|side: usize| residuals.values[side][item]);
        match begun {
            Some((start, sign)) if season * sign < threshold / 2.0 => {
                let length = at - start;
                if length <= DISTURBANCE_HOURS_MAX {
                    longest = longest.max(length);
                }
                begun = None;
            }
            None => {
                let sign = season.signum();
                let share = series.logs[item][*at].exp();
                let is_large = (share - (series.logs[item][*at] - season).exp()).abs()
                    >= options.abs_min
                    && 1.0 / series.noise[item][*at] >= ITEM_SAMPLES_MIN / 2.0;
                if season * sign > threshold && trail * sign > SIZE_MIN && is_large {
                    begun = Some((*at, sign));
                }
            }
            Some(_) => {}
        }
    }
    longest
}
