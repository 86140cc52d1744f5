//! A canary looked at again and again on growing counts: the gate's own looks and decision, and the rivals'.

use flamewatch_collector::detect::{Group, judge};
use flamewatch_collector::gate::decide::{Evidence, decide};
use flamewatch_collector::gate::looks::{Look, Schedule};
use flamewatch_collector::gate::restarts::Restarts;
use flamewatch_collector::gate::{GatePolicy, GateVerdict, checks};

use crate::competitors::{RIVALS, View};
use crate::found::group_scope;
use crate::join::Join;
use crate::scene::{Drawn, Scene};
use crate::variant::Scope;

/// Windows after which the gate looks; a window is as long as the default policy's look.
pub(crate) const LOOKS: [usize; 5] = [1, 2, 4, 8, 12];

/// Part of its metrics below which Kayenta fails a canary.
const KAYENTA_SCORE: f64 = 0.95;

/// What the looks at one canary gave.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    /// The first look that fails the canary, counted from 0, whatever earlier ones said.
    pub(crate) failed_at: Option<usize>,
    /// The first look with an answer: whether it passes, and the look.
    pub(crate) answer: Option<(bool, usize)>,
    /// Groups that fail it at that look, and how many of them truly grew.
    pub(crate) groups: [u64; 2],
    /// Functions tested at the last look, and how many of them are told to have grown at 1 %.
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
        answer: None,
        groups: [0; 2],
        series: [0; 2],
        rivals: vec![None; RIVALS.len()],
        rival_alarms: vec![0; RIVALS.len()],
    };
    let policy = GatePolicy::default();
    for (number, (windows, look)) in LOOKS.into_iter().zip(schedule(&policy).looks()).enumerate() {
        story.look(number, &judged(scene, join, drawn, windows, look));
        let view = View::of(join, scene, drawn, windows);
        for (at, rival) in RIVALS.iter().enumerate() {
            let alarms = (rival.alarms)(&view);
            story.rival_alarms[at] = alarms.len() as u64;
            let fails = if rival.name == "Kayenta" {
                let score = 1.0 - alarms.len() as f64 / view.items.len() as f64;
                score < KAYENTA_SCORE
            } else {
                alarms.iter().any(|alarm| alarm.delta >= policy.fail.function_share)
            };
            if fails && story.rivals[at].is_none() {
                story.rivals[at] = Some(number);
            }
        }
    }
    story
}

fn schedule(policy: &GatePolicy) -> Schedule {
    const SECOND_NS: u64 = 1_000_000_000;
    Schedule {
        start_unix_ns: SECOND_NS,
        look_ns: policy.look * SECOND_NS,
        max_wait_ns: policy.max_wait * SECOND_NS,
    }
}

/// What the gate says at one look.
struct Judged {
    verdict: GateVerdict,
    groups: [u64; 2],
    series: [u64; 2],
}

fn judged(scene: &Scene<'_>, join: &Join, drawn: &Drawn, windows: usize, look: Look) -> Judged {
    let policy = GatePolicy::default();
    let diff = join.diff(scene, drawn, windows);
    let judgement = judge(&diff, &policy.detect);
    let checks = checks::of_counts(&diff);
    let restarts = [Restarts::default(); 2];
    let evidence = Evidence { look, diff: &diff, judgement: &judgement, restarts, checks: &checks };
    let decision = decide(&evidence, &policy);
    let level = look.spends(policy.alpha) / 2.0;
    let fails = |group: &&Group| {
        let root = &group.root;
        group.is_regression() && root.q <= level && root.delta_abs >= policy.fail.function_share
    };
    let failing: Vec<&Group> = judgement.groups.iter().filter(fails).collect();
    let is_right =
        |group: &&&Group| group_scope(join, group).is_some_and(|scope| has_grown(join, &scope));
    let flagged = judgement.verdicts.iter().filter(|verdict| verdict.is_regression()).count();
    Judged {
        verdict: decision.verdict,
        groups: [failing.len() as u64, failing.iter().filter(is_right).count() as u64],
        series: [judgement.verdicts.len() as u64, flagged as u64],
    }
}

impl Story {
    fn look(&mut self, number: usize, judged: &Judged) {
        self.series = judged.series;
        let is_pass = judged.verdict == GateVerdict::Pass;
        let is_fail = judged.verdict == GateVerdict::Fail;
        if is_fail && self.failed_at.is_none() {
            self.failed_at = Some(number);
            self.groups = judged.groups;
        }
        if (is_pass || is_fail) && self.answer.is_none() {
            self.answer = Some((is_pass, number));
        }
    }
}

/// Whether some stacks truly cost more than a hundredth more than before.
pub(crate) fn has_grown(join: &Join, scope: &Scope) -> bool {
    let [before, after] = join.truth(scope);
    after > 1.01 * before
}
