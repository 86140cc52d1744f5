//! What a service did over time: counts of its functions in windows of ten minutes and of one hour, side by side.
//!
//! It holds numbers only: who collects and keeps them is the matter of `history`.

use std::collections::HashMap;

use crate::diff::{FunctionKey, StackTable};

use super::containment::Containment;

/// Length of a short window, nanoseconds.
pub const FINE_NS: u64 = 600 * 1_000_000_000;

/// Length of a long window, nanoseconds.
pub const HOUR_NS: u64 = 3_600 * 1_000_000_000;

/// Short windows that are kept: two days.
pub const FINE_SLOTS_MAX: usize = 288;

/// Long windows that are kept: four weeks, so that a weekend has three others to be compared with.
pub const HOUR_SLOTS_MAX: usize = 672;

/// Most functions of a service that are followed. More would not fit the memory of 500 services (see `history`); in
/// real services 300 to 500 functions have a thousandth of the CPU.
pub const HISTORY_FUNCTIONS_MAX: usize = 512;

/// Share of a window's samples from which on a function is followed.
pub(super) const FOLLOWED_SHARE_MIN: f64 = 0.001;

/// Samples in a window from which on a function is followed.
pub(super) const FOLLOWED_SAMPLES_MIN: u64 = 20;

/// How many times as many samples a new function must have as the one whose place it takes: with less, two that have
/// about as many would take turns, and neither would have a past.
const REPLACES_FROM: u64 = 2;

/// What one window says of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WindowCounts {
    /// Start, Unix nanoseconds; a multiple of [`FINE_NS`].
    pub start_unix_ns: u64,
    /// Sums over all functions.
    pub total: Total,
    /// (function, samples on top, samples anywhere in the stack), each function once.
    pub functions: Vec<(FunctionKey, u64, u64)>,
}

/// Sums of a window over all functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// On-CPU samples; a window with none is a window without data.
    pub samples: u64,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Seconds that its units ran, all units together.
    pub unit_seconds: u64,
}

impl WindowCounts {
    /// Adds what another part of the same window says.
    pub fn merge(&mut self, other: &Self) {
        self.total.add(other.total);
        self.functions.extend(other.functions.iter().cloned());
        self.functions.sort_unstable();
        self.functions.dedup_by(|next, first| {
            let is_same = next.0 == first.0;
            if is_same {
                first.1 += next.1;
                first.2 += next.2;
            }
            is_same
        });
    }
}

impl Total {
    fn add(&mut self, other: Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.unit_seconds = self.unit_seconds.saturating_add(other.unit_seconds);
    }
}

/// A function that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its name.
    pub key: FunctionKey,
    /// From here on every sample of it was counted, Unix nanoseconds.
    pub since_unix_ns: u64,
    /// Share of the samples, in millionths, with which it would have been followed before; it had less, or fewer than
    /// [`FOLLOWED_SAMPLES_MIN`] in each window.
    pub share_before_ppm: u64,
}

/// Windows of one length, without gaps: a window without data has no samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    pub(crate) step_ns: u64,
    slots_max: usize,
    /// Number of the first window: its start over the length.
    pub(crate) first: u64,
    pub(crate) totals: Vec<Total>,
    /// Of each function: samples on top, and samples anywhere, by window.
    pub(crate) counts: Vec<[Vec<u32>; 2]>,
}

/// What became of a window that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It was added.
    Added,
    /// It, or a window of the same start, had been added before.
    Repeated,
    /// It is older than what is kept.
    TooLate,
    /// It has no samples.
    Empty,
}

/// The memory of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Functions that are followed.
    pub(crate) functions: Vec<Followed>,
    /// Windows of ten minutes.
    pub(crate) fine: Grid,
    /// Windows of one hour.
    pub(crate) hours: Grid,
    /// Which functions lie under which.
    pub(crate) containment: Containment,
}

impl Grid {
    pub(crate) const fn new(step_ns: u64, slots_max: usize) -> Self {
        Self { step_ns, slots_max, first: 0, totals: Vec::new(), counts: Vec::new() }
    }

    /// Number of windows.
    pub(crate) const fn len(&self) -> usize {
        self.totals.len()
    }

