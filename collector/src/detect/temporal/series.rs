//! The logarithm of every share in every window of one length.

use std::collections::HashMap;

use crate::detect::{FunctionKind, Subject};

use super::calendar::Calendar;
use super::finding::{Rung, Span, Watched};
use super::options::Mask;
use super::timeline::{FINE_NS, FOLLOWED_SAMPLES_MIN, Followed, Grid, HOUR_NS, Timeline};

/// Fewest samples of a window; with fewer it counts as one without data.
const WINDOW_SAMPLES_MIN: f64 = 200.0;

/// Fewest samples of a function in a window, on average before or now. With fewer the logarithm is far from normal;
/// the longer rungs see the function.
pub(super) const ITEM_SAMPLES_MIN: f64 = 20.0;

/// Share of the samples above which a function is no series: its growth is that of the service, and makes all others
/// look smaller.
const SHARE_MAX: f64 = 0.5;

/// What a series counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Item {
    /// Samples with a function on top, by number.
    Own(usize),
    /// Samples with a function anywhere.
    Anywhere(usize),
    /// CPU time of the service.
    ServiceCpu,
}

/// All series of a service in windows of one length. A window is named by the position of the slot that it ends with.
pub(super) struct Series {
    /// Slots of a window.
    pub(super) width: usize,
    pub(super) step_ns: u64,
    first: u64,
    pub(super) items: Vec<Item>,
    /// ln((x + ½)/N) by item and window; not a number without data.
    pub(super) logs: Vec<Vec<f64>>,
    /// Its sampling variance 1/(x + ½) (delta method on a Poisson count).
    pub(super) noise: Vec<Vec<f64>>,
    /// First window of each item of which every sample was counted; before, its counts are an upper bound.
    known_from: Vec<usize>,
    /// Whether a window may serve for comparison.
    clean: Vec<bool>,
    /// The same for items with a mask of their own.
    own_clean: HashMap<usize, Vec<bool>>,
    pub(super) calendar: Calendar,
}

impl Series {
    /// The series of a rung, over all windows that the timeline holds.
    pub(super) fn of(timeline: &Timeline, rung: Rung, mask: &Mask, calendar: Calendar) -> Self {
        let (grid, width) = match rung {
            Rung::TenMinutes => (&timeline.fine, 1),
            Rung::Hour => (&timeline.hours, 1),
            Rung::SixHours => (&timeline.hours, 6),
            Rung::Day | Rung::Drift => (&timeline.hours, 24),
        };
        let mut series = Self {
            width,
            step_ns: grid.step_ns,
            first: grid.first,
            items: Vec::new(),
            logs: Vec::new(),
            noise: Vec::new(),
            known_from: Vec::new(),
            clean: Vec::new(),
            own_clean: HashMap::new(),
            calendar,
        };
        let samples: Vec<f64> = grid.totals.iter().map(|total| total.samples as f64).collect();
        let samples = series.sums(&samples);
        for (function, sides) in grid.counts.iter().enumerate() {
            let followed = &timeline.functions[function];
            for (side, counts) in sides.iter().enumerate() {
                // A function that calls nothing has the same samples on top and anywhere: one series.
                if side == 1 && *counts == sides[0] {
                    continue;
                }
                let item = if side == 0 { Item::Own(function) } else { Item::Anywhere(function) };
                let known =
                    (followed.since_unix_ns / grid.step_ns).saturating_sub(grid.first) as usize;
                series.add_item(
                    (item, known),
                    &samples,
                    &known_counts(grid, counts, (followed, known)),
                );
            }
        }
        series.add_service_cpu(grid, &samples);
        series.set_masks(timeline, mask);
        series
    }

    /// Number of windows.
    pub(super) const fn len(&self) -> usize {
        self.clean.len()
    }

    /// The span of window `at`.
    pub(super) const fn span(&self, at: usize) -> Span {
        let end = self.first + at as u64 + 1;
        Span {
            start_unix_ns: end.saturating_sub(self.width as u64).saturating_mul(self.step_ns),
            end_unix_ns: end.saturating_mul(self.step_ns),
        }
    }

    /// The last window that ends at or before a time.
    pub(super) fn last_ended_at(&self, unix_ns: u64) -> Option<usize> {
        let ended = (unix_ns / self.step_ns).checked_sub(self.first)? as usize;
        ended.min(self.len()).checked_sub(1)
    }

    /// Number, since 1970, of the hour in which the middle of window `at` lies.
    pub(super) fn hour(&self, at: usize) -> u64 {
        let Span { start_unix_ns, end_unix_ns } = self.span(at);
        (start_unix_ns / 2 + end_unix_ns / 2) / HOUR_NS
    }

    /// Whether a window may serve an item for comparison: it has data, and no mask lies on it.
    pub(super) fn is_clean(&self, item: usize, at: usize) -> bool {
        self.clean[at] && self.own_clean.get(&item).is_none_or(|clean| clean[at])
    }

    /// Whether all windows of an item from one on were counted in full. What was not cannot be said to have shrunk.
    pub(super) fn is_known_since(&self, item: usize, at: usize) -> bool {
        self.known_from[item] <= at
    }

    /// Whether masks of its own make an item differ from all others.
    pub(super) fn is_masked(&self, item: usize) -> bool {
        self.own_clean.contains_key(&item)
    }

