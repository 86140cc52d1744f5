//! Settings of alerting.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Settings of alerting. Every field has a safe default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertOptions {
    /// Whether versions are compared at all.
    pub enabled: bool,
    /// Seconds between two evaluations.
    pub interval_seconds: u64,
    /// Length of the detector's unit window in seconds.
    pub window_seconds: u64,
    /// Windows in a row whose evaluation must see a regression before it fires.
    pub pending_windows: u32,
    /// Windows in a row whose evaluation must see less than half of it before it resolves.
    pub resolve_windows: u32,
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
            pending_windows: 2,
            resolve_windows: 3,
            candidate_windows: 10,
            baseline_windows: 30,
            external_url: String::new(),
            alertmanager_urls: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}
