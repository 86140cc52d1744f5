//! Which units stand on which side, when the data begins, and whether both sides ran at the same time. Pure.

use std::collections::BTreeSet;

use crate::diff::AHEAD_NS_MAX;
use crate::store::{UnitLife, UnitWindow};

use super::checks::{Check, Consequence};
use super::policy::GatePolicy;
use super::request::Times;
use super::restarts::Life;

/// Units of the baseline that must have run beside the candidate for the sides to be compared at the same time; all of
/// them where there are fewer.
const CONCURRENT_UNITS_MIN: usize = 2;

/// Difference of the median ages of the sides' units from which on it is told: an hour.
const AGE_DIFFERENCE_NS_MAX: u64 = 3_600_000_000_000;

/// Units of both sides, without those whose clocks are wrong.
#[derive(Debug, Clone)]
pub(super) struct Arms {
    pub(super) baseline: Vec<UnitLife>,
    pub(super) candidate: Vec<UnitLife>,
    pub(super) checks: Vec<Check>,
}

impl Arms {
    /// Leaves out hosts with windows that have not been yet.
    pub(super) fn new(baseline: Vec<UnitLife>, candidate: Vec<UnitLife>, now_unix_ns: u64) -> Self {
        let latest = now_unix_ns.saturating_add(AHEAD_NS_MAX);
        let ahead: BTreeSet<String> = baseline
            .iter()
            .chain(&candidate)
            .filter(|life| life.last_seen_unix_ns > latest)
            .map(|life| life.host.clone())
            .collect();
        let checks = ahead.iter().map(|host| {
            let sentence = format!(
                "the clock of host `{host}` is ahead: its windows lie in the future; it is left out"
            );
            Check::new(Consequence::Told, sentence)
        });
        let checks = checks.collect();
        let is_right = |life: &UnitLife| !ahead.contains(&life.host);
        Self {
            baseline: baseline.into_iter().filter(is_right).collect(),
            candidate: candidate.into_iter().filter(is_right).collect(),
            checks,
        }
    }

    /// When the candidate began: when as many of its units as a test needs were there. One unit whose clock is behind does not
    /// move it, and units that come later do not either.
    pub(super) fn began(&self, policy: &GatePolicy) -> Option<u64> {
        let mut begins: Vec<u64> =
            self.candidate.iter().map(|life| life.first_seen_unix_ns).collect();
        begins.sort_unstable();
        let needed = policy.detect.min_replicates.max(2).min(begins.len());
        begins.get(needed.checked_sub(1)?).copied()
    }

    /// Start of the data that is looked at: the candidate began and warmed up, at the start of a window.
    pub(super) fn data_start(&self, times: Times, policy: &GatePolicy) -> Option<u64> {
        let warm = self.began(policy)?.saturating_add(policy.warm_up * 1_000_000_000);
        Some(warm.max(times.from_unix_ns).next_multiple_of(times.window_ns))
    }

    /// Whether the baseline ran while the candidate did: at least two of its units, for at least half of the time.
    pub(super) fn are_concurrent(&self, [start, end]: [u64; 2]) -> bool {
        let half = end.saturating_sub(start) / 2;
        let beside = |life: &&UnitLife| {
            let from = life.first_seen_unix_ns.max(start);
            life.last_seen_unix_ns.min(end).saturating_sub(from) >= half
        };
        let known = self.baseline.iter().filter(|life| life.first_seen_unix_ns < end).count();
        let least = known.clamp(1, CONCURRENT_UNITS_MIN);
        self.baseline.iter().filter(beside).count() >= least
    }

    /// The doubt about units of one side that are much younger than those of the other.
    pub(super) fn ages(&self, start_unix_ns: u64) -> Option<Check> {
        let median_age = |side: &[UnitLife]| -> Option<u64> {
            let mut ages: Vec<u64> = side
                .iter()
                .map(|life| start_unix_ns.saturating_sub(life.first_seen_unix_ns))
                .collect();
            ages.sort_unstable();
            ages.get(ages.len() / 2).copied()
        };
        let (before, after) = (median_age(&self.baseline)?, median_age(&self.candidate)?);
        let hours = |ns: u64| ns as f64 / 3.6e12;
        (before > after.saturating_add(AGE_DIFFERENCE_NS_MAX)).then(|| {
            let sentence = format!(
                "the baseline's units are much older ({:.1} h) than the candidate's ({:.1} h): caches and heaps may \
                 differ; a baseline that started with the candidate would be fairer",
                hours(before),
                hours(after)
            );
            Check::new(Consequence::Told, sentence)
        })
    }
}

/// Lives of units, for the count of restarts.
pub(super) fn lives(side: &[UnitLife]) -> Vec<Life> {
    let life = |unit: &UnitLife| Life {
        first_seen_unix_ns: unit.first_seen_unix_ns,
        last_seen_unix_ns: unit.last_seen_unix_ns,
    };
    side.iter().map(life).collect()
}

/// The windows of a look: of units whose clocks are right, within the time, after each unit's own warm-up.
pub(super) fn windows_of(
    windows: &[UnitWindow],
    side: &[UnitLife],
    [start, end]: [u64; 2],
    warm_up_ns: u64,
) -> Vec<UnitWindow> {
    let is_warm = |window: &UnitWindow| {
        side.iter().any(|life| {
            life.host == window.host
                && life.unit == window.unit
                && life.version == window.version
                && window.start_unix_ns >= life.first_seen_unix_ns.saturating_add(warm_up_ns)
        })
    };
    windows
        .iter()
        .filter(|window| window.start_unix_ns >= start && window.start_unix_ns < end)
        .filter(|window| is_warm(window))
        .cloned()
        .collect()
}
