//! Follows a service over its releases: compares the newest version with the one before it, and open alerts with the
//! baseline that was frozen when they began.

use std::collections::BTreeMap;

use crate::detect::{Direction, Group, Judgement, SeenAs, Subject, Verdict, usable};
use crate::diff::Replicate;
use crate::store::StoreError;

use super::comparison::{Comparison, Windows};
use super::evidence::evidence;
use super::lifecycle::{Patience, Sight, Track};
use super::matching::{assign, is_related, strongest};
use super::plan::{Arm, Plan};
use super::support::Support;
use super::transition::{Look, advance, is_gone};
use super::{
    Alert, AlertName, AlertOptions, AlertState, Evidence, Mode, Severity, Topic, Whole, cost,
    fingerprint,
};
use crate::detect::Policy;

/// Most baselines that the open alerts of a service are compared with in one evaluation: each is a read of the store. The
/// alerts of older ones see no data.
const BASELINES_MAX: usize = 8;

/// One evaluation of one service.
pub(super) struct Turn<'e> {
    pub(super) windows: Windows<'e>,
    pub(super) policy: &'e Policy,
    pub(super) options: &'e AlertOptions,
    /// Unix seconds.
    pub(super) now: f64,
    /// Pending alerts that went away.
    pub(super) went_away: u64,
}

