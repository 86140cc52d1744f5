//! All alerts, kept across restarts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::{Alert, AlertState};
use crate::store::Store;

/// Most alerts that are kept. At 50 functions of 20 services nobody reads the rest.
const ALERTS_MAX: usize = 1_000;

/// Resolved alerts are forgotten after a week, in seconds.
const RESOLVED_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Key of the state in the store.
const STATE_KEY: &str = "alerts";

/// Form of the saved state.
const STATE_FORM: u32 = 1;

/// All alerts: pending, firing, and resolved for at most a week.
#[derive(Debug, Default)]
pub struct AlertBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    alerts: BTreeMap<String, Alert>,
    /// Version of the state in the store.
    version: u64,
}

/// What is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    form: u32,
    alerts: Vec<Alert>,
}

impl AlertBook {
    /// Reads the book from the store, or starts an empty one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or holds a book of another form.
    pub fn load(store: &Store) -> anyhow::Result<Self> {
        let Some((version, bytes)) = store.load_state(STATE_KEY)? else {
            return Ok(Self::default());
        };
        let saved: Saved = serde_json::from_slice(&bytes).context("failed to read saved alerts")?;
        if saved.form != STATE_FORM {
            bail!("saved alerts have form {}, this build reads {STATE_FORM}", saved.form);
        }
        let alerts =
            saved.alerts.into_iter().map(|alert| (alert.fingerprint.clone(), alert)).collect();
        Ok(Self { inner: Mutex::new(Inner { alerts, version }) })
    }

    /// All alerts: firing first, then pending, then resolved; the newest first in each.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.lock().alerts.values().cloned().collect();
        let rank = |alert: &Alert| match alert.state {
            AlertState::Firing => 0,
            AlertState::Pending => 1,
            AlertState::Resolved => 2,
        };
        alerts.sort_by(|left, right| {
            rank(left).cmp(&rank(right)).then(right.started_at.total_cmp(&left.started_at))
        });
        alerts
    }

    /// Replaces all alerts and saves them. Forgets what was resolved long ago, and the oldest resolved ones, then the
    /// newest others, above the limit.
    ///
    /// # Errors
    ///
    /// When the store cannot be written, or another collector wrote to it; the book in memory is replaced anyway.
    pub(super) fn replace(
        &self,
        store: &Store,
        alerts: Vec<Alert>,
        now_seconds: f64,
    ) -> anyhow::Result<()> {
        let mut alerts: Vec<Alert> = alerts
            .into_iter()
            .filter(|alert| {
                alert.resolved_at.is_none_or(|at| now_seconds - at < RESOLVED_SECONDS_MAX)
                    || alert.state != AlertState::Resolved
            })
            .collect();
        alerts.sort_by(|left, right| {
            let is_over = |alert: &Alert| alert.state == AlertState::Resolved;
            is_over(left).cmp(&is_over(right)).then(left.started_at.total_cmp(&right.started_at))
        });
        alerts.truncate(ALERTS_MAX);
        let mut inner = self.lock();
        let fresh: BTreeMap<String, Alert> =
            alerts.into_iter().map(|alert| (alert.fingerprint.clone(), alert)).collect();
        if fresh == inner.alerts {
            return Ok(());
        }
        inner.alerts = fresh;
        let saved = Saved { form: STATE_FORM, alerts: inner.alerts.values().cloned().collect() };
        let bytes = serde_json::to_vec(&saved).context("failed to write alerts as JSON")?;
        if store.save_state(STATE_KEY, inner.version, &bytes)? {
            inner.version += 1;
            return Ok(());
        }
        // Another collector on the same store: its version is taken over, the next evaluation writes again.
        inner.version = store.load_state(STATE_KEY)?.map_or(0, |(version, _)| version);
        drop(inner);
        bail!("failed to save alerts: another collector changed them");
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves whole alerts behind: each change is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
