//! Alertmanager: its API v2, `POST /api/v2/alerts`.

use std::collections::BTreeMap;

use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;

use super::time::rfc3339;
use super::{is_public, parse_url};
use crate::alert::{Alert, AlertState};
use crate::detect::{Subject, Verdict};
use crate::diff::show;

/// A firing alert ends by itself after so many intervals without word from us.
const END_INTERVALS: u64 = 3;

/// How long a resolved alert is sent again, in seconds: an Alertmanager that was down must hear of it.
const RESOLVED_RESENT_SECONDS: f64 = 300.0;

/// One Alertmanager.
#[derive(Debug)]
pub(super) struct Alertmanager {
    url: Url,
    name: String,
    lease_seconds: f64,
}

/// An alert as Alertmanager reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostableAlert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    pub(super) fn new(base: &str, interval_seconds: u64) -> anyhow::Result<Self> {
        let url = parse_url(&format!("{}/api/v2/alerts", base.trim_end_matches('/')))?;
        let name = url.host_str().unwrap_or_default().to_owned();
        let lease_seconds = (interval_seconds.max(1) * END_INTERVALS) as f64;
        Ok(Self { url, name, lease_seconds })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The message of this evaluation, or `None` when there is nothing to tell.
    pub(super) fn request(
        &self,
        client: &Client,
        alerts: &[Alert],
        now_unix_ns: u64,
    ) -> Option<RequestBuilder> {
        let body = self.body(alerts, now_unix_ns as f64 / 1e9);
        (!body.is_empty()).then(|| client.post(self.url.clone()).json(&body))
    }

    pub(super) fn body(&self, alerts: &[Alert], now: f64) -> Vec<PostableAlert> {
        alerts
            .iter()
            .filter(|alert| {
                let resolved_for = alert.resolved_at.map_or(0.0, |at| now - at);
                is_public(alert.state)
                    && (alert.state == AlertState::Firing
                        || resolved_for <= RESOLVED_RESENT_SECONDS)
            })
            .map(|alert| {
                let ends_at = match (alert.state, alert.resolved_at) {
                    (AlertState::Resolved, Some(resolved_at)) => resolved_at,
                    _ => now + self.lease_seconds,
                };
                PostableAlert {
                    labels: labels(alert),
                    annotations: annotations(alert),
                    starts_at: rfc3339(alert.fired_at.unwrap_or(alert.started_at)),
                    ends_at: rfc3339(ends_at),
                    generator_url: alert.links.first().cloned(),
                }
            })
            .collect()
    }
}

/// What makes the alert the same one for Alertmanager: nothing here may change in its life.
fn labels(alert: &Alert) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", alert.name.as_str().to_owned()),
        ("service", alert.service.clone()),
        ("severity", alert.severity.clone()),
    ]);
    match &alert.subject {
        Subject::Function { module, function, .. } => {
            labels.insert("function", function.clone());
            if !module.is_empty() {
                labels.insert("module", module.clone());
            }
        }
        Subject::Syscall { name, metric } => {
            labels.insert("syscall", name.clone());
            labels.insert("metric", metric.key().into_owned());
        }
    }
    labels
}

fn annotations(alert: &Alert) -> BTreeMap<&'static str, String> {
    let verdict = &alert.evidence.verdict;
    let before =
        verdict.baseline_value.map_or_else(|| "absent".to_owned(), |value| show(verdict, value));
    let after = show(verdict, verdict.candidate_value);
    let relative = relative_change(verdict);
    let mut annotations = BTreeMap::from([
        (
            "summary",
            format!(
                "{} of {} went from {before} to {after} ({relative}) between version {} and {}",
                alert.subject, alert.service, alert.baseline_version, alert.candidate_version
            ),
        ),
        ("fingerprint", alert.fingerprint.clone()),
        ("baseline_version", alert.baseline_version.clone()),
        ("candidate_version", alert.candidate_version.clone()),
        ("baseline", before),
        ("candidate", after),
        ("delta_absolute", show(verdict, verdict.delta_abs)),
        ("delta_relative", relative),
        (
            "interval_95",
            format!("{} to {}", show(verdict, verdict.ci_low), show(verdict, verdict.ci_high)),
        ),
        ("p", format!("{:.2e}", verdict.p)),
        ("q", format!("{:.2e}", verdict.q)),
        ("samples_baseline", verdict.samples_baseline.to_string()),
        ("samples_candidate", verdict.samples_candidate.to_string()),
        ("replicates_baseline", verdict.replicates_baseline.to_string()),
        ("replicates_candidate", verdict.replicates_candidate.to_string()),
    ]);
    if let Some(cores) = alert.evidence.delta_cores {
        annotations.insert("delta_cores", format!("{cores:+.3} CPU cores each unit"));
    }
    if !alert.evidence.caveats.is_empty() {
        annotations.insert("caveats", alert.evidence.caveats.join("; "));
    }
    if !verdict.also_visible_in.is_empty() {
        annotations.insert("also_visible_in", verdict.also_visible_in.join(", "));
    }
    let paths: Vec<String> = alert
        .evidence
        .changed_paths
        .iter()
        .map(|path| {
            format!(
                "{:.2} % -> {:.2} %: {}",
                path.baseline_share * 100.0,
                path.candidate_share * 100.0,
                path.functions.join(";")
            )
        })
        .collect();
    if !paths.is_empty() {
        annotations.insert("changed_paths", paths.join("\n"));
    }
    annotations
}

fn relative_change(verdict: &Verdict) -> String {
    verdict.delta_rel.map_or_else(|| "new".to_owned(), |change| format!("{:+.1} %", change * 100.0))
}
