//! Alertmanager: its API v2, `POST /api/v2/alerts`.

use std::collections::BTreeMap;

use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;

use super::time::rfc3339;
use super::{is_known, is_over, parse_url};
use crate::alert::{Alert, AlertState, Evidence, Measured, Mode, Topic, Whole};
use crate::detect::{CostShift, ShiftKind, Subject};
use crate::diff::show_relative;

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
                // Who was never told by itself need not hear that it is over.
                is_known(alert) && (!is_over(alert) || resolved_for <= RESOLVED_RESENT_SECONDS)
            })
            .map(|alert| {
                // A stale alert is neither over nor told again, so it is only kept alive.
                let lease = now + self.lease_seconds;
                let ends_at = alert.resolved_at.filter(|_| is_over(alert)).unwrap_or(lease);
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

/// What makes the alert the same one for Alertmanager: nothing here changes in its life but the severity, when people are
/// to hear of it again.
fn labels(alert: &Alert) -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("alertname", alert.name.as_str().to_owned()),
        ("service", alert.service.clone()),
        ("severity", alert.severity.as_str().to_owned()),
    ]);
    if !alert.environment.is_empty() {
        labels.insert("environment", alert.environment.clone());
    }
    match &alert.topic {
        Topic::Of(Subject::Function { module, function, .. }) => {
            labels.insert("function", function.clone());
            if !module.is_empty() {
                labels.insert("module", module.clone());
            }
        }
        Topic::Of(Subject::Syscall { name, metric }) => {
            labels.insert("syscall", name.clone());
            labels.insert("metric", metric.key().into_owned());
        }
        Topic::Whole(_) => {}
    }
    labels
}

fn annotations(alert: &Alert) -> BTreeMap<&'static str, String> {
    let Evidence { measured, .. } = &alert.evidence;
    let show = |value| alert.topic.show(value);
    let before = measured.baseline_value.map_or_else(|| "absent".to_owned(), show);
    let after = show(measured.candidate_value);
    let relative = relative_change(measured);
    let mut annotations = BTreeMap::from([
        ("summary", summary(alert, &before, &after, &relative)),
        ("fingerprint", alert.fingerprint.clone()),
        ("mode", alert.mode.as_str().to_owned()),
        ("baseline_version", alert.baseline_version.clone()),
        ("candidate_version", alert.candidate_version.clone()),
        ("previous_version", alert.baseline_version.clone()),
        ("first_version", alert.candidate_version.clone()),
        ("baseline", before),
        ("candidate", after),
        ("delta_absolute", absolute_change(alert)),
        ("delta_relative", relative),
        ("interval_95", format!("{} to {}", show(measured.ci_low), show(measured.ci_high))),
        ("p", format!("{:.2e}", measured.p)),
        ("q", format!("{:.2e}", measured.q)),
        ("samples_baseline", measured.samples_baseline.to_string()),
        ("samples_candidate", measured.samples_candidate.to_string()),
        ("replicates_baseline", measured.replicates_baseline.to_string()),
        ("replicates_candidate", measured.replicates_candidate.to_string()),
    ]);
    add_context(alert, &mut annotations);
    annotations
}

/// One sentence, for a title.
fn summary(alert: &Alert, before: &str, after: &str, relative: &str) -> String {
    let Alert { topic, service, baseline_version, candidate_version, .. } = alert;
    if let Topic::Whole(Whole::Digest) = topic {
        let count = alert.evidence.also_visible_in.len();
        return format!("{count} further regressions of {service} within an hour");
    }
    let change = format!("{topic} of {service} went from {before} to {after} ({relative})");
    match (alert.mode, &alert.past) {
        (Mode::Temporal, Some(past)) => {
            let since = rfc3339(past.change_unix_ns as f64 / 1e9);
            format!("{change} without a release, since {since}")
        }
        _ => format!("{change} between version {baseline_version} and {candidate_version}"),
    }
}

/// The change in every unit in which it is known.
fn absolute_change(alert: &Alert) -> String {
    let mut parts = vec![alert.topic.show(alert.evidence.measured.delta_abs)];
    if let Some(cores) = alert.evidence.delta_cores {
        parts.push(format!("{cores:+.3} CPU cores each unit"));
    }
    if let Some(cost) = &alert.evidence.per_request {
        let what = if cost.is_proxy { "about each request" } else { "each request" };
        let delta_us = (cost.candidate_ns - cost.baseline_ns) / 1e3;
        parts.push(format!("{delta_us:+.1} us CPU {what}"));
    }
    parts.join(", ")
}

/// What helps to understand the numbers.
fn add_context(alert: &Alert, annotations: &mut BTreeMap<&'static str, String>) {
    let evidence = &alert.evidence;
    let mut note = |name, text: Option<String>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            annotations.insert(name, text);
        }
    };
    note("description", Some(description(alert)));
    note(
        "delta_cores",
        evidence.delta_cores.map(|cores| format!("{cores:+.3} CPU cores each unit")),
    );
    let [before, after] = evidence.hosts;
    note("hosts", (before + after > 0).then(|| format!("{before} before, {after} after")));
    note("caveats", Some(evidence.caveats.join("; ")));
    note("also_visible_in", Some(evidence.also_visible_in.join(", ")));
    note("chain", Some(evidence.chain.join(" > ")));
    note("caller", evidence.caller.clone());
    note("cost_shift", evidence.cost_shift.as_ref().map(shift_sentence));
    note("escalated_by", alert.escalation.as_ref().map(|last| last.version.clone()));
    note("state", (alert.state == AlertState::Stale).then(|| "stale: no data".to_owned()));
    note("dashboard", alert.links.first().cloned());
    let paths: Vec<String> = evidence
        .changed_paths
        .iter()
        .map(|path| {
            format!(
                "{:.0} % of the change, {:.2} % -> {:.2} %: {}",
                path.part * 100.0,
                path.baseline_share * 100.0,
                path.candidate_share * 100.0,
                path.functions.join(";")
            )
        })
        .collect();
    note("changed_paths", Some(paths.join("\n")));
}

/// How it was found, for the text of a message.
fn description(alert: &Alert) -> String {
    let how = match alert.mode {
        Mode::Concurrent => "both versions side by side, in the same windows",
        Mode::Paired => "the same hosts before and after the release",
        Mode::BeforeAfter => "before and after the release",
        Mode::Temporal => "the service against its own past, without a release",
    };
    let mut text = format!("Compared: {how}.");
    if let Some(shift) = &alert.evidence.cost_shift {
        text.push_str(" The work seems to have moved: ");
        text.push_str(&shift_sentence(shift));
        text.push('.');
    }
    if let Some(last) = &alert.escalation {
        text.push_str(&format!(
            " Version {} made it worse: it was {} before.",
            last.version,
            alert.topic.show(last.delta_before)
        ));
    }
    text
}

/// What became of the sum of a function and its partners.
fn shift_sentence(shift: &CostShift) -> String {
    format!(
        "{} with {}, together {:+.2} % ({:+.2} % to {:+.2} %)",
        match shift.kind {
            ShiftKind::Rename => "renamed",
            ShiftKind::Move => "moved",
            ShiftKind::Inline => "inlined",
            ShiftKind::Split => "split",
            ShiftKind::Merge => "merged",
        },
        shift.partners.join(", "),
        shift.net * 100.0,
        shift.net_low * 100.0,
        shift.net_high * 100.0
    )
}

fn relative_change(measured: &Measured) -> String {
    measured.delta_rel.map_or_else(|| "new".to_owned(), show_relative)
}
