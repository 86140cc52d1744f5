//! Follows a service over time, without a release: what the temporal mode finds becomes alerts.

use std::collections::BTreeMap;

use crate::detect::temporal::{
    Mask, Remeasured, Span, TemporalFinding, TemporalOptions, Timeline, Watched, judge, remeasure,
};
use crate::detect::{Direction, Subject};
use crate::store::VersionSpan;

use super::lifecycle::{Patience, Sight, Track};
use super::support::is_named;
use super::transition::{Look, advance, is_gone};
use super::{
    Alert, AlertName, AlertOptions, AlertState, Evidence, Measured, Mode, Past, Severity, Topic,
    Whole, fingerprint,
};

/// A release counts as the cause of a change that began within so much time of it.
const RELEASE_NS: u64 = 1_800 * 1_000_000_000;

/// One evaluation of one service over time.
pub(super) struct Review<'e> {
    pub(super) service: &'e str,
    pub(super) versions: &'e [VersionSpan],
    pub(super) timeline: &'e Timeline,
    pub(super) temporal: &'e TemporalOptions,
    pub(super) options: &'e AlertOptions,
    pub(super) now_unix_ns: u64,
}

impl Review<'_> {
    /// Moves the temporal alerts of the service and opens new ones. Persistence and level are the finding's own, so what
    /// is found fires.
    pub(super) fn over_time(&self, known: Vec<Alert>) -> Vec<Alert> {
        let found = judge(self.timeline, &self.mask(&known), self.temporal);
        let worse: Vec<&TemporalFinding> =
            found.findings.iter().filter(|found| found.direction == Direction::Worse).collect();
        let mut alerts: Vec<Alert> =
            known.into_iter().filter_map(|alert| self.follow(alert, &worse)).collect();
        for finding in worse {
            self.open(finding, &mut alerts);
        }
        alerts
    }

    fn follow(&self, alert: Alert, worse: &[&TemporalFinding]) -> Option<Alert> {
        let followed = alert.mode == Mode::Temporal
            && (alert.is_open() || alert.state == AlertState::Accepted);
        let Some(past) = alert.past.as_ref().filter(|_| followed) else {
            return Some(alert);
        };
        let watched = watched_of(&alert.topic)?;
        let finding = worse.iter().find(|finding| finding.watched == watched);
        let utc_offset_hours = self.temporal.utc_offset_hours;
        let size = alert.evidence.measured.baseline_value.unwrap_or_default();
        let sight = match remeasure(self.timeline, &watched, &past.baseline, utc_offset_hours) {
            Remeasured::NoData => Sight::NoData,
            Remeasured::Change { .. } if finding.is_some() => Sight::Regressed { is_firm: true },
            Remeasured::Change { interval, .. } if is_gone(&alert, interval[1] * size) => {
                Sight::Gone
            }
            Remeasured::Change { interval, .. } if interval[0] > 0.0 => {
                Sight::Regressed { is_firm: false }
            }
            Remeasured::Change { .. } => Sight::Unclear,
        };
        let evidence = finding.map(|finding| evidence(finding));
        self.advance(alert, sight, evidence)
    }

    fn open(&self, finding: &TemporalFinding, alerts: &mut Vec<Alert>) {
        let topic = topic_of(&finding.watched);
        let name = fingerprint(self.service, &self.options.environment, &topic);
        // What the test of a release tells already is told once, wherever else it shows.
        let names: Vec<String> = std::iter::once(&finding.watched)
            .chain(&finding.also_visible_in)
            .map(|watched| fingerprint(self.service, &self.options.environment, &topic_of(watched)))
            .collect();
        let is_told = |alert: &Alert| {
            names.contains(&alert.fingerprint) && alert.state != AlertState::Resolved
        };
        if alerts.iter().any(is_told) {
            return;
        }
        let known = alerts.iter().position(|alert| alert.fingerprint == name);
        let over = known.map(|at| alerts.remove(at));
        let mut fresh = self.fresh(finding, topic);
        fresh.delivered = over.map(|over| over.delivered).unwrap_or_default();
        let sight = Sight::Regressed { is_firm: true };
        alerts.extend(self.advance(fresh, sight, Some(evidence(finding))));
    }

    fn advance(&self, alert: Alert, sight: Sight, evidence: Option<Evidence>) -> Option<Alert> {
        let version = self.version_at(self.now_unix_ns).unwrap_or_default();
        let now = self.now_unix_ns as f64 / 1e9;
        let look = Look { sight, evidence, withheld: None, version, now };
        let patience = Patience { pending: 1, resolve: self.options.resolve_windows };
        advance(alert, look, patience)
    }

    fn fresh(&self, finding: &TemporalFinding, topic: Topic) -> Alert {
        let change = finding.change_point;
        let now = self.now_unix_ns as f64 / 1e9;
        let before = change.unix_ns.saturating_sub(RELEASE_NS);
        let spans = &finding.baseline.windows;
        Alert {
            fingerprint: fingerprint(self.service, &self.options.environment, &topic),
            name: AlertName::of(&topic),
            service: self.service.to_owned(),
            environment: self.options.environment.clone(),
            topic,
            severity: Severity::Info,
            state: AlertState::Pending,
            mode: Mode::Temporal,
            baseline_version: self.version_at(before).unwrap_or_default().to_owned(),
            candidate_version: self.version_at(self.now_unix_ns).unwrap_or_default().to_owned(),
            baseline_start_unix_ns: spans.iter().map(|span| span.start_unix_ns).min().unwrap_or(0),
            baseline_end_unix_ns: change.unix_ns,
            started_at: now,
            fired_at: None,
            resolved_at: None,
            evidence: evidence(finding),
            past: Some(Past {
                baseline: finding.baseline.clone(),
                change_unix_ns: change.unix_ns,
                change_within: change.within,
                rung: finding.rung,
                pace: finding.pace,
            }),
            withheld: None,
            is_in_digest: false,
            escalation: None,
            acceptance: None,
            decided_at: 0.0,
            seen_at: now,
            judged_unix_ns: 0,
            delta_on: 0.0,
            track: Track::default(),
            links: self.options.links(self.service),
            delivered: BTreeMap::new(),
        }
    }

    /// The newest version that ran at a time.
    fn version_at(&self, unix_ns: u64) -> Option<&str> {
        let ran = self.versions.iter().filter(|version| version.first_seen_unix_ns <= unix_ns);
        let newest = ran.filter(|version| is_named(&version.version));
        newest.max_by_key(|version| version.first_seen_unix_ns).map(|version| &*version.version)
    }

    /// What is no baseline: what open alerts are about, from where they began, and the time in which a release went out.
    fn mask(&self, alerts: &[Alert]) -> Mask {
        let mut mask = Mask::default();
        let end_unix_ns = self.now_unix_ns;
        for alert in alerts.iter().filter(|alert| alert.is_open()) {
            let Some(watched) = watched_of(&alert.topic) else { continue };
            let start_unix_ns =
                alert.past.as_ref().map_or(alert.baseline_end_unix_ns, |past| past.change_unix_ns);
            mask.leave_out_of(&watched, Span { start_unix_ns, end_unix_ns });
        }
        for version in self.versions.iter().filter(|version| is_named(&version.version)) {
            let start_unix_ns = version.first_seen_unix_ns;
            let before = self
                .versions
                .iter()
                .filter(|other| other.first_seen_unix_ns < start_unix_ns)
                .filter(|other| other.last_seen_unix_ns > start_unix_ns)
                .map(|other| other.last_seen_unix_ns)
                .max();
            // Versions that run side by side for long are not rolling out.
            if let Some(end_unix_ns) = before.filter(|end| end - start_unix_ns <= RELEASE_NS) {
                mask.leave_out(Span { start_unix_ns, end_unix_ns });
            }
        }
        mask
    }
}