    /// Start of window `at`, Unix nanoseconds.
    pub(crate) const fn start_unix_ns(&self, at: usize) -> u64 {
        (self.first + at as u64).saturating_mul(self.step_ns)
    }

    /// Makes room for the window that holds a time and returns its position; `None` when it is too old.
    fn position(&mut self, unix_ns: u64) -> Option<usize> {
        let number = unix_ns / self.step_ns;
        if self.totals.is_empty() {
            self.first = number;
        }
        if number < self.first {
            let missing = (self.first - number) as usize;
            if missing + self.totals.len() > self.slots_max {
                return None;
            }
            self.first = number;
            self.totals.splice(0..0, std::iter::repeat_n(Total::default(), missing));
            for counts in self.counts.iter_mut().flatten() {
                counts.splice(0..0, std::iter::repeat_n(0, missing));
            }
        }
        let at = (number - self.first) as usize;
        if at >= self.totals.len().saturating_add(self.slots_max) {
            // Nothing of what is kept lies within reach any more.
            self.totals.clear();
            self.counts.iter_mut().flatten().for_each(Vec::clear);
            self.first = number;
            return self.position(unix_ns);
        }
        if at >= self.totals.len() {
            self.resize(at + 1);
        }
        let surplus = self.totals.len().saturating_sub(self.slots_max);
        self.totals.drain(..surplus);
        for counts in self.counts.iter_mut().flatten() {
            counts.drain(..surplus);
        }
        self.first += surplus as u64;
        Some(at - surplus)
    }

    fn resize(&mut self, len: usize) {
        self.totals.resize(len, Total::default());
        for counts in self.counts.iter_mut().flatten() {
            counts.resize(len, 0);
        }
    }

    fn add_function(&mut self) {
        let zeros = vec![0; self.totals.len()];
        self.counts.push([zeros.clone(), zeros]);
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::with_room(FINE_SLOTS_MAX, HOUR_SLOTS_MAX)
    }
}

impl Timeline {
    /// A timeline that keeps so many windows of ten minutes and of an hour. More than the default serves to replay a
    /// long time: the detector looks back no further than by default.
    #[must_use]
    pub fn with_room(fine: usize, hours: usize) -> Self {
        Self {
            functions: Vec::new(),
            fine: Grid::new(FINE_NS, fine),
            hours: Grid::new(HOUR_NS, hours),
            containment: Containment::default(),
        }
    }

    /// Adds a window of ten minutes to it and to its hour. A window counts once, also when it comes late, as long as
    /// the short windows reach back to it.
    pub fn record(&mut self, window: &WindowCounts) -> Recorded {
        if window.total.samples == 0 {
            return Recorded::Empty;
        }
        if self.oldest_fine_unix_ns().is_some_and(|oldest| window.start_unix_ns < oldest) {
            return Recorded::TooLate;
        }
        let (Some(fine), Some(hour)) =
            (self.fine.position(window.start_unix_ns), self.hours.position(window.start_unix_ns))
        else {
            return Recorded::TooLate;
        };
        if self.fine.totals[fine].samples > 0 {
            return Recorded::Repeated;
        }
        self.follow(window);
        self.fine.totals[fine].add(window.total);
        self.hours.totals[hour].add(window.total);
        let index: HashMap<&FunctionKey, usize> =
            self.functions.iter().enumerate().map(|(at, followed)| (&followed.key, at)).collect();
        for (key, own, anywhere) in &window.functions {
            let Some(at) = index.get(key) else { continue };
            for (side, count) in [*own, *anywhere].into_iter().enumerate() {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.fine.counts[*at][side][fine] = count;
                let sum = &mut self.hours.counts[*at][side][hour];
                *sum = sum.saturating_add(count);
            }
        }
        Recorded::Added
    }

    /// Functions that are followed, in the order in which they were found.
    #[must_use]
    pub fn functions(&self) -> &[Followed] {
        &self.functions
    }

