//! Chooses the windows of a side that say something: past the warm-up of their unit, and not in the future.

use super::super::{AHEAD_NS_MAX, Grouping};
use crate::store::UnitWindow;

/// The windows of a side that are used, and how many are not.
#[derive(Debug)]
pub(super) struct Chosen<'w> {
    pub(super) windows: Vec<&'w UnitWindow>,
    pub(super) warm_up_windows: u64,
    /// Whether no unit was past its warm-up, so that all windows were kept.
    pub(super) is_cold: bool,
    pub(super) future_windows: u64,
}

impl<'w> Chosen<'w> {
    pub(super) fn of(windows: &'w [UnitWindow], grouping: &Grouping) -> Self {
        let latest = grouping.now_unix_ns.saturating_add(AHEAD_NS_MAX);
        let present: Vec<&UnitWindow> =
            windows.iter().filter(|window| window.start_unix_ns <= latest).collect();
        let future_windows = (windows.len() - present.len()) as u64;
        let is_warm = |window: &&&UnitWindow| {
            let warm_at = window.since_unix_ns.saturating_add(grouping.warm_up_ns);
            window.start_unix_ns >= warm_at || grouping.warm_up_ns == 0
        };
        let warm: Vec<&UnitWindow> = present.iter().filter(is_warm).copied().collect();
        let is_cold = warm.is_empty() && !present.is_empty();
        let kept = if is_cold { &present } else { &warm };
        let warm_up_windows = (present.len() - kept.len()) as u64;
        Self { windows: kept.clone(), warm_up_windows, is_cold, future_windows }
    }
}