    /// Whether a window may serve for comparison, as far as it is not the matter of a single item.
    pub(super) fn is_clean_for_all(&self, at: usize) -> bool {
        self.clean[at]
    }

    /// Whether a window has data.
    pub(super) fn has_data(&self, at: usize) -> bool {
        self.logs.last().is_some_and(|logs| !logs[at].is_nan())
    }

    /// Sums over each window; where less than half of its slots have data it counts as none.
    fn sums(&self, values: &[f64]) -> Vec<f64> {
        (0..values.len())
            .map(|at| {
                if at + 1 < self.width {
                    return 0.0;
                }
                let slots = &values[at + 1 - self.width..=at];
                let present = slots.iter().filter(|value| **value > 0.0).count();
                if 2 * present < self.width { 0.0 } else { slots.iter().sum() }
            })
            .collect()
    }

    fn add_item(&mut self, (item, known): (Item, usize), samples: &[f64], counts: &[f64]) {
        let mut logs = vec![f64::NAN; samples.len()];
        let mut noise = vec![f64::NAN; samples.len()];
        let (mut most, mut sum, mut all) = (0.0f64, 0.0, 0.0);
        let mut count = 0.0;
        for at in 0..samples.len() {
            count += counts[at];
            if at >= self.width {
                count -= counts[at - self.width];
            }
            if samples[at] < WINDOW_SAMPLES_MIN {
                continue;
            }
            logs[at] = ((count + 0.5) / samples[at]).ln();
            noise[at] = 1.0 / (count + 0.5);
            most = most.max(count);
            sum += count;
            all += samples[at];
        }
        if most >= ITEM_SAMPLES_MIN && sum < SHARE_MAX * all {
            self.push(item, logs, noise);
            self.known_from.push(known);
        }
    }

    fn push(&mut self, item: Item, logs: Vec<f64>, noise: Vec<f64>) {
        self.items.push(item);
        self.logs.push(logs);
        self.noise.push(noise);
    }

    /// Always the last item.
    fn add_service_cpu(&mut self, grid: &Grid, samples: &[f64]) {
        let sums = |value: fn(&super::timeline::Total) -> u64| {
            let values: Vec<f64> = grid.totals.iter().map(|total| value(total) as f64).collect();
            self.sums(&values)
        };
        let cpu = sums(|total| total.cpu_ns);
        let seconds = sums(|total| total.unit_seconds);
        let has = |at: usize| samples[at] >= WINDOW_SAMPLES_MIN && seconds[at] > 0.0;
        let of = |value: &dyn Fn(usize) -> f64| {
            (0..samples.len()).map(|at| if has(at) { value(at) } else { f64::NAN }).collect()
        };
        let logs = of(&|at| (cpu[at].max(1.0) / 1e9 / seconds[at]).ln());
        let noise = of(&|at| 1.0 / samples[at]);
        self.push(Item::ServiceCpu, logs, noise);
        self.known_from.push(0);
    }

    fn set_masks(&mut self, timeline: &Timeline, mask: &Mask) {
        let samples = self.noise.last().map_or(0, Vec::len);
        self.clean = (0..samples).map(|at| self.has_data(at)).collect();
        for span in mask.common() {
            for at in 0..samples {
                self.clean[at] &= !overlap(self.span(at), span);
            }
        }
        for (watched, span) in mask.own() {
            let Some(item) = self.items.iter().position(|item| item.watched(timeline) == *watched)
            else {
                continue;
            };
            let mut clean =
                self.own_clean.remove(&item).unwrap_or_else(|| vec![true; self.clean.len()]);
            for (at, clean) in clean.iter_mut().enumerate() {
                *clean &= !overlap(self.span(at), span);
            }
            self.own_clean.insert(item, clean);
        }
    }
}

impl Item {
    /// What is told of it.
    pub(super) fn watched(self, timeline: &Timeline) -> Watched {
        let (function, kind) = match self {
            Self::Own(function) => (function, FunctionKind::SelfTime),
            Self::Anywhere(function) => (function, FunctionKind::Total),
            Self::ServiceCpu => return Watched::ServiceCpu,
        };
        let key = &timeline.functions[function].key;
        Watched::Of(Subject::Function {
            module: key.module.clone(),
            function: key.function.clone(),
            kind,
        })
    }

    /// Whether it is a share, which the growth of others lowers.
    pub(super) const fn is_share(self) -> bool {
        !matches!(self, Self::ServiceCpu)
    }
}

/// Counts by slot. Before a function was followed it had less than what makes one followed, so that much is taken: growth
/// is then told as at least what it was.
fn known_counts(
    grid: &Grid,
    counts: &[u32],
    (followed, known_from): (&Followed, usize),
) -> Vec<f64> {
    let share = followed.share_before_ppm as f64 / 1e6;
    let samples = (FOLLOWED_SAMPLES_MIN * (grid.step_ns / FINE_NS)) as f64;
    let both = counts.iter().zip(&grid.totals).enumerate();
    both.map(|(at, (count, total))| {
        let bound = (share * total.samples as f64).max(samples);
        if at < known_from { f64::from(*count).max(bound) } else { f64::from(*count) }
    })
    .collect()
}

const fn overlap(left: Span, right: Span) -> bool {
    left.start_unix_ns < right.end_unix_ns && right.start_unix_ns < left.end_unix_ns
}
