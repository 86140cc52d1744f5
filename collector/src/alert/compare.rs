//! Chooses what is compared with what, and gathers the evidence. Pure.

use crate::detect::{FunctionKind, Subject, Verdict};
use crate::detect::{Policy, usable};
use crate::diff::{ProfileDiff, Replicate};
use crate::store::{TimeRange, VersionSpan};

use super::lifecycle::Sight;
use super::support::is_named;
use super::{Alert, AlertOptions, ChangedPath, Evidence, fingerprint};

/// Most changed stacks that an alert carries.
const CHANGED_PATHS_MAX: usize = 5;

/// A version that was not seen for a day is not compared, and one that was first seen before is no news.
const NEWS_NS: u64 = 86_400 * 1_000_000_000;

/// Windows of a version that are left out at its start: caches are cold and code is being compiled.
const WARM_UP_WINDOWS: u64 = 1;

/// Most windows between the last ones of the two versions. What is farther apart differs by the time of day as well,
/// which this version of the detector cannot tell from a regression.
const GAP_WINDOWS_MAX: u64 = 60;

/// A version is running while it was seen in this many newest windows.
const RUNNING_WINDOWS: u64 = 2;

/// Part of the first seen effect below which a regression counts as gone.
const GONE_SHARE: f64 = 0.5;

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
    Some(Plan {
        candidate: arm(candidate, options.candidate_windows),
        baseline: baseline.map(|version| arm(version, options.baseline_windows)),
    })
}

/// Length of a unit window in nanoseconds.
pub(super) fn window_ns(options: &AlertOptions) -> u64 {
    options.window_seconds.clamp(1, 86_400) * 1_000_000_000
}

/// What the verdicts of an alert's own comparison say of it.
pub(super) fn sight(
    alert: &Alert,
    diff: &ProfileDiff,
    verdicts: &[Verdict],
    policy: &Policy,
) -> Sight {
    let is_function = matches!(alert.subject, Subject::Function { .. });
    let replicates = |side: &[Replicate]| {
        if is_function { usable(side, policy).len() } else { side.len() }
    };
    // A few samples of a function that is not among them do not show that it is gone.
    if replicates(&diff.baseline) < 2 || replicates(&diff.candidate) < 2 {
        return Sight::NoData;
    }
    let same =
        |verdict: &&Verdict| fingerprint(&alert.service, &verdict.subject) == alert.fingerprint;
    if verdicts
        .iter()
        .filter(same)
        .any(|verdict| verdict.significant && verdict.direction == crate::detect::Direction::Worse)
    {
        return Sight::Regressed;
    }
    match verdicts.iter().find(|verdict| verdict.subject == alert.subject) {
        Some(verdict) if verdict.delta_abs >= GONE_SHARE * alert.evidence.verdict.delta_abs => {
            Sight::Unclear
        }
        // Without a verdict there were too few samples or calls of it to judge: it costs nothing now.
        Some(_) | None => Sight::Gone,
    }
}

/// The strongest regression of each fingerprint; p99 before other quantiles.
pub(super) fn regressions<'v>(
    service: &str,
    verdicts: &'v [Verdict],
) -> Vec<(String, &'v Verdict)> {
    let mut found: Vec<(String, &Verdict)> = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.is_regression()) {
        let name = fingerprint(service, &verdict.subject);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) if is_told_before(verdict, known) => *known = verdict,
            Some(_) => {}
            None => found.push((name, verdict)),
        }
    }
    found
}

fn is_told_before(verdict: &Verdict, known: &Verdict) -> bool {
    match (&verdict.subject, &known.subject) {
        (Subject::Syscall { metric, .. }, Subject::Syscall { metric: known, .. }) => metric > known,
        _ => false,
    }
}

/// The evidence for a verdict. `window_ns` is the length of a unit window.
pub(super) fn evidence(diff: &ProfileDiff, verdict: &Verdict, window_ns: u64) -> Evidence {
    // Plain shares: the corrected ones of the verdict are for comparing, not for adding up to the service's cores.
    let is_function = matches!(verdict.subject, Subject::Function { .. });
    let cores = |samples: u64, side: &[Replicate]| {
        let all: u64 = side.iter().map(|replicate| replicate.samples).sum();
        is_function
            .then(|| Some(samples as f64 / all.max(1) as f64 * cores_of_unit(side, window_ns)?))
            .flatten()
    };
    let baseline_cores = cores(verdict.samples_baseline, &diff.baseline);
    let candidate_cores = cores(verdict.samples_candidate, &diff.candidate);
    Evidence {
        verdict: verdict.clone(),
        changed_paths: changed_paths(diff, &verdict.subject),
        baseline_cores,
        candidate_cores,
        delta_cores: candidate_cores.zip(baseline_cores).map(|(after, before)| after - before),
        samples_baseline: diff.baseline_samples(),
        samples_candidate: diff.candidate_samples(),
        // A syscall is measured without stacks.
        caveats: if is_function { diff.caveats() } else { Vec::new() },
    }
}

/// CPU time of a unit over time, averaged over its windows.
fn cores_of_unit(side: &[Replicate], window_ns: u64) -> Option<f64> {
    let windows: u64 = side.iter().map(|replicate| replicate.windows).sum();
    let cpu_ns: u64 = side.iter().map(|replicate| replicate.cpu_ns).sum();
    (windows > 0).then(|| cpu_ns as f64 / (windows as f64 * window_ns as f64))
}

/// Stacks through the subject whose share of the samples grew most.
fn changed_paths(diff: &ProfileDiff, subject: &Subject) -> Vec<ChangedPath> {
    let before = diff.baseline_samples().max(1) as f64;
    let after = diff.candidate_samples().max(1) as f64;
    let mut grown: Vec<(f64, ChangedPath)> = (0..diff.stacks.len())
        .filter(|stack| passes_through(diff, diff.stacks.functions(*stack), subject))
        .map(|stack| {
            let [baseline, candidate] = diff.pooled(stack);
            let shares = (baseline as f64 / before, candidate as f64 / after);
            (stack, shares)
        })
        .filter(|(_, (before, after))| after > before)
        .map(|(stack, (baseline_share, candidate_share))| {
            let functions = diff.stacks.functions(stack).iter();
            let functions =
                functions.map(|index| diff.functions[*index as usize].function.clone()).collect();
            let path = ChangedPath { functions, baseline_share, candidate_share };
            (candidate_share - baseline_share, path)
        })
        .collect();
    grown.sort_by(|left, right| right.0.total_cmp(&left.0));
    grown.into_iter().take(CHANGED_PATHS_MAX).map(|(_, path)| path).collect()
}

/// Whether a stack counts for a function, or lies in a kernel function named after a syscall.
fn passes_through(diff: &ProfileDiff, stack: &[u32], subject: &Subject) -> bool {
    let key = |index: &u32| &diff.functions[*index as usize];
    match subject {
        Subject::Function { module, function, kind } => {
            let is_it =
                |index: &u32| key(index).function == *function && key(index).module == *module;
            match kind {
                FunctionKind::SelfTime => stack.last().is_some_and(is_it),
                FunctionKind::Total => stack.iter().any(is_it),
            }
        }
        Subject::Syscall { name, .. } => {
            let entry = format!("_sys_{name}");
            stack.iter().any(|index| key(index).function.ends_with(&entry))
        }
    }
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
    fn nothing_seen_is_nothing_planned() {
        assert_eq!(planned(Vec::new()), None);
    }
}
