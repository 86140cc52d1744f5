//! Webhooks: one JSON message for each firing and each resolved alert, signed.

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, RequestBuilder, Url, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{is_known, is_over, parse_url};
use crate::alert::{Alert, AlertState, WebhookOptions};

/// Header that holds `sha256=` and the HMAC-SHA256 of the body in hex, as GitHub's webhooks do.
const SIGNATURE_HEADER: &str = "X-Flamewatch-Signature";

/// One webhook.
pub(super) struct Webhook {
    url: Url,
    name: String,
    key: String,
    secret: String,
}

/// The message.
#[derive(Serialize)]
struct Message<'a> {
    /// Form of this message.
    version: u32,
    alert: &'a Alert,
}

impl Webhook {
    pub(super) fn new(options: &WebhookOptions) -> anyhow::Result<Self> {
        let url = parse_url(&options.url)?;
        let name = url.host_str().unwrap_or_default().to_owned();
        // The address may hold a token, so only a hash of it is kept beside the alerts.
        let key = hex(&Sha256::digest(url.as_str())[..8]);
        Ok(Self { url, name, key, secret: options.secret.clone() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Under which the alert remembers what this webhook was told.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether this webhook has not heard of the alert's state. Who never heard of it firing need not hear that it is
    /// over, and silence is no news.
    pub(super) fn is_untold(&self, alert: &Alert) -> bool {
        let told = alert.delivered.get(&self.key);
        is_known(alert)
            && alert.state != AlertState::Stale
            && told != Some(&alert.state)
            && !(is_over(alert) && told.is_none())
    }

    pub(super) fn request(&self, client: &Client, alert: &Alert) -> anyhow::Result<RequestBuilder> {
        let body = serde_json::to_vec(&Message { version: 1, alert })?;
        let mut request =
            client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json");
        if !self.secret.is_empty() {
            request = request.header(SIGNATURE_HEADER, signature(self.secret.as_bytes(), &body)?);
        }
        Ok(request.body(body))
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the secret nor a token in the address belongs into a log.
        out.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `sha256=` and the HMAC-SHA256 of `body` in hex.
pub(super) fn signature(secret: &[u8], body: &[u8]) -> anyhow::Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .context("failed to use the webhook's secret as a key")?;
    mac.update(body);
    Ok(format!("sha256={}", hex(&mac.finalize().into_bytes())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