fn topic_of(watched: &Watched) -> Topic {
    match watched {
        Watched::Of(subject) => Topic::Of(subject.clone()),
        Watched::ServiceCpu => Topic::Whole(Whole::Service),
    }
}

fn watched_of(topic: &Topic) -> Option<Watched> {
    match topic {
        Topic::Of(subject) => Some(Watched::Of(subject.clone())),
        Topic::Whole(Whole::Service) => Some(Watched::ServiceCpu),
        Topic::Whole(Whole::Request | Whole::Digest) => None,
    }
}

/// What a finding rests on. Relative interval times the baseline: the baseline itself is a mean of many windows.
fn evidence(finding: &TemporalFinding) -> Evidence {
    let base = finding.baseline_value;
    let name = |watched: &Watched| match watched {
        Watched::Of(Subject::Function { function, .. }) => function.clone(),
        watched => topic_of(watched).to_string(),
    };
    Evidence {
        measured: Measured {
            direction: finding.direction,
            baseline_value: Some(base),
            candidate_value: finding.candidate_value,
            delta_abs: finding.candidate_value - base,
            delta_rel: Some(finding.delta_rel),
            ci_low: finding.interval[0] * base,
            ci_high: finding.interval[1] * base,
            p: finding.p,
            q: finding.q,
            samples_baseline: 0,
            samples_candidate: 0,
            replicates_baseline: finding.baseline.windows.len(),
            replicates_candidate: finding.windows,
        },
        also_visible_in: finding.also_visible_in.iter().map(name).collect(),
        ..Evidence::default()
    }
}
