//! Tells Alertmanagers and webhooks, with a few attempts each; what fails is counted and tried at the next evaluation.

mod alertmanager;
mod time;

pub(crate) use time::rfc3339;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, RequestBuilder, Url};
use tracing::warn;

use self::alertmanager::Alertmanager;
use self::webhook::Webhook;
use super::{Alert, AlertOptions, AlertState, EvaluatorCounters};

/// Attempts for one message.
const ATTEMPTS: u32 = 3;

/// Wait after the first failed attempt; doubles after each. With three attempts at most 1.5 s are waited.
const BACKOFF: Duration = Duration::from_millis(500);

/// Longest time for one attempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Most webhook messages of one evaluation; the rest is told at the next one.
const WEBHOOK_MESSAGES_MAX: usize = 100;

/// Everyone who is told.
#[derive(Debug)]
pub(super) struct Notifiers {
    client: Client,
    alertmanagers: Vec<Alertmanager>,
    webhooks: Vec<Webhook>,
    counters: Arc<EvaluatorCounters>,
}

impl Notifiers {
    pub(super) fn new(
        options: &AlertOptions,
        counters: Arc<EvaluatorCounters>,
    ) -> anyhow::Result<Self> {
        // Another part of the process may have chosen a provider before; both choose the same one.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        let alertmanagers = options
            .alertmanager_urls
            .iter()
            .map(|url| Alertmanager::new(url, options.interval_seconds))
            .collect::<anyhow::Result<_>>()?;
        let webhooks = options.webhooks.iter().map(Webhook::new).collect::<anyhow::Result<_>>()?;
        Ok(Self { client, alertmanagers, webhooks, counters })
    }

    /// Tells everyone; returns the alerts with what each webhook now knows.
    ///
    /// Alertmanagers get all firing and lately resolved alerts each time, as their protocol wants. Webhooks get each
    /// firing and each resolved once; what they were told is kept with the alert, across restarts.
    pub(super) async fn tell(&self, mut alerts: Vec<Alert>, now_unix_ns: u64) -> Vec<Alert> {
        for alertmanager in &self.alertmanagers {
            if let Some(request) = alertmanager.request(&self.client, &alerts, now_unix_ns) {
                self.send(alertmanager.name(), request).await;
            }
        }
        for webhook in &self.webhooks {
            let untold = alerts.iter_mut().filter(|alert| webhook.is_untold(alert));
            for alert in untold.take(WEBHOOK_MESSAGES_MAX) {
                let sending = match webhook.request(&self.client, alert) {
                    Ok(request) => self.send(webhook.name(), request).await,
                    Err(error) => {
                        warn!(
                            webhook = webhook.name(),
                            error = format!("{error:#}"),
                            "failed to write an alert"
                        );
                        Sending::Refused
                    }
                };
                match sending {
                    Sending::Delivered => {
                        alert.delivered.insert(webhook.key().to_owned(), alert.state);
                    }
                    // One message that it does not like must not keep the others back.
                    Sending::Refused => {}
                    // The other messages would only wait in vain.
                    Sending::Down => break,
                }
            }
        }
        alerts
    }

    /// Sends until it succeeds or all attempts are used; a refusal (4xx) is final.
    async fn send(&self, receiver: &str, request: RequestBuilder) -> Sending {
        let mut sending = Sending::Down;
        let mut wait = BACKOFF;
        for attempt in 1..=ATTEMPTS {
            let Some(request) = request.try_clone() else {
                break;
            };
            let (error, is_final) = match request.send().await {
                Ok(response) if response.status().is_success() => {
                    self.counters.notifications.fetch_add(1, Ordering::Relaxed);
                    return Sending::Delivered;
                }
                Ok(response) => {
                    (response.status().to_string(), response.status().is_client_error())
                }
                // The address may hold a token, so it is not shown.
                Err(error) => (format!("{:#}", anyhow::Error::from(error.without_url())), false),
            };
            warn!(receiver, attempt, error, "failed to send alerts");
            if is_final {
                sending = Sending::Refused;
                break;
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        self.counters.notification_failures.fetch_add(1, Ordering::Relaxed);
        sending
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// The receiver took it.
    Delivered,
    /// The receiver does not take this one.
    Refused,
    /// The receiver cannot be reached, or fails.
    Down,
}

/// Reads an address; the error names it.
fn parse_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("failed to read the address `{text}`"))?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "failed to read the address `{text}`: it is not `http://…` or `https://…`"
    );
    Ok(url)
}

/// Whether people know of an alert: it fired, and not only as part of a digest.
fn is_known(alert: &Alert) -> bool {
    let fired = match alert.state {
        AlertState::Pending => false,
        AlertState::Firing | AlertState::Stale | AlertState::Resolved => true,
        AlertState::Accepted => alert.fired_at.is_some(),
    };
    fired && !alert.is_in_digest
}

/// Whether an alert is over, for those who were told of it.
const fn is_over(alert: &Alert) -> bool {
    matches!(alert.state, AlertState::Resolved | AlertState::Accepted)
}

#[cfg(test)]
mod tests;
