//! All alerts, kept across restarts, and what users decide about them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use thiserror::Error;

use super::saved::{self, Saved};
use super::self_test::SelfTests;
use super::{Acceptance, Alert, AlertState};
use crate::store::Store;

/// Most alerts that are kept. At 50 functions of 20 services nobody reads the rest.
const ALERTS_MAX: usize = 1_000;

/// Resolved and accepted alerts are forgotten a week after data last showed them, in seconds.
const OVER_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Longest note of a user in bytes.
pub(crate) const NOTE_BYTES_MAX: usize = 1_000;

/// Key of the state in the store.
const STATE_KEY: &str = "alerts";

/// All alerts: open ones, and those that are over for at most a week.
#[derive(Debug, Default)]
pub struct AlertBook {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    alerts: BTreeMap<String, Alert>,
    self_tests: SelfTests,
    /// Version of the state in the store.
    version: u64,
}

/// Why a user's word about an alert was not taken.
#[derive(Debug, Error)]
pub enum DecisionError {
    /// No alert has this fingerprint.
    #[error("no alert has the fingerprint `{0}`; /api/v1/alerts lists those that there are")]
    Unknown(String),
    /// The alert is in a state in which there is nothing to decide.
    #[error("the alert is {state}: only one that is {allowed} can be {verb}", state = .state.as_str())]
    State {
        /// Where it stands.
        state: AlertState,
        /// Where it would have to stand.
        allowed: &'static str,
        /// What was asked for.
        verb: &'static str,
    },
    /// It could not be written down.
    #[error("failed to keep the decision")]
    Store(#[source] anyhow::Error),
}

impl AlertBook {
    /// Reads the book from the store, or starts an empty one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or holds a book of another form.
    pub fn load(store: &dyn Store) -> anyhow::Result<Self> {
        let Some((version, bytes)) = store.load_state(STATE_KEY)? else {
            return Ok(Self::default());
        };
        let Saved { alerts, self_tests } = saved::read(&bytes)?;
        let alerts = alerts.into_iter().map(|alert| (alert.fingerprint.clone(), alert)).collect();
        Ok(Self { inner: Mutex::new(Inner { alerts, self_tests, version }) })
    }

    /// All alerts: firing first, then stale, pending, accepted, resolved; the newest first in each.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = self.lock().alerts.values().cloned().collect();
        let rank = |alert: &Alert| AlertState::ALL.iter().position(|state| *state == alert.state);
        alerts.sort_by(|left, right| {
            rank(left).cmp(&rank(right)).then(right.started_at.total_cmp(&left.started_at))
        });
        alerts
    }

    /// What comparisons of a service with itself have said so far.
    #[must_use]
    pub fn self_tests(&self) -> SelfTests {
        self.lock().self_tests.clone()
    }

    /// Notes a user's word that a change shall stay: the alert is over, and only more than this opens it again.
    ///
    /// # Errors
    ///
    /// When there is no such alert, it is not open, or the store cannot be written; then nothing has changed.
    pub fn accept(
        &self,
        store: &dyn Store,
        fingerprint: &str,
        note: &str,
        now_seconds: f64,
    ) -> Result<Alert, DecisionError> {
        self.decide(store, fingerprint, now_seconds, |alert| {
            if !alert.is_open() {
                let allowed = "pending, firing or stale";
                return Err(DecisionError::State { state: alert.state, allowed, verb: "accepted" });
            }
            alert.acceptance = Some(Acceptance {
                at: now_seconds,
                note: note.to_owned(),
                delta_abs: alert.evidence.measured.delta_abs,
                state_before: alert.state,
            });
            alert.state = AlertState::Accepted;
            alert.resolved_at = Some(now_seconds);
            Ok(())
        })
    }

    /// Takes a user's word back: the alert stands where it stood.
    ///
    /// # Errors
    ///
    /// When there is no such alert, it is not accepted, or the store cannot be written; then nothing has changed.
    pub fn withdraw(
        &self,
        store: &dyn Store,
        fingerprint: &str,
        now_seconds: f64,
    ) -> Result<Alert, DecisionError> {
        self.decide(store, fingerprint, now_seconds, |alert| {
            let acceptance =
                alert.acceptance.take().filter(|_| alert.state == AlertState::Accepted);
            let Some(acceptance) = acceptance else {
                let allowed = "accepted";
                return Err(DecisionError::State {
                    state: alert.state,
                    allowed,
                    verb: "withdrawn",
                });
            };
            alert.state = acceptance.state_before;
            alert.resolved_at = None;
            Ok(())
        })
    }

    fn decide(
        &self,
        store: &dyn Store,
        fingerprint: &str,
        now_seconds: f64,
        change: impl FnOnce(&mut Alert) -> Result<(), DecisionError>,
    ) -> Result<Alert, DecisionError> {
        let mut inner = self.lock();
        let before = inner
            .alerts
            .get(fingerprint)
            .cloned()
            .ok_or_else(|| DecisionError::Unknown(fingerprint.chars().take(64).collect()))?;
        let mut alert = before.clone();
        change(&mut alert)?;
        alert.decided_at = now_seconds;
        inner.alerts.insert(fingerprint.to_owned(), alert.clone());
        if let Err(error) = inner.save(store) {
            inner.alerts.insert(fingerprint.to_owned(), before);
            return Err(DecisionError::Store(error));
        }
        drop(inner);
        Ok(alert)
    }

    /// Replaces all alerts and saves them, but for those that a user decided about in the meantime. Forgets what was over
    /// long ago, and the oldest that are over, then the newest others, above the limit.
    ///
    /// # Errors
    ///
    /// When the store cannot be written, or another collector wrote to it; the book in memory is replaced anyway.
    pub(super) fn replace(
        &self,
        store: &dyn Store,
        alerts: Vec<Alert>,
        now_seconds: f64,
    ) -> anyhow::Result<()> {
        let is_over = |alert: &Alert| !alert.is_open();
        let mut inner = self.lock();
        let mut alerts: Vec<Alert> = alerts
            .into_iter()
            .map(|alert| match inner.alerts.get(&alert.fingerprint) {
                Some(decided) if decided.decided_at > alert.decided_at => decided.clone(),
                _ => alert,
            })
            .filter(|alert| {
                let last = alert.resolved_at.unwrap_or(now_seconds).max(alert.seen_at);
                !is_over(alert) || now_seconds - last < OVER_SECONDS_MAX
            })
            .collect();
        alerts.sort_by(|left, right| {
            is_over(left).cmp(&is_over(right)).then(left.started_at.total_cmp(&right.started_at))
        });
        alerts.truncate(ALERTS_MAX);
        let fresh: BTreeMap<String, Alert> =
            alerts.into_iter().map(|alert| (alert.fingerprint.clone(), alert)).collect();
        if fresh == inner.alerts {
            return Ok(());
        }
        inner.alerts = fresh;
        let saved = inner.save(store);
        drop(inner);
        saved
    }

    /// Replaces what the self tests say; it is saved with the next change of the alerts.
    pub(super) fn set_self_tests(&self, self_tests: SelfTests) {
        self.lock().self_tests = self_tests;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves whole alerts behind: each change is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn save(&mut self, store: &dyn Store) -> anyhow::Result<()> {
        let bytes = saved::write(self.alerts.values(), &self.self_tests)?;
        if store.save_state(STATE_KEY, self.version, &bytes)? {
            self.version += 1;
            return Ok(());
        }
        // Another collector on the same store: its version is taken over, the next evaluation writes again.
        self.version = store.load_state(STATE_KEY)?.map_or(0, |(version, _)| version);
        bail!("failed to save alerts: another collector changed them");
    }
}
