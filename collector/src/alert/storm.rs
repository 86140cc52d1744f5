//! Keeps a broken release from waking people fifty times: what is too much is told as one digest. Pure.

use super::{Alert, AlertName, AlertState, Mode, Severity, Topic, Whole, fingerprint};

/// Most alerts of a service that begin to fire within [`HOUR_SECONDS`] and are told one by one.
pub(super) const FIRING_MAX: usize = 5;

/// What counts as one storm, in seconds.
const HOUR_SECONDS: f64 = 3_600.0;

/// Most names in a digest.
const NAMES_MAX: usize = 50;

/// Puts those of a service's alerts that fire since `now` into the digest, as far as there are too many: the worst are
/// told by themselves.
pub(super) fn guard(alerts: &mut [Alert], now: f64) {
    let fired =
        |alert: &Alert| alert.fired_at.filter(|_| alert.topic != Topic::Whole(Whole::Digest));
    let told = alerts
        .iter()
        .filter(|alert| !alert.is_in_digest)
        .filter(|alert| fired(alert).is_some_and(|at| at < now && now - at < HOUR_SECONDS))
        .count();
    let mut fresh: Vec<&mut Alert> = alerts
        .iter_mut()
        .filter(|alert| alert.state == AlertState::Firing && fired(alert) == Some(now))
        .collect();
    fresh.sort_by(|left, right| {
        let size = |alert: &Alert| alert.evidence.measured.delta_rel.unwrap_or(f64::INFINITY);
        right.severity.cmp(&left.severity).then(size(right).total_cmp(&size(left)))
    });
    for alert in fresh.into_iter().skip(FIRING_MAX.saturating_sub(told)) {
        alert.is_in_digest = true;
    }
}

/// Brings the digest of a service up to date: it fires while any alert in it does.
pub(super) fn update_digest(alerts: &mut Vec<Alert>, now: f64) {
    let is_digest = |alert: &Alert| alert.topic == Topic::Whole(Whole::Digest);
    let known = alerts.iter().position(is_digest).map(|at| alerts.remove(at));
    let members: Vec<&Alert> = alerts
        .iter()
        .filter(|alert| alert.is_in_digest)
        .filter(|alert| matches!(alert.state, AlertState::Firing | AlertState::Stale))
        .collect();
    let Some(worst) = members.iter().max_by_key(|alert| alert.severity) else {
        alerts.extend(known.map(|digest| over(digest, now)));
        return;
    };
    let topic = Topic::Whole(Whole::Digest);
    let mut digest = Alert {
        fingerprint: fingerprint(&worst.service, &worst.environment, &topic),
        name: AlertName::of(&topic),
        topic,
        state: AlertState::Firing,
        mode: Mode::BeforeAfter,
        severity: known.as_ref().map_or(Severity::Ticket, |known| known.severity),
        started_at: now,
        fired_at: Some(now),
        resolved_at: None,
        past: None,
        is_in_digest: false,
        seen_at: now,
        ..(*worst).clone()
    };
    digest.evidence.also_visible_in =
        members.iter().map(|alert| alert.topic.to_string()).take(NAMES_MAX).collect();
    digest.delivered.clear();
    if let Some(known) = known {
        digest.delivered = known.delivered;
        if known.state == AlertState::Firing {
            digest.started_at = known.started_at;
            digest.fired_at = known.fired_at;
        }
    }
    alerts.push(digest);
}

fn over(mut digest: Alert, now: f64) -> Alert {
    if digest.state == AlertState::Firing {
        digest.state = AlertState::Resolved;
        digest.resolved_at = Some(now);
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert_on;

    const NOW: f64 = 1e9;

    fn firing(number: usize, fired_at: f64) -> Alert {
        let mut alert = alert_on(&format!("f{number}"), AlertState::Firing);
        alert.fired_at = Some(fired_at);
        alert.evidence.measured.delta_rel = Some(number as f64);
        alert
    }

    fn told(alerts: &[Alert]) -> Vec<String> {
        let told = alerts.iter().filter(|alert| !alert.is_in_digest);
        told.map(|alert| alert.topic.to_string()).collect()
    }

    #[test]
    fn five_alerts_are_told_and_the_rest_is_one_digest() {
        let mut alerts: Vec<Alert> = (0..9).map(|number| firing(number, NOW)).collect();
        guard(&mut alerts, NOW);
        update_digest(&mut alerts, NOW);
        let names = ["f4 (self)", "f5 (self)", "f6 (self)", "f7 (self)", "f8 (self)"];
        assert_eq!(told(&alerts)[..5], names);
        let digest = alerts.last().unwrap();
        assert_eq!(digest.name, AlertName::RegressionDigest);
        assert_eq!(digest.evidence.also_visible_in.len(), 4);
    }

    #[test]
    fn alerts_of_the_last_hour_count_and_older_ones_do_not() {
        let mut alerts: Vec<Alert> = (0..4).map(|number| firing(number, NOW - 60.0)).collect();
        alerts.extend((4..6).map(|number| firing(number, NOW)));
        guard(&mut alerts, NOW);
        assert_eq!(told(&alerts).len(), 5);
        let mut alerts: Vec<Alert> = (0..4).map(|number| firing(number, NOW - 3_601.0)).collect();
        alerts.extend((4..6).map(|number| firing(number, NOW)));
        guard(&mut alerts, NOW);
        assert_eq!(told(&alerts).len(), 6);
    }

    #[test]
    fn the_digest_ends_with_the_last_alert_in_it_and_is_told_once() {
        let mut alerts: Vec<Alert> = (0..7).map(|number| firing(number, NOW)).collect();
        guard(&mut alerts, NOW);
        update_digest(&mut alerts, NOW);
        let began = alerts.last().unwrap().fired_at;
        alerts[0].state = AlertState::Resolved;
        update_digest(&mut alerts, NOW + 60.0);
        assert_eq!(alerts.last().unwrap().fired_at, began);
        for alert in &mut alerts {
            if alert.is_in_digest {
                alert.state = AlertState::Resolved;
            }
        }
        update_digest(&mut alerts, NOW + 120.0);
        let digest = alerts.last().unwrap();
        assert_eq!((digest.state, digest.resolved_at), (AlertState::Resolved, Some(NOW + 120.0)));
    }
}
