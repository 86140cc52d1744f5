//! Chooses what is compared with what. Pure.

use crate::store::{TimeRange, VersionSpan};

use super::AlertOptions;
use super::support::is_named;

/// A version that was not seen for a day is not compared, and one that was first seen before is no news.
const NEWS_NS: u64 = 86_400 * 1_000_000_000;

/// Windows of a version that are left out at its start: caches are cold and code is being compiled.
pub(super) const WARM_UP_WINDOWS: u64 = 1;

/// Most windows between the last ones of the two versions. What is farther apart differs by the time of day as well,
/// which this version of the detector cannot tell from a regression.
const GAP_WINDOWS_MAX: u64 = 60;

/// A version is running while it was seen in this many newest windows.
const RUNNING_WINDOWS: u64 = 2;

/// Fewest windows in which both versions ran at which they are compared side by side.
const OVERLAP_WINDOWS_MIN: u64 = 3;

/// A version in a range of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arm {
    pub(super) version: String,
    pub(super) start_unix_ns: u64,
    pub(super) end_unix_ns: u64,
}

/// What to look at for a service now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) candidate: Arm,
    /// The version before it; none when the candidate is the oldest one known, or either is old news.
    pub(super) baseline: Option<Arm>,
    /// Whether both ran side by side for long enough: the baseline is then the same windows.
    pub(super) is_concurrent: bool,
}

impl Arm {
    pub(super) const fn range(&self) -> TimeRange {
        TimeRange { start_unix_ns: self.start_unix_ns, end_unix_ns: self.end_unix_ns }
    }
}

/// The newest running version against the last one first seen before it. Versions without a name are not compared.
///
/// A version that comes back is older than the one it replaces, so it starts no comparison of its own; alerts that are
/// open are then judged on it.
pub(super) fn plan(
    versions: &[VersionSpan],
    options: &AlertOptions,
    now_unix_ns: u64,
) -> Option<Plan> {
    let window_ns = window_ns(options);
    let is_recent = |unix_ns: u64| unix_ns.saturating_add(NEWS_NS) > now_unix_ns;
    let versions: Vec<&VersionSpan> = versions
        .iter()
        .filter(|version| is_named(&version.version) && is_recent(version.last_seen_unix_ns))
        .collect();
    let newest = versions.iter().map(|version| version.last_seen_unix_ns).max()?;
    let is_running = |version: &VersionSpan| {
        version.last_seen_unix_ns.saturating_add(RUNNING_WINDOWS * window_ns) > newest
    };
    // A version that just stopped counts as running for two windows, but one first seen later wins anyway; of a
    // version that came back and the one it replaced, the one still seen wins once these windows have passed.
    let candidate = versions
        .iter()
        .filter(|version| is_running(version))
        .max_by_key(|version| version.first_seen_unix_ns)?;
    let is_close = |version: &VersionSpan| {
        let gap = candidate.last_seen_unix_ns.saturating_sub(version.last_seen_unix_ns);
        gap <= GAP_WINDOWS_MAX * window_ns
    };
    let baseline = versions
        .iter()
        .filter(|version| version.first_seen_unix_ns < candidate.first_seen_unix_ns)
        .max_by_key(|version| version.last_seen_unix_ns)
        .filter(|version| is_recent(candidate.first_seen_unix_ns) && is_close(version));
    let arm = |version: &VersionSpan, windows: u32| {
        let end_unix_ns = version.last_seen_unix_ns.min(now_unix_ns);
        let warm = version.first_seen_unix_ns.saturating_add(WARM_UP_WINDOWS * window_ns);
        let start_unix_ns = end_unix_ns.saturating_sub(u64::from(windows) * window_ns).max(warm);
        Arm { version: version.version.clone(), start_unix_ns, end_unix_ns }
    };
    let candidate = arm(candidate, options.candidate_windows);
    let Some(running) = baseline.filter(|version| is_running(version)) else {
        let baseline = baseline.map(|version| arm(version, options.baseline_windows));
        return Some(Plan { candidate, baseline, is_concurrent: false });
    };
    // What happens to both at once cancels only in the same windows.
    let mut side_by_side = arm(running, options.candidate_windows);
    side_by_side.start_unix_ns = side_by_side.start_unix_ns.max(candidate.start_unix_ns);
    let overlap_ns = side_by_side.end_unix_ns.saturating_sub(side_by_side.start_unix_ns);
    let is_concurrent = overlap_ns >= OVERLAP_WINDOWS_MIN * window_ns;
    let baseline =
        if is_concurrent { side_by_side } else { arm(running, options.baseline_windows) };
    Some(Plan { candidate, baseline: Some(baseline), is_concurrent })
}

