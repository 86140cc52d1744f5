//! Evaluates at regular times, and has alerts told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::engine::Engine;
use super::notify::Notifiers;
use super::{Alert, AlertBook, AlertOptions};
use crate::detect::Policy;
use crate::detect::temporal::TemporalOptions;
use crate::history::Memory;
use crate::store::Store;

/// Counts of what the evaluator did.
#[derive(Debug, Default)]
pub struct EvaluatorCounters {
    /// Evaluations that ended well.
    pub evaluations: AtomicU64,
    /// Evaluations that failed.
    pub failures: AtomicU64,
    /// Pending alerts that went away before anybody was told.
    pub went_away: AtomicU64,
    /// Messages delivered to Alertmanagers and webhooks.
    pub notifications: AtomicU64,
    /// Messages that could not be delivered after all attempts.
    pub notification_failures: AtomicU64,
}

/// Compares versions, and services with their past, at regular times.
#[derive(Debug)]
pub struct Evaluator {
    engine: Arc<Engine>,
    notifiers: Notifiers,
    counters: Arc<EvaluatorCounters>,
}

impl Evaluator {
    /// An evaluator over this store and book.
    ///
    /// # Errors
    ///
    /// When an address in the options is no URL.
    pub fn new(
        store: Arc<dyn Store>,
        book: Arc<AlertBook>,
        policy: Policy,
        temporal: TemporalOptions,
        options: AlertOptions,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(EvaluatorCounters::default());
        let notifiers = Notifiers::new(&options, Arc::clone(&counters))?;
        let engine = Arc::new(Engine {
            store,
            book,
            policy,
            temporal,
            options,
            memory: Memory::default(),
            counters: Arc::clone(&counters),
            judged: Mutex::default(),
        });
        Ok(Self { engine, notifiers, counters })
    }

    /// Counts, for metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<EvaluatorCounters> {
        Arc::clone(&self.counters)
    }

    /// Evaluates once, without telling anybody; returns all alerts. Blocking.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written.
    pub fn evaluate_once(&self, now_unix_ns: u64) -> anyhow::Result<Vec<Alert>> {
        self.engine.evaluate(now_unix_ns)
    }

    /// Evaluates until `shutdown`. A failed evaluation is logged and counted; the next one tries again.
    pub async fn run(self, shutdown: CancellationToken) {
        if !self.engine.options.enabled {
            shutdown.cancelled().await;
            return;
        }
        let period = Duration::from_secs(self.engine.options.interval_seconds.max(1));
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(result) = shutdown.run_until_cancelled(self.evaluate_and_tell()).await else {
                break;
            };
            match result {
                Ok(()) => self.counters.evaluations.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    error!(error = format!("{error:#}"), "failed to evaluate alerts");
                    self.counters.failures.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        let engine = Arc::clone(&self.engine);
        let saved = tokio::task::spawn_blocking(move || engine.memory.save(&*engine.store)).await;
        if !matches!(saved, Ok(Ok(()))) {
            error!("failed to save the history of services: some hours are read again");
        }
    }

    async fn evaluate_and_tell(&self) -> anyhow::Result<()> {
        let engine = Arc::clone(&self.engine);
        let now = now_unix_ns();
        let alerts = tokio::task::spawn_blocking(move || engine.evaluate(now))
            .await
            .context("failed to evaluate: the task ended early")??;
        let told = self.notifiers.tell(alerts, now).await;
        let engine = Arc::clone(&self.engine);
        tokio::task::spawn_blocking(move || {
            engine.book.replace(&*engine.store, told, now as f64 / 1e9)
        })
        .await
        .context("failed to save alerts: the task ended early")?
    }
}

fn now_unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
