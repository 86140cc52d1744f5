//! Rollback triggers: conditions that send a candidate back at any time, once they held for as long as they say. Pure.

use crate::alert::rfc3339;
use crate::detect::costs;
use crate::diff::{Grouping, ProfileDiff, Replication};
use crate::store::UnitWindow;

use super::measure::measure;
use super::policy::{GatePolicy, Trigger};

/// Most stretches of time on which a trigger is tried: with the default wait each minute.
const STRETCHES_MAX: u64 = 120;

/// Part of the gate's error that triggers may spend.
const TRIGGERS_PART: f64 = 0.5;

/// The windows of both sides since the start of the data.
pub(super) struct Sides {
    pub(super) baseline: Vec<UnitWindow>,
    pub(super) candidate: Vec<UnitWindow>,
    pub(super) window_ns: u64,
}

/// The triggers whose condition held beyond doubt over some stretch of the time, as sentences.
///
/// Stretches follow from the start of the data, so asking more often tries no more of them. Each is tested at
/// `α/2` over the number of triggers and of the stretches that there can be (Bonferroni).
pub(super) fn fired(sides: &Sides, [start, end]: [u64; 2], policy: &GatePolicy) -> Vec<String> {
    let wait_ns = policy.max_wait * 1_000_000_000;
    let step_ns = (wait_ns / STRETCHES_MAX).next_multiple_of(sides.window_ns).max(sides.window_ns);
    let stretches = (wait_ns / step_ns).max(1);
    let triggers = &policy.rollback_triggers;
    let level = policy.alpha * TRIGGERS_PART / (stretches * triggers.len().max(1) as u64) as f64;
    triggers
        .iter()
        .filter_map(|trigger| {
            let length = (trigger.for_seconds * 1_000_000_000).next_multiple_of(sides.window_ns);
            (0..stretches)
                .map(|index| start.saturating_add(index * step_ns))
                .map(|from| [from, from.saturating_add(length)])
                .take_while(|[_, to]| *to <= end)
                .find_map(|stretch| holds(trigger, sides, stretch, (policy, level)))
        })
        .collect()
}

/// The sentence, where the condition holds beyond doubt over the stretch.
fn holds(
    trigger: &Trigger,
    sides: &Sides,
    [from, to]: [u64; 2],
    (policy, level): (&GatePolicy, f64),
) -> Option<String> {
    let during = |windows: &[UnitWindow]| -> Vec<UnitWindow> {
        let is_in = |window: &&UnitWindow| (from..to).contains(&window.start_unix_ns);
        windows.iter().filter(is_in).cloned().collect()
    };
    let grouping = Grouping {
        window_ns: sides.window_ns,
        request_syscall: policy.request_syscall.clone(),
        replication: Some(Replication::Units),
        ..Grouping::default()
    };
    let diff = ProfileDiff::new(&during(&sides.baseline), &during(&sides.candidate), &grouping);
    let found = measure(&trigger.condition, &diff, &costs(&diff, &policy.detect)).ok()?;
    (found.p_met <= level).then(|| {
        format!(
            "rollback trigger `{trigger}` fired: {:.4} from {} to {}",
            found.value,
            rfc3339(from as f64 / 1e9),
            rfc3339(to as f64 / 1e9)
        )
    })
}