/// Length of a unit window in nanoseconds.
pub(super) fn window_ns(options: &AlertOptions) -> u64 {
    options.window_seconds.clamp(1, 86_400) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn version(name: &str, first: u64, last: u64) -> VersionSpan {
        VersionSpan {
            version: name.to_owned(),
            first_seen_unix_ns: first * SECOND,
            last_seen_unix_ns: last * SECOND,
        }
    }

    const DAY: u64 = 86_400;

    fn planned(versions: Vec<VersionSpan>) -> Option<(String, Option<String>)> {
        let options = AlertOptions { window_seconds: 10, ..AlertOptions::default() };
        plan(&versions, &options, (DAY + 300) * SECOND)
            .map(|plan| (plan.candidate.version, plan.baseline.map(|baseline| baseline.version)))
    }

    fn pair(candidate: &str, baseline: Option<&str>) -> Option<(String, Option<String>)> {
        Some((candidate.to_owned(), baseline.map(str::to_owned)))
    }

    #[test]
    fn the_newest_version_is_compared_with_the_one_before() {
        assert_eq!(
            planned(vec![
                version("1", DAY, DAY + 100),
                version("2", DAY + 100, DAY + 200),
                version("3", DAY + 200, DAY + 300)
            ]),
            pair("3", Some("2"))
        );
    }

    #[test]
    fn of_two_running_versions_the_younger_is_the_candidate() {
        assert_eq!(
            planned(vec![version("1", 0, DAY + 300), version("2", DAY + 200, DAY + 300)]),
            pair("2", Some("1"))
        );
    }

    #[test]
    fn versions_that_run_side_by_side_for_more_than_a_day_are_not_compared() {
        assert_eq!(
            planned(vec![version("1", 0, DAY + 300), version("2", 100, DAY + 300)]),
            pair("2", None)
        );
    }

    #[test]
    fn a_version_is_not_compared_with_another_time_of_day() {
        assert_eq!(
            planned(vec![version("1", 0, DAY - 601), version("2", DAY - 500, DAY)]),
            pair("2", None)
        );
    }

    #[test]
    fn what_has_no_version_is_not_compared() {
        let candidates = vec![version("unknown", DAY, DAY + 300), version("", DAY, DAY + 300)];
        assert_eq!(planned(candidates), None);
        assert_eq!(
            planned(vec![version("unknown", 0, DAY + 300), version("2", DAY, DAY + 300)]),
            pair("2", None)
        );
    }

    #[test]
    fn the_first_window_of_a_version_is_left_out() {
        let options = AlertOptions { window_seconds: 10, ..AlertOptions::default() };
        let plan = plan(&[version("1", DAY, DAY + 30)], &options, (DAY + 300) * SECOND).unwrap();
        assert_eq!(plan.candidate.start_unix_ns, (DAY + 10) * SECOND);
    }

    #[test]
    fn a_version_that_came_back_is_the_candidate_without_a_baseline() {
        assert_eq!(
            planned(vec![version("1", DAY, DAY + 300), version("2", DAY + 100, DAY + 200)]),
            pair("1", None)
        );
    }

    #[test]
    fn versions_that_run_side_by_side_are_compared_in_the_same_windows() {
        let options = AlertOptions { window_seconds: 10, ..AlertOptions::default() };
        let planned = |versions: &[VersionSpan]| {
            let plan = plan(versions, &options, (DAY + 300) * SECOND).unwrap();
            (plan.is_concurrent, plan.baseline.unwrap().range(), plan.candidate.range())
        };
        let both = [version("1", DAY, DAY + 300), version("2", DAY + 250, DAY + 300)];
        let (is_concurrent, baseline, candidate) = planned(&both);
        assert!(is_concurrent);
        assert_eq!(baseline, candidate);
        // One that has just stopped was never seen beside the other for long.
        let one = [version("1", DAY, DAY + 290), version("2", DAY + 270, DAY + 300)];
        let (is_concurrent, baseline, _) = planned(&one);
        assert!(!is_concurrent);
        assert_eq!(baseline.start_unix_ns, (DAY + 10) * SECOND);
    }

    #[test]
    fn nothing_seen_is_nothing_planned() {
        assert_eq!(planned(Vec::new()), None);
    }
}
