//! A canary looked at again and again on growing counts, with the chance of a false alarm spent over the looks.

use flamewatch_collector::detect::{Group, Policy, judge};

use crate::competitors::{RIVALS, View};
use crate::join::Join;
use crate::scene::{Drawn, Scene};
use crate::variant::Scope;

/// Windows after which there is a look.
pub(crate) const LOOKS: [usize; 5] = [1, 2, 4, 8, 12];

/// Chance of a false alarm over all looks.
const ALPHA: f64 = 0.01;

/// Growth of a function, as a share of the service's CPU, from which a canary fails.
pub(crate) const MARGIN: f64 = 0.005;

/// Part of its metrics below which Kayenta fails a canary.
const KAYENTA_SCORE: f64 = 0.95;

/// Level of the `look`-th look, counted from 1: `α 6/(π² j²)`, which sums to α over all looks there could be.
pub(crate) fn level(look: usize) -> f64 {
    ALPHA * 6.0 / (std::f64::consts::PI * look as f64).powi(2)
}

/// What the looks at one canary gave.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// The look at which we fail the canary, counted from 0.
    pub(crate) failed_at: Option<usize>,
    /// Whether what failed it truly grew.
    pub(crate) is_right: bool,
    /// Tests of all functions at the last look, and how many of our own say at 1 % that something grew.
    pub(crate) series: [u64; 2],
    /// By rival: the look at which something grew by more than the margin.
    pub(crate) rivals: Vec<Option<usize>>,
    /// By rival: alarms at the last look, whatever their size.
    pub(crate) rival_alarms: Vec<u64>,
}

/// Looks at a canary after each number of windows.
pub(crate) fn watch(scene: &Scene<'_>, join: &Join, drawn: &Drawn) -> Story {
    let mut story = Story {
        failed_at: None,
        is_right: false,
        series: [0; 2],
        rivals: vec![None; RIVALS.len()],
        rival_alarms: vec![0; RIVALS.len()],
    };
    for (look, windows) in LOOKS.iter().enumerate() {
        look_once(scene, join, drawn, (look, *windows), &mut story);
        let view = View::of(join, scene, drawn, *windows);
        for (number, rival) in RIVALS.iter().enumerate() {
            let alarms = (rival.alarms)(&view);
            story.rival_alarms[number] = alarms.len() as u64;
            let fails = if rival.name == "Kayenta" {
                let score = 1.0 - alarms.len() as f64 / view.items.len() as f64;
                score < KAYENTA_SCORE
            } else {
                alarms.iter().any(|alarm| alarm.delta >= MARGIN)
            };
            if fails && story.rivals[number].is_none() {
                story.rivals[number] = Some(look);
            }
        }
    }
    story
}

fn look_once(
    scene: &Scene<'_>,
    join: &Join,
    drawn: &Drawn,
    (look, windows): (usize, usize),
    story: &mut Story,
) {
    let judgement = judge(&join.diff(scene, drawn, windows), &Policy::default());
    let flagged = judgement.verdicts.iter().filter(|verdict| verdict.is_regression()).count();
    story.series = [judgement.verdicts.len() as u64, flagged as u64];
    // Half of the level is for the service as a whole.
    let limit = level(look + 1) / 2.0;
    let fails = |group: &&Group| {
        group.is_regression() && group.root.q <= limit && group.root.delta_abs >= MARGIN
    };
    if story.failed_at.is_none()
        && let Some(group) = judgement.groups.iter().find(fails)
    {
        story.failed_at = Some(look);
        let scope = crate::found::group_scope(join, group);
        story.is_right = scope.is_some_and(|scope| has_grown(join, &scope));
    }
}

/// Whether some stacks truly cost more than a hundredth more than before.
pub(crate) fn has_grown(join: &Join, scope: &Scope) -> bool {
    let [before, after] = join.truth(scope);
    after > 1.01 * before
}