    /// Samples of a function in each hour from the oldest to the newest: on top, anywhere, and of the whole service.
    pub fn hourly(&self, function: usize) -> impl Iterator<Item = [u64; 3]> + '_ {
        let [own, anywhere] = &self.hours.counts[function];
        let counts = own.iter().zip(anywhere).zip(&self.hours.totals);
        counts
            .map(|((own, anywhere), total)| [u64::from(*own), u64::from(*anywhere), total.samples])
    }

    /// Hours from the oldest to the newest window.
    #[must_use]
    pub const fn hours_kept(&self) -> usize {
        self.hours.len()
    }

    /// Start of the newest window of ten minutes, Unix nanoseconds.
    #[must_use]
    pub fn newest_unix_ns(&self) -> Option<u64> {
        let last = self.fine.len().checked_sub(1)?;
        Some(self.fine.start_unix_ns(last))
    }

    /// Learns anew which functions lie under which, from the stacks of a window, whose indices name `functions`.
    pub fn learn_structure(&mut self, functions: &[FunctionKey], stacks: &StackTable) {
        let followed = self.functions.iter().map(|followed| &followed.key);
        self.containment = Containment::of(functions, stacks, followed);
    }

    /// Start of the oldest short window that may still come.
    fn oldest_fine_unix_ns(&self) -> Option<u64> {
        let newest = self.newest_unix_ns()?;
        Some(newest.saturating_sub((self.fine.slots_max as u64 - 1) * FINE_NS))
    }

    /// Begins to follow the functions of a window that are large enough. When there is no room, one that is much
    /// larger takes the place of the one that had the least in the last two days.
    fn follow(&mut self, window: &WindowCounts) {
        let least = (FOLLOWED_SHARE_MIN * window.total.samples as f64).ceil() as u64;
        let least = least.max(FOLLOWED_SAMPLES_MIN);
        let known: std::collections::HashSet<&FunctionKey> =
            self.functions.iter().map(|followed| &followed.key).collect();
        let mut fresh: Vec<(u64, FunctionKey)> = window
            .functions
            .iter()
            .filter(|(key, _, anywhere)| *anywhere >= least && !known.contains(key))
            .map(|(key, _, anywhere)| (*anywhere, key.clone()))
            .collect();
        fresh.sort_unstable_by(|left, right| right.cmp(left));
        let room = HISTORY_FUNCTIONS_MAX.saturating_sub(self.functions.len());
        let mut replaced = Vec::new();
        if fresh.len() > room {
            replaced = self.make_room(&fresh[room..]);
            fresh.truncate(room + replaced.len());
        }
        let free = std::iter::repeat_n(0, room).chain(replaced);
        for ((_, key), replaced) in fresh.into_iter().zip(free) {
            let share = (replaced * REPLACES_FROM) as f64 / window.total.samples as f64;
            self.functions.push(Followed {
                key,
                since_unix_ns: window.start_unix_ns,
                share_before_ppm: (share.max(FOLLOWED_SHARE_MIN) * 1e6).ceil() as u64,
            });
            self.fine.add_function();
            self.hours.add_function();
        }
    }

    /// Drops the functions that had least on average in the last two days, each for one of `fresh` (samples a window,
    /// descending) that has [`REPLACES_FROM`] times as many, and returns the averages of
    /// the dropped.
    fn make_room(&mut self, fresh: &[(u64, FunctionKey)]) -> Vec<u64> {
        let recent = self.fine.len().saturating_sub(FINE_SLOTS_MAX);
        let windows = self.fine.totals[recent..].iter().filter(|total| total.samples > 0).count();
        let mut means: Vec<(u64, usize)> = (self.fine.counts.iter().enumerate())
            .map(|(at, [_, anywhere])| {
                let sum: u64 = anywhere[recent..].iter().map(|count| u64::from(*count)).sum();
                (sum / windows.max(1) as u64, at)
            })
            .collect();
        means.sort_unstable();
        let (averages, mut dropped): (Vec<u64>, Vec<usize>) = (means.into_iter().zip(fresh))
            .take_while(|((mean, _), (samples, _))| mean.max(&1) * REPLACES_FROM <= *samples)
            .map(|(least, _)| least)
            .unzip();
        dropped.sort_unstable();
        for at in dropped.iter().rev() {
            self.functions.remove(*at);
            self.fine.counts.remove(*at);
            self.hours.counts.remove(*at);
        }
        if !dropped.is_empty() {
            self.containment = Containment::default();
        }
        averages
    }
}
