//! Moves one alert by what one evaluation saw of it. Pure.

use tracing::info;

use super::lifecycle::{Patience, Sight, Track, step};
use super::{Alert, AlertState, Escalation, Evidence, Severity};

/// Growth of a firing alert at which a later release has made it worse, and of an accepted one at which it is no longer
/// what was accepted.
const WORSE_FACTOR: f64 = 1.5;

/// Part of its size when people were told below which a change counts as gone.
const GONE_SHARE: f64 = 0.5;

/// What one evaluation saw of one alert.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) sight: Sight,
    /// What it rests on, where the alert's own root was seen.
    pub(super) evidence: Option<Evidence>,
    /// Why it must not fire, although the numbers would have it so.
    pub(super) withheld: Option<String>,
    /// Version that was looked at.
    pub(super) version: &'a str,
    /// Unix seconds.
    pub(super) now: f64,
}

/// Whether a change is shown to be over: the upper end of its interval is below half of what it was.
pub(super) fn is_gone(alert: &Alert, ci_high: f64) -> bool {
    ci_high < GONE_SHARE * alert.size()
}

/// The alert after one more evaluation, or `None` when it went away before anybody was told.
pub(super) fn advance(mut alert: Alert, look: Look<'_>, patience: Patience) -> Option<Alert> {
    let Look { mut sight, evidence, withheld, version, now } = look;
    if let (Sight::Regressed { is_firm }, true) = (&mut sight, withheld.is_some()) {
        *is_firm = false;
    }
    if sight != Sight::NoData {
        alert.seen_at = now;
    }
    let before = alert.state;
    let Some((state, track)) = step(before, alert.track, sight, patience) else {
        info!(service = alert.service, topic = %alert.topic, "pending alert went away");
        return None;
    };
    alert.track = track;
    if let Some(evidence) = evidence {
        alert.take(evidence, sight, version, now);
    }
    if matches!(sight, Sight::Regressed { .. }) {
        alert.withheld = withheld.filter(|_| alert.state == AlertState::Pending);
    }
    if state != before {
        alert.enter(state, now);
    }
    Some(alert)
}

impl Alert {
    /// Size of the change by which its end is measured.
    fn size(&self) -> f64 {
        if self.delta_on > 0.0 { self.delta_on } else { self.evidence.measured.delta_abs }
    }

    /// Replaces the evidence with newer one, as far as this alert still follows what is seen.
    fn take(&mut self, evidence: Evidence, sight: Sight, version: &str, now: f64) {
        let is_firm = sight == Sight::Regressed { is_firm: true };
        let size = evidence.measured.delta_abs;
        match self.state {
            AlertState::Pending => {
                self.evidence = evidence;
                self.severity = self.severity_now();
            }
            AlertState::Firing | AlertState::Stale => {
                let was_shift = self.evidence.cost_shift.is_some();
                let is_escalated =
                    self.escalation.as_ref().is_some_and(|last| last.version == version);
                let is_new_release = version != self.candidate_version && !is_escalated;
                // What fires as a regression stays one: doubts that come later do not silence it.
                let shift = evidence.cost_shift.clone().filter(|_| was_shift);
                self.evidence = Evidence { cost_shift: shift, ..evidence };
                if was_shift && self.evidence.cost_shift.is_none() {
                    info!(service = self.service, topic = %self.topic, "a cost shift became a regression");
                    self.delta_on = size;
                    self.retell();
                } else if is_new_release && is_firm && size >= WORSE_FACTOR * self.size() {
                    info!(service = self.service, topic = %self.topic, version, "alert escalated");
                    let delta_before = self.size();
                    self.escalation =
                        Some(Escalation { at: now, version: version.to_owned(), delta_before });
                    self.delta_on = size;
                    self.retell();
                }
            }
            AlertState::Accepted => {
                let accepted = self.acceptance.as_ref().map_or(0.0, |word| word.delta_abs);
                if is_firm && size >= WORSE_FACTOR * accepted {
                    info!(service = self.service, topic = %self.topic, "accepted change grew");
                    self.acceptance = None;
                    self.resolved_at = None;
                    self.evidence = evidence;
                    self.severity = self.severity_now();
                    self.track = Track::default();
                    self.state = AlertState::Pending;
                }
            }
            AlertState::Resolved => {}
        }
    }

