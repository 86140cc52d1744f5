//! Answers a gate's question from the store: reads what every look saw, decides each, and says what holds after all.
//!
//! Nothing is kept between questions. Looks follow from the time at which the candidate began, so a restart of the collector
//! changes no answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::detect::judge;
use crate::diff::{Grouping, ProfileDiff, Replication};
use crate::store::{Selection, Store, StoreError, TimeRange, UnitLife, UnitWindow};

use super::Labels;
use super::answer::{GateAnswer, Seen};
use super::arms::{Arms, lives, windows_of};
use super::checks::{Check, Consequence, of_counts};
use super::decide::{Decision, Evidence, decide, settle};
use super::looks::{Look, Schedule};
use super::policy::GatePolicy;
use super::request::{GateRequest, Times};
use super::restarts::Restarts;
use super::triggers::{Sides, fired};
use super::verdict::GateVerdict;

/// Time for which a look waits after its end: agents send a window when it is over, and may have to try again.
pub(super) const SETTLE_NS: u64 = 30_000_000_000;

/// How far into the future windows are read, to find the hosts whose clocks are ahead: a day.
const AHEAD_NS: u64 = 86_400_000_000_000;

/// Unit windows without data after which a unit has ended.
const ENDED_WINDOWS: u64 = 2;

/// Answers a gate's question from the store. `now_unix_ns` ends the range when the request does not.
///
/// # Errors
///
/// When the store cannot be read. A question that nothing matches is an answer with [`GateVerdict::Error`].
pub fn evaluate(
    store: &dyn Store,
    request: &GateRequest,
    now_unix_ns: u64,
) -> Result<GateAnswer, StoreError> {
    let policy = request.policy.clone().unwrap_or_default();
    let refuse = |reason| Ok(GateAnswer::without_data(GateVerdict::Error, reason, &policy));
    if let Err(reason) = policy.check() {
        return refuse(reason);
    }
    let times = match request.times(now_unix_ns, policy.look) {
        Ok(times) => times,
        Err(reason) => return refuse(reason),
    };
    let question = Question { store, request, policy: &policy, times };
    let arms = match question.arms()? {
        Ok(arms) => arms,
        Err(reason) => return refuse(reason),
    };
    let Some(schedule) = question.schedule(&arms) else {
        return refuse("every host that ran the candidate has a wrong clock".to_owned());
    };
    question.answer(&arms, schedule)
}

/// A question that makes sense.
struct Question<'q> {
    store: &'q dyn Store,
    request: &'q GateRequest,
    policy: &'q GatePolicy,
    times: Times,
}

/// When the data is looked at.
enum Timetable {
    /// Again and again while it grows.
    Growing(Schedule),
    /// Once.
    Complete(Look),
}