impl Turn<'_> {
    /// Moves all alerts on releases of the service, and opens new ones.
    pub(super) fn after_release(
        &mut self,
        plan: &Plan,
        known: Vec<Alert>,
    ) -> Result<Vec<Alert>, StoreError> {
        let mut by_baseline: BTreeMap<Arm, Vec<Alert>> = BTreeMap::new();
        let mut alerts = Vec::new();
        for alert in known {
            let is_followed = alert.is_open() || alert.state == AlertState::Accepted;
            let is_judged = alert.judged_unix_ns >= plan.candidate.end_unix_ns;
            if alert.mode == Mode::Temporal || !is_followed || is_judged || !alert.is_single() {
                alerts.push(alert);
            } else {
                by_baseline.entry(baseline_of(&alert, plan)).or_default().push(alert);
            }
        }
        if let Some(baseline) = &plan.baseline {
            by_baseline.entry(baseline.clone()).or_default();
        }
        let mut of_plan = None;
        // The newest baselines first: what is left out is what matters least.
        for (count, (baseline, members)) in by_baseline.into_iter().rev().enumerate() {
            let is_of_plan = Some(&baseline) == plan.baseline.as_ref();
            if count >= BASELINES_MAX && !is_of_plan {
                alerts.extend(members);
                continue;
            }
            let judging = (self.policy, self.options);
            let comparison = Comparison::of(&mut self.windows, &baseline, plan, judging)?;
            let told = self.follow(plan, members, &comparison, &mut alerts);
            if is_of_plan {
                of_plan = Some((baseline, comparison, told));
            }
        }
        // Only now all alerts are known, and what they tell is not told again.
        if let Some((baseline, comparison, told)) = of_plan {
            self.open(plan, (&baseline, &comparison), &told, &mut alerts);
            self.open_cost(plan, (&baseline, &comparison), &mut alerts);
        }
        Ok(alerts)
    }

    /// Moves the alerts of one baseline along; returns which groups they tell.
    fn follow(
        &mut self,
        plan: &Plan,
        members: Vec<Alert>,
        comparison: &Comparison,
        alerts: &mut Vec<Alert>,
    ) -> Vec<bool> {
        let groups = &comparison.judgement.groups;
        let mut told = vec![false; groups.len()];
        let assigned = assign(&members, groups);
        for (mut alert, group) in members.into_iter().zip(assigned) {
            if let Some((group, _)) = group {
                told[group] = true;
            }
            let (version, now) = (&plan.candidate.version, self.now);
            let look = if alert.topic == Topic::Whole(Whole::Request) {
                let found = cost::told(&comparison.judgement);
                let sight = cost::sight(&alert, found, (self.policy.q, self.options));
                let evidence = found.map(|found| cost::evidence(&comparison.diff, found));
                let evidence = evidence.filter(|_| matches!(sight, Sight::Regressed { .. }));
                Look { sight, evidence, withheld: None, version, now }
            } else {
                let (sight, own) = self.sight(&alert, comparison, group);
                let evidence = own.as_ref().map(|group| evidence(&comparison.diff, group));
                let withheld = own.and_then(|group| withheld(comparison, &group));
                Look { sight, evidence, withheld, version, now }
            };
            alert.judged_unix_ns = plan.candidate.end_unix_ns;
            self.keep(advance(alert, look, self.patience()), alerts);
        }
        told
    }

    fn keep(&mut self, alert: Option<Alert>, alerts: &mut Vec<Alert>) {
        self.went_away += u64::from(alert.is_none());
        alerts.extend(alert);
    }

    /// What a comparison says of an alert, and the group with the alert's own root, in the alert's own numbers.
    fn sight(
        &self,
        alert: &Alert,
        comparison: &Comparison,
        group: Option<(usize, bool)>,
    ) -> (Sight, Option<Group>) {
        let Topic::Of(subject) = &alert.topic else {
            return (Sight::NoData, None);
        };
        let is_function = matches!(subject, Subject::Function { .. });
        let replicates = |side: &[Replicate]| {
            if is_function { usable(side, self.policy).len() } else { side.len() }
        };
        let diff = &comparison.diff;
        // A few samples of a function that is not among them do not show that it is gone.
        if replicates(&diff.baseline) < 2 || replicates(&diff.candidate) < 2 {
            return (Sight::NoData, None);
        }
        let Judgement { verdicts, groups, .. } = &comparison.judgement;
        let own = verdicts.iter().find(|verdict| verdict.subject == *subject);
        if let Some((at, is_own)) = group {
            let Group { root, .. } = &groups[at];
            let is_firm = is_own && root.q <= self.options.firing_q;
            let own = if root.subject == *subject { Some(root) } else { own };
            let group = own.filter(|_| is_own).map(|own| Group {
                // The strongest number of a syscall, or kind of time of a function, may change from look to look.
                root: Verdict { p: root.p, q: root.q, ..own.clone() },
                ..groups[at].clone()
            });
            return (Sight::Regressed { is_firm }, group);
        }
        let sight = match own {
            Some(verdict) if verdict.significant && verdict.direction == Direction::Worse => {
                Sight::Regressed { is_firm: false }
            }
            Some(verdict) if !is_gone(alert, verdict.ci_high) => Sight::Unclear,
            // Without a verdict there were too few samples or calls of it to judge: it costs nothing now.
            Some(_) | None => Sight::Gone,
        };
        (sight, None)
    }

    /// Opens an alert for each group that no alert tells and that has enough support.
    fn open(
        &mut self,
        plan: &Plan,
        (baseline, comparison): (&Arm, &Comparison),
        told: &[bool],
        alerts: &mut Vec<Alert>,
    ) {
        let groups = comparison.judgement.groups.iter().zip(told);
        for group in strongest(groups.filter(|(_, told)| !**told).map(|(group, _)| group)) {
            let topic = Topic::Of(group.root.subject.clone());
            let name = fingerprint(self.windows.service, &self.options.environment, &topic);
            let is_supported =
                comparison.support.iter().all(|side| side.is_enough_for(&group.root.subject));
            let known = alerts.iter().position(|alert| alert.fingerprint == name);
            let is_over = |at: usize| alerts[at].state == AlertState::Resolved;
            // What an open alert on another baseline shows in is that alert.
            let is_told = alerts.iter().any(|alert| alert.is_open() && is_related(alert, group));
            if !is_supported || is_told || known.is_some_and(|at| !is_over(at)) {
                continue;
            }
            let over = known.map(|at| alerts.remove(at));
            let found = evidence(&comparison.diff, group);
            let mut fresh = self.fresh(plan, (baseline, comparison.mode), topic, found.clone());
            // A webhook that was told of the resolved one is told again when this one fires.
            fresh.delivered = over.map(|over| over.delivered).unwrap_or_default();
            let look = Look {
                sight: Sight::Regressed { is_firm: group.root.q <= self.options.firing_q },
                evidence: Some(found),
                withheld: withheld(comparison, group),
                version: &plan.candidate.version,
                now: self.now,
            };
            let opened = advance(fresh, look, self.patience());
            self.keep(opened, alerts);
        }
    }

    /// Opens an alert when the service takes more CPU for each request and no alert says so.
    fn open_cost(
        &mut self,
        plan: &Plan,
        (baseline, comparison): (&Arm, &Comparison),
        alerts: &mut Vec<Alert>,
    ) {
        let topic = Topic::Whole(Whole::Request);
        let Some(found) = cost::told(&comparison.judgement).filter(|cost| cost.p <= self.policy.q)
        else {
            return;
        };
        let is_supported = comparison.support.iter().all(Support::is_enough_for_service);
        let known = alerts.iter().position(|alert| alert.topic == topic);
        if !is_supported || known.is_some_and(|at| alerts[at].state != AlertState::Resolved) {
            return;
        }
        let over = known.map(|at| alerts.remove(at));
        let found_evidence = cost::evidence(&comparison.diff, found);
        let mut fresh =
            self.fresh(plan, (baseline, comparison.mode), topic, found_evidence.clone());
        fresh.delivered = over.map(|over| over.delivered).unwrap_or_default();
        let look = Look {
            sight: Sight::Regressed { is_firm: found.p <= self.options.firing_q },
            evidence: Some(found_evidence),
            withheld: None,
            version: &plan.candidate.version,
            now: self.now,
        };
        let opened = advance(fresh, look, self.patience());
        self.keep(opened, alerts);
    }

    fn fresh(
        &self,
        plan: &Plan,
        (baseline, mode): (&Arm, Mode),
        topic: Topic,
        evidence: Evidence,
    ) -> Alert {
        let (service, environment) = (self.windows.service, &self.options.environment);
        Alert {
            fingerprint: fingerprint(service, environment, &topic),
            name: AlertName::of(&topic),
            service: service.to_owned(),
            environment: environment.clone(),
            topic,
            severity: Severity::Info,
            state: AlertState::Pending,
            mode,
            baseline_version: baseline.version.clone(),
            candidate_version: plan.candidate.version.clone(),
            baseline_start_unix_ns: baseline.start_unix_ns,
            baseline_end_unix_ns: baseline.end_unix_ns,
            started_at: self.now,
            fired_at: None,
            resolved_at: None,
            evidence,
            past: None,
            withheld: None,
            is_in_digest: false,
            escalation: None,
            acceptance: None,
            decided_at: 0.0,
            seen_at: self.now,
            judged_unix_ns: plan.candidate.end_unix_ns,
            delta_on: 0.0,
            track: Track::default(),
            links: self.options.links(service),
            delivered: BTreeMap::new(),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        Patience { pending: self.options.pending_windows, resolve: self.options.resolve_windows }
    }
}

/// The baseline of an alert: frozen when it began, or, while both versions still run side by side, the same windows of
/// the same version.
fn baseline_of(alert: &Alert, plan: &Plan) -> Arm {
    let side_by_side = plan.baseline.as_ref().filter(|baseline| {
        plan.is_concurrent
            && alert.mode == Mode::Concurrent
            && alert.baseline_version == baseline.version
    });
    side_by_side.cloned().unwrap_or_else(|| Arm {
        version: alert.baseline_version.clone(),
        start_unix_ns: alert.baseline_start_unix_ns,
        end_unix_ns: alert.baseline_end_unix_ns,
    })
}

/// Why a group must not make anybody get up: it depends on callers, and callers cannot be compared.
fn withheld(comparison: &Comparison, group: &Group) -> Option<String> {
    let needs_callers = !matches!(group.seen_as, SeenAs::SelfTime | SeenAs::Syscall);
    comparison.distrust.clone().filter(|_| needs_callers)
}