    fn enter(&mut self, state: AlertState, now: f64) {
        match (self.state, state) {
            (AlertState::Pending, AlertState::Firing) => {
                self.fired_at = Some(now);
                self.delta_on = self.evidence.measured.delta_abs;
                self.severity = self.severity_now();
            }
            (_, AlertState::Resolved) => self.resolved_at = Some(now),
            _ => {}
        }
        info!(
            service = self.service,
            topic = %self.topic,
            fingerprint = self.fingerprint,
            state = state.as_str(),
            "alert changed"
        );
        self.state = state;
    }

    /// People hear of it again: it means more than what they were told.
    fn retell(&mut self) {
        self.severity = self.severity.max(self.severity_now());
        self.is_in_digest = false;
        self.tell_again();
    }

    pub(super) fn severity_now(&self) -> Severity {
        if self.evidence.cost_shift.is_some() {
            return Severity::Info;
        }
        Severity::of(&self.topic, &self.evidence.measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;
    use crate::detect::{CostShift, ShiftKind};

    const PATIENCE: Patience = Patience { pending: 1, resolve: 2 };

    fn shift() -> Option<CostShift> {
        Some(CostShift {
            kind: ShiftKind::Rename,
            partners: vec!["checksum_v2".to_owned()],
            net: 0.0,
            net_low: -0.01,
            net_high: 0.01,
        })
    }

    /// One look at an alert that sees a change of this size.
    fn seen(alert: Alert, delta_abs: f64, version: &str, shift: Option<CostShift>) -> Alert {
        let mut evidence = alert.evidence.clone();
        evidence.measured.delta_abs = delta_abs;
        evidence.cost_shift = shift;
        let sight = Sight::Regressed { is_firm: true };
        let look = Look { sight, evidence: Some(evidence), withheld: None, version, now: 2e9 };
        advance(alert, look, PATIENCE).unwrap()
    }

    #[test]
    fn work_that_moved_is_told_as_information_and_promoted_when_it_grew() {
        let moved = seen(alert(AlertState::Pending), 0.1, "2", shift());
        assert_eq!((moved.state, moved.severity), (AlertState::Firing, Severity::Info));
        let mut told = moved;
        told.delivered.insert("hook".to_owned(), AlertState::Firing);
        let grown = seen(told, 0.1, "2", None);
        assert_eq!(grown.severity, Severity::Page);
        assert_eq!(grown.delivered["hook"], AlertState::Pending, "it is told again");
    }

    #[test]
    fn what_fires_as_a_regression_is_not_silenced_by_a_later_doubt() {
        let fires = seen(alert(AlertState::Pending), 0.1, "2", None);
        let doubted = seen(fires, 0.1, "2", shift());
        assert_eq!((doubted.state, doubted.severity), (AlertState::Firing, Severity::Page));
        assert_eq!(doubted.evidence.cost_shift, None);
    }

    #[test]
    fn only_a_new_release_that_is_worse_by_half_escalates() {
        let fires = seen(alert(AlertState::Pending), 0.1, "2", None);
        assert!(seen(fires.clone(), 0.2, "2", None).escalation.is_none());
        assert!(seen(fires.clone(), 0.14, "3", None).escalation.is_none());
        let worse = seen(fires, 0.16, "3", None);
        assert_eq!(worse.escalation.as_ref().unwrap().version, "3");
        assert_eq!(worse.delta_on, 0.16);
        let again = seen(worse.clone(), 0.3, "3", None);
        assert_eq!(again.escalation, worse.escalation);
    }

    #[test]
    fn what_is_withheld_waits_and_says_why() {
        let pending = alert(AlertState::Pending);
        let look = Look {
            sight: Sight::Regressed { is_firm: true },
            evidence: Some(pending.evidence.clone()),
            withheld: Some("no trust".to_owned()),
            version: "2",
            now: 2e9,
        };
        let waits = advance(pending, look, PATIENCE).unwrap();
        assert_eq!(
            (waits.state, waits.withheld.as_deref()),
            (AlertState::Pending, Some("no trust"))
        );
        let fires = seen(waits, 0.1, "2", None);
        assert_eq!((fires.state, fires.withheld), (AlertState::Firing, None));
    }

    #[test]
    fn it_is_gone_when_the_interval_ends_below_half_of_what_it_was() {
        let fires = seen(alert(AlertState::Pending), 0.1, "2", None);
        assert!(is_gone(&fires, 0.049));
        assert!(!is_gone(&fires, 0.051));
    }
}
