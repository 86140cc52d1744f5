//! Compares two versions of a service once: reads both sides, counts, judges.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::detect::{Judgement, Policy, judge};
use crate::diff::{Grouping, ProfileDiff, Replication};
use crate::store::{Selection, Store, StoreError, TimeRange, UnitWindow};

use super::plan::{Arm, Plan, WARM_UP_WINDOWS};
use super::support::Support;
use super::{AlertOptions, Mode};

/// Fewest hosts that ran both versions at which they are compared host by host: the fewer pairs, the less is known of how
/// much they differ.
const PAIRS_MIN: usize = 3;

/// Part of the hosts of either side that must have run both versions. The others are left out of a paired test.
const PAIRED_SHARE_MIN: f64 = 0.8;

/// Difference of the shares of whole stacks at which what lies above a function cannot be compared: stacks that end early
/// count for none of the callers that are missing.
const WHOLE_SHARE_GAP_MAX: f64 = 0.02;

/// One comparison of the current evaluation.
pub(super) struct Comparison {
    pub(super) diff: ProfileDiff,
    pub(super) judgement: Judgement,
    /// Of the baseline and of the candidate.
    pub(super) support: [Support; 2],
    pub(super) mode: Mode,
    /// Why nothing that depends on callers can be believed.
    pub(super) distrust: Option<String>,
}

/// Reads windows of one service, each version and range once.
pub(super) struct Windows<'s> {
    pub(super) store: &'s dyn Store,
    pub(super) service: &'s str,
    pub(super) window_ns: u64,
    read: BTreeMap<Arm, OnceCell<Rc<Vec<UnitWindow>>>>,
}

impl<'s> Windows<'s> {
    pub(super) const fn new(store: &'s dyn Store, service: &'s str, window_ns: u64) -> Self {
        Self { store, service, window_ns, read: BTreeMap::new() }
    }

    /// Windows of a version; of a service on so many hosts that they do not fit in memory, the newest half that does.
    pub(super) fn of(&mut self, arm: &Arm) -> Result<Rc<Vec<UnitWindow>>, StoreError> {
        let cell = self.read.entry(arm.clone()).or_default();
        if let Some(windows) = cell.get() {
            return Ok(Rc::clone(windows));
        }
        let labels = vec![("version".to_owned(), arm.version.clone())];
        let selection = Selection { service: self.service.to_owned(), labels };
        let windows = read(self.store, &selection, arm.range(), self.window_ns)?;
        Ok(Rc::clone(cell.get_or_init(|| Rc::new(windows))))
    }
}

fn read(
    store: &dyn Store,
    selection: &Selection,
    mut range: TimeRange,
    window_ns: u64,
) -> Result<Vec<UnitWindow>, StoreError> {
    loop {
        let length_ns = range.end_unix_ns.saturating_sub(range.start_unix_ns);
        if length_ns == 0 {
            return Ok(Vec::new());
        }
        match store.unit_windows(selection, range, window_ns) {
            Err(StoreError::TooLarge { .. }) if length_ns > window_ns => {
                range.start_unix_ns += length_ns / 2;
            }
            read => return read,
        }
    }
}

impl Comparison {
    /// Compares the plan's candidate with a baseline.
    pub(super) fn of(
        windows: &mut Windows<'_>,
        baseline: &Arm,
        plan: &Plan,
        (policy, options): (&Policy, &AlertOptions),
    ) -> Result<Self, StoreError> {
        let before = windows.of(baseline)?;
        let read = windows.of(&plan.candidate)?;
        // A version that came back is compared with its own windows from before: they are not its windows since.
        let since = if baseline.version == plan.candidate.version {
            read.partition_point(|window| window.start_unix_ns < baseline.end_unix_ns)
        } else {
            0
        };
        let after = &read[since..];
        let is_concurrent = plan.is_concurrent && plan.baseline.as_ref() == Some(baseline);
        let pairs =
            (!is_concurrent && are_same_hosts(&before, after)).then_some(Replication::Pairs);
        let request = Some(options.request_syscall.clone()).filter(|name| !name.is_empty());
        let grouping = Grouping {
            window_ns: windows.window_ns,
            warm_up_ns: WARM_UP_WINDOWS * windows.window_ns,
            request_syscall: request,
            replication: pairs,
            ..Grouping::default()
        };
        let diff = ProfileDiff::new(&before, after, &grouping);
        let mode = match diff.replication {
            _ if is_concurrent => Mode::Concurrent,
            Replication::Pairs => Mode::Paired,
            Replication::Units | Replication::Windows => Mode::BeforeAfter,
        };
        let support = [(&baseline.version, &before[..]), (&plan.candidate.version, after)]
            .map(|(version, side)| Support::of(version, side, windows.window_ns));
        let judgement = judge(&diff, policy);
        let distrust = distrust(&diff);
        Ok(Self { diff, judgement, support, mode, distrust })
    }
}

/// Whether nearly all hosts ran both versions.
fn are_same_hosts(before: &[UnitWindow], after: &[UnitWindow]) -> bool {
    let hosts = |side: &[UnitWindow]| -> BTreeSet<String> {
        side.iter().map(|window| window.host.clone()).collect()
    };
    let (before, after) = (hosts(before), hosts(after));
    let both = before.intersection(&after).count();
    let most = before.len().max(after.len());
    both >= PAIRS_MIN && both as f64 >= PAIRED_SHARE_MIN * most as f64
}

/// Why callers cannot be compared: the stacks of one side are broken more often than those of the other.
fn distrust(diff: &ProfileDiff) -> Option<String> {
    let before = diff.baseline_quality.whole_share()?;
    let after = diff.candidate_quality.whole_share()?;
    ((before - after).abs() > WHOLE_SHARE_GAP_MAX).then(|| {
        format!(
            "{:.0} % of the stacks were whole before and {:.0} % are now: callers cannot be compared",
            before * 100.0,
            after * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(hosts: &[&str]) -> Vec<UnitWindow> {
        let window = |host: &&str| UnitWindow { host: (*host).to_owned(), ..UnitWindow::default() };
        hosts.iter().map(window).collect()
    }

    #[test]
    fn hosts_that_ran_both_versions_are_pairs() {
        assert!(are_same_hosts(&on(&["a", "b", "c"]), &on(&["c", "b", "a"])));
        assert!(are_same_hosts(&on(&["a", "b", "c", "d"]), &on(&["a", "b", "c", "d", "e"])));
    }

    #[test]
    fn few_hosts_or_others_are_no_pairs() {
        assert!(!are_same_hosts(&on(&["a", "b"]), &on(&["a", "b"])));
        assert!(!are_same_hosts(&on(&["a", "b", "c"]), &on(&["a", "b", "c", "d", "e", "f"])));
    }
}
