//! The form in which alerts are kept in the store, and the forms of releases before this one.

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::self_test::SelfTests;
use super::{Alert, AlertState, fingerprint};

/// Form of what is saved now.
const FORM: u32 = 2;

/// The form in which an alert rested on one verdict: its fingerprint knew no metric, and no size at which it fired.
const FORM_OF_VERDICTS: u32 = 1;

/// What was saved.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) alerts: Vec<Alert>,
    pub(super) self_tests: SelfTests,
}

#[derive(Serialize)]
struct Written<'a> {
    form: u32,
    alerts: Vec<&'a Alert>,
    self_tests: &'a SelfTests,
}

#[derive(Deserialize)]
struct Read {
    form: u32,
    alerts: Vec<Value>,
    #[serde(default)]
    self_tests: SelfTests,
}

/// The state as bytes.
pub(super) fn write<'a>(
    alerts: impl Iterator<Item = &'a Alert>,
    self_tests: &SelfTests,
) -> anyhow::Result<Vec<u8>> {
    let written = Written { form: FORM, alerts: alerts.collect(), self_tests };
    serde_json::to_vec(&written).context("failed to write alerts as JSON")
}

/// Reads what [`write`] wrote, in this release or in the one before.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<Saved> {
    let Read { form, alerts, self_tests } =
        serde_json::from_slice(bytes).context("failed to read saved alerts")?;
    if !(FORM_OF_VERDICTS..=FORM).contains(&form) {
        bail!("saved alerts have form {form}, this build reads {FORM_OF_VERDICTS} to {FORM}");
    }
    let alerts = alerts
        .into_iter()
        .map(|alert| {
            let alert: Alert =
                serde_json::from_value(alert).context("failed to read a saved alert")?;
            Ok(if form == FORM_OF_VERDICTS { renewed(alert) } else { alert })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Saved { alerts, self_tests })
}

/// An alert of the first form, as this release knows it. What webhooks were told stays with it.
fn renewed(mut alert: Alert) -> Alert {
    alert.fingerprint = fingerprint(&alert.service, &alert.environment, &alert.topic);
    if alert.state != AlertState::Pending {
        alert.delta_on = alert.evidence.measured.delta_abs;
    }
    alert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    /// As the release before wrote it.
    const FORM_1: &str = r#"{"form":1,"alerts":[{"fingerprint":"00","name":"ProfileRegression",
        "service":"shop","subject":"function","module":"app","function":"checksum","kind":"self",
        "severity":"page","state":"firing","baseline_version":"1","candidate_version":"2",
        "baseline_start_unix_ns":1,"baseline_end_unix_ns":2,"started_at":1.0,"fired_at":2.0,
        "resolved_at":null,"evidence":{"verdict":{"subject":"function","module":"app",
        "function":"checksum","kind":"self","direction":"worse","baseline_value":0.3,
        "candidate_value":0.4,"delta_abs":0.1,"delta_rel":0.33,"ci_low":0.09,"ci_high":0.11,
        "p":1e-9,"q":1e-7,"samples_baseline":3000,"samples_candidate":4000,
        "replicates_baseline":8,"replicates_candidate":8,"significant":true,
        "explained_by":null,"also_visible_in":["main"]},"changed_paths":[{"functions":["main",
        "checksum"],"baseline_share":0.3,"candidate_share":0.4}],"baseline_cores":3.0,
        "candidate_cores":4.0,"delta_cores":1.0,"samples_baseline":10000,
        "samples_candidate":11000,"caveats":[]},"seen_at":2.0,"streak":1,"links":[],
        "delivered":{"hook":"firing"}}]}"#;

    #[test]
    fn the_first_form_is_read_and_nobody_is_told_again() {
        let saved = read(FORM_1.as_bytes()).unwrap();
        let mut expected = alert(AlertState::Firing);
        let read = &saved.alerts[0];
        assert_eq!(read.fingerprint, expected.fingerprint);
        assert_eq!(
            (read.topic.clone(), read.severity),
            (expected.topic.clone(), expected.severity)
        );
        assert_eq!(read.delta_on, 0.1);
        assert_eq!(read.delivered["hook"], AlertState::Firing);
        expected.evidence.measured.delta_rel = Some(0.33);
        assert_eq!(read.evidence.measured, expected.evidence.measured);
    }

    #[test]
    fn what_is_written_is_read() {
        let alert = alert(AlertState::Pending);
        let bytes = write([&alert].into_iter(), &SelfTests::default()).unwrap();
        assert_eq!(read(&bytes).unwrap().alerts, [alert]);
    }

    #[test]
    fn a_form_of_the_future_is_refused_by_its_number() {
        let error = read(br#"{"form":3,"alerts":[]}"#).unwrap_err().to_string();
        assert!(error.contains("form 3"), "{error}");
    }
}
