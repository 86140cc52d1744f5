//! Settings of alerting.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Settings of alerting. Every field has a safe default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertOptions {
    /// Whether versions are compared at all.
    pub enabled: bool,
    /// Seconds between two evaluations.
    pub interval_seconds: u64,
    /// Length of the detector's unit window in seconds.
    pub window_seconds: u64,
    /// Environment that this collector watches, such as `production`; a label of every alert.
    pub environment: String,
    /// Windows in a row whose evaluation must see a regression before it fires.
    pub pending_windows: u32,
    /// Windows in a row whose evaluation must see less than half of it before it resolves.
    pub resolve_windows: u32,
    /// False discovery rate at which people are told; `detect.q` is that at which an alert is pending.
    pub firing_q: f64,
    /// Syscall of which each call that succeeds is one request, such as `accept4`; without it no cost of a request is
    /// told.
    pub request_syscall: String,
    /// Whether services are watched over time as well, without a release.
    pub temporal: bool,
    /// Whether services are compared with themselves, to measure and bound false alarms.
    pub self_tests: bool,
    /// Newest windows of the candidate that are compared, at most.
    pub candidate_windows: u32,
    /// Last windows of the baseline that are compared, at most.
    pub baseline_windows: u32,
    /// Address under which people reach this collector; makes links.
    pub external_url: String,
    /// Alertmanagers, such as `http://alertmanager:9093`.
    pub alertmanager_urls: Vec<String>,
    /// Webhooks.
    pub webhooks: Vec<WebhookOptions>,
}

impl AlertOptions {
    /// Where people look closer at a service; empty without `external_url`.
    pub(super) fn links(&self, service: &str) -> Vec<String> {
        let Ok(mut url) = reqwest::Url::parse(&self.external_url) else {
            return Vec::new();
        };
        url.query_pairs_mut().append_pair("service", service);
        vec![url.into()]
    }
}

/// A webhook.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookOptions {
    /// Where alerts are posted.
    pub url: String,
    /// Key of the HMAC-SHA256 in `X-Flamewatch-Signature`; no signature when empty.
    #[serde(default, skip_serializing)]
    pub secret: String,
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings are logged at start; neither the secret nor a token in the address may be.
        out.debug_struct("WebhookOptions").finish_non_exhaustive()
    }
}

impl Default for AlertOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_seconds: 30,
            window_seconds: 60,
            environment: String::new(),
            pending_windows: 2,
            resolve_windows: 6,
            firing_q: 0.001,
            request_syscall: String::new(),
            temporal: true,
            self_tests: true,
            candidate_windows: 10,
            baseline_windows: 30,
            external_url: String::new(),
            alertmanager_urls: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}