impl Question<'_> {
    /// Units of both sides, or a sentence on the one that has none.
    fn arms(&self) -> Result<Result<Arms, String>, StoreError> {
        let end = self.times.now_unix_ns.saturating_add(AHEAD_NS);
        // Lives begin before the range, so that the age of a unit is known.
        let range = TimeRange { start_unix_ns: 0, end_unix_ns: end };
        let read = |labels| self.store.unit_lives(&self.selection(labels), range);
        let sides = [read(&self.request.baseline)?, read(&self.request.candidate)?];
        for (side, labels, lives) in [
            ("baseline", &self.request.baseline, &sides[0]),
            ("candidate", &self.request.candidate, &sides[1]),
        ] {
            let is_in_range = |life: &UnitLife| {
                life.last_seen_unix_ns > self.times.oldest_unix_ns && life.first_seen_unix_ns < end
            };
            if !lives.iter().any(is_in_range) {
                return Ok(Err(format!(
                    "no profiles of service `{}` match the {side} `{}` in this range",
                    self.request.service,
                    Labels(labels.clone())
                )));
            }
        }
        let [baseline, mut candidate] = sides;
        candidate.retain(|life| life.last_seen_unix_ns > self.times.from_unix_ns);
        Ok(Ok(Arms::new(baseline, candidate, self.times.now_unix_ns)))
    }

    fn selection(&self, labels: &BTreeMap<String, String>) -> Selection {
        let labels = labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Selection { service: self.request.service.clone(), labels }
    }

    fn schedule(&self, arms: &Arms) -> Option<Timetable> {
        let start = arms.data_start(self.times, self.policy)?;
        let Times { now_unix_ns, oldest_unix_ns, is_complete, .. } = self.times;
        if is_complete || start < oldest_unix_ns {
            return Some(Timetable::Complete(Look::only(start.max(oldest_unix_ns), now_unix_ns)));
        }
        Some(Timetable::Growing(Schedule {
            start_unix_ns: start,
            look_ns: self.policy.look * 1_000_000_000,
            max_wait_ns: self.policy.max_wait * 1_000_000_000,
        }))
    }

    fn answer(&self, arms: &Arms, timetable: Timetable) -> Result<GateAnswer, StoreError> {
        let (looks, next) = match timetable {
            Timetable::Growing(schedule) => {
                schedule.at(self.times.now_unix_ns.saturating_sub(SETTLE_NS))
            }
            Timetable::Complete(look) => (vec![look], None),
        };
        let due = next.map(|next| next.end_unix_ns.saturating_add(SETTLE_NS) as f64 / 1e9);
        let Some(last) = looks.last().copied() else {
            let fired = self.fired(arms, next.map_or(0, |next| next.start_unix_ns))?;
            let wait = due.unwrap_or(0.0) - self.times.now_unix_ns as f64 / 1e9;
            let reason = format!("the first look at the data is in {:.0} s", wait.max(0.0));
            let mut answer =
                GateAnswer::without_data(GateVerdict::Inconclusive, reason, self.policy);
            answer.next_look = due;
            answer.checks.clone_from(&arms.checks);
            answer.fail_by(fired);
            return Ok(answer);
        };
        let fired = self.fired(arms, last.start_unix_ns)?;
        let data = self.read(arms, &looks, last)?;
        let mut seen = Vec::with_capacity(looks.len());
        let decisions: Vec<Decision> = looks
            .iter()
            .map(|look| {
                let (at_look, restarts) = data.seen(self, arms, *look);
                let decision = decide(
                    &Evidence {
                        look: *look,
                        diff: &at_look.diff,
                        judgement: &at_look.judgement,
                        restarts,
                        checks: &at_look.checks,
                    },
                    self.policy,
                );
                seen.push(at_look);
                decision
            })
            .collect();
        let looks = last.number;
        let Some(decision) = settle(decisions) else {
            unreachable!("there is a look, so there is a decision");
        };
        let at = (decision.look.number.max(1) - 1) as usize;
        let mut answer = GateAnswer::of(seen.swap_remove(at), decision, self.policy);
        answer.looks = looks;
        answer.is_final |= next.is_none();
        answer.next_look = due.filter(|_| !answer.is_final);
        if answer.is_final {
            answer.close(self.policy.on_inconclusive);
        }
        answer.fail_by(fired);
        Ok(answer)
    }

    /// The rollback triggers that fired so far, as sentences.
    fn fired(&self, arms: &Arms, start: u64) -> Result<Vec<String>, StoreError> {
        let end = self.times.now_unix_ns.saturating_sub(SETTLE_NS);
        let end = end.min(start.saturating_add(self.policy.max_wait * 1_000_000_000));
        if self.policy.rollback_triggers.is_empty() || end <= start {
            return Ok(Vec::new());
        }
        let range = TimeRange { start_unix_ns: start, end_unix_ns: end };
        let read = |labels, side: &[UnitLife]| -> Result<Vec<UnitWindow>, StoreError> {
            let window_ns = self.times.window_ns;
            let windows = self.store.unit_windows(&self.selection(labels), range, window_ns)?;
            Ok(windows_of(&windows, side, [start, end], self.policy.warm_up * 1_000_000_000))
        };
        let sides = Sides {
            baseline: read(&self.request.baseline, &arms.baseline)?,
            candidate: read(&self.request.candidate, &arms.candidate)?,
            window_ns: self.times.window_ns,
        };
        Ok(fired(&sides, [start, end], self.policy))
    }

    /// Reads all that the last look sees: the others see a part of it.
    fn read(&self, arms: &Arms, looks: &[Look], last: Look) -> Result<Data, StoreError> {
        let read = |labels, [start_unix_ns, end_unix_ns]: [u64; 2]| {
            let range = TimeRange { start_unix_ns, end_unix_ns };
            self.store.unit_windows(&self.selection(labels), range, self.times.window_ns)
        };
        let during = [last.start_unix_ns, last.end_unix_ns];
        let began = arms.began(self.policy).unwrap_or(last.start_unix_ns);
        // What is kept before the candidate began, or before a part of its time that was asked for.
        let end = began.max(self.times.from_unix_ns.min(last.start_unix_ns));
        let before = [end.saturating_sub(self.policy.max_wait * 1_000_000_000), end];
        let are_concurrent =
            |look: &Look| arms.are_concurrent([look.start_unix_ns, look.end_unix_ns]);
        let baseline_before = if looks.iter().all(are_concurrent) {
            Vec::new()
        } else {
            read(&self.request.baseline, before)?
        };
        Ok(Data {
            before,
            baseline_before,
            baseline: read(&self.request.baseline, during)?,
            candidate: read(&self.request.candidate, during)?,
        })
    }
}

/// The windows of the last look.
struct Data {
    /// Time before the candidate.
    before: [u64; 2],
    /// The baseline in that time, where it is needed.
    baseline_before: Vec<UnitWindow>,
    /// The baseline in the time of the candidate.
    baseline: Vec<UnitWindow>,
    candidate: Vec<UnitWindow>,
}

impl Data {
    /// What one look sees of it.
    fn seen(&self, question: &Question<'_>, arms: &Arms, look: Look) -> (Seen, [Restarts; 2]) {
        let Question { policy, times, .. } = question;
        let warm_up_ns = policy.warm_up * 1_000_000_000;
        let during = [look.start_unix_ns, look.end_unix_ns];
        let is_concurrent = arms.are_concurrent(during);
        let (before, baseline) = if is_concurrent {
            (during, &self.baseline)
        } else {
            (self.before, &self.baseline_before)
        };
        let baseline = windows_of(baseline, &arms.baseline, before, warm_up_ns);
        let candidate = windows_of(&self.candidate, &arms.candidate, during, warm_up_ns);
        let replication = if !is_concurrent && hosts_in_common(&baseline, &candidate) >= 2 {
            Replication::Pairs
        } else {
            Replication::Units
        };
        let grouping = Grouping {
            window_ns: times.window_ns,
            warm_up_ns: 0,
            now_unix_ns: times.now_unix_ns,
            request_syscall: policy.request_syscall.clone(),
            replication: Some(replication),
        };
        let diff = ProfileDiff::new(&baseline, &candidate, &grouping);
        let judgement = judge(&diff, &policy.detect);
        let mut checks = arms.checks.clone();
        checks.extend(of_counts(&diff));
        checks.extend(arms.ages(look.start_unix_ns));
        if !is_concurrent {
            let sentence = "the baseline did not run beside the candidate, so what ran before it is compared: a change of \
                            the load or of the machines looks like one of the code";
            checks.push(Check::new(Consequence::Told, sentence));
        }
        let slack_ns = ENDED_WINDOWS * times.window_ns;
        let restarts = [(&arms.baseline, before), (&arms.candidate, during)]
            .map(|(side, range)| Restarts::of(&lives(side), range, slack_ns));
        (Seen { diff, judgement, checks }, restarts)
    }
}

fn hosts_in_common(baseline: &[UnitWindow], candidate: &[UnitWindow]) -> usize {
    let hosts = |windows: &'_ [UnitWindow]| -> BTreeSet<String> {
        windows.iter().map(|window| window.host.clone()).collect()
    };
    hosts(baseline).intersection(&hosts(candidate)).count()
}
