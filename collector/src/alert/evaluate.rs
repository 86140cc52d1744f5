//! Compares versions at regular times, moves alerts along, and has them told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::compare::{Arm, evidence, plan, regressions, sight, window_ns};
use super::lifecycle::{Patience, Sight, step};
use super::notify::Notifiers;
use super::support::Support;
use super::{Alert, AlertBook, AlertName, AlertOptions, AlertState, severity};
use crate::detect::{Policy, Verdict, judge};
use crate::diff::{Grouping, ProfileDiff};
use crate::store::{Selection, Store, StoreError, TimeRange, UnitWindow, VersionSpan};

/// An alert of which no data says anything any more ends after a week, in seconds: its service is gone, or its baseline
/// is past retention.
const SILENT_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Counts of what the evaluator did.
#[derive(Debug, Default)]
pub struct EvaluatorCounters {
    /// Evaluations that ended well.
    pub evaluations: AtomicU64,
    /// Evaluations that failed.
    pub failures: AtomicU64,
    /// Messages delivered to Alertmanagers and webhooks.
    pub notifications: AtomicU64,
    /// Messages that could not be delivered after all attempts.
    pub notification_failures: AtomicU64,
}

/// Compares versions at regular times.
#[derive(Debug)]
pub struct Evaluator {
    engine: Arc<Engine>,
    notifiers: Notifiers,
    counters: Arc<EvaluatorCounters>,
}

/// The part that needs no network.
#[derive(Debug)]
struct Engine {
    store: Arc<Store>,
    book: Arc<AlertBook>,
    policy: Policy,
    options: AlertOptions,
    /// Newest window of each service that was judged. A window is judged once: the same data twice confirm nothing.
    judged: Mutex<BTreeMap<String, u64>>,
}

impl Evaluator {
    /// An evaluator over this store and book.
    ///
    /// # Errors
    ///
    /// When an address in the options is no URL.
    pub fn new(
        store: Arc<Store>,
        book: Arc<AlertBook>,
        policy: Policy,
        options: AlertOptions,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(EvaluatorCounters::default());
        let notifiers = Notifiers::new(&options, Arc::clone(&counters))?;
        let engine = Arc::new(Engine { store, book, policy, options, judged: Mutex::default() });
        Ok(Self { engine, notifiers, counters })
    }

    /// Counts, for metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<EvaluatorCounters> {
        Arc::clone(&self.counters)
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
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                result = self.evaluate_and_tell() => match result {
                    Ok(()) => self.counters.evaluations.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        error!(error = format!("{error:#}"), "failed to evaluate alerts");
                        self.counters.failures.fetch_add(1, Ordering::Relaxed)
                    }
                },
            };
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
            engine.book.replace(&engine.store, told, now as f64 / 1e9)
        })
        .await
        .context("failed to save alerts: the task ended early")?
    }
}

/// One comparison of the current evaluation.
struct Comparison {
    diff: ProfileDiff,
    verdicts: Vec<Verdict>,
    /// Of the baseline and of the candidate.
    support: [Support; 2],
}

impl Engine {
    /// Moves all alerts along; saves and returns them.
    fn evaluate(&self, now_unix_ns: u64) -> anyhow::Result<Vec<Alert>> {
        let mut by_service: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
        for alert in self.book.snapshot() {
            by_service.entry(alert.service.clone()).or_default().push(alert);
        }
        let mut alerts = Vec::new();
        let services = self.store.versions(now_unix_ns)?;
        self.judged().retain(|service, _| services.contains_key(service));
        for (service, versions) in services {
            let known = by_service.remove(&service).unwrap_or_default();
            match self.evaluate_service((&service, &versions), known.clone(), now_unix_ns) {
                Ok(moved) => alerts.extend(moved),
                Err(error) => {
                    // One service that cannot be read must not silence all others.
                    warn!(service, error = format!("{error:#}"), "failed to compare versions");
                    alerts.extend(known);
                }
            }
        }
        // Services that were not seen: no data, so nothing moves.
        alerts.extend(by_service.into_values().flatten());
        let now = now_unix_ns as f64 / 1e9;
        let alerts: Vec<Alert> =
            alerts.into_iter().filter_map(|alert| without_silence(alert, now)).collect();
        self.book.replace(&self.store, alerts.clone(), now)?;
        Ok(alerts)
    }

    fn evaluate_service(
        &self,
        (service, versions): (&str, &[VersionSpan]),
        known: Vec<Alert>,
        now_unix_ns: u64,
    ) -> anyhow::Result<Vec<Alert>> {
        let Some(plan) = plan(versions, &self.options, now_unix_ns) else {
            return Ok(known);
        };
        let window = plan.candidate.end_unix_ns / window_ns(&self.options);
        if self.judged().get(service) == Some(&window) {
            return Ok(known);
        }
        let mut comparisons: BTreeMap<Arm, Comparison> = BTreeMap::new();
        let mut alerts = Vec::new();
        for alert in known {
            if alert.state == AlertState::Resolved {
                alerts.push(alert);
                continue;
            }
            let baseline = alert.baseline();
            let comparison = match comparisons.entry(baseline.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(self.compare(&alert.service, &baseline, &plan.candidate)?)
                }
            };
            let sight = sight(&alert, &comparison.diff, &comparison.verdicts, &self.policy);
            alerts.extend(self.moved(alert, sight, comparison, now_unix_ns));
        }
        if let Some(baseline) = &plan.baseline {
            let comparison = self.compare(service, baseline, &plan.candidate)?;
            let arms = [baseline, &plan.candidate];
            self.open(&mut alerts, service, arms, (&comparison, now_unix_ns));
        }
        self.judged().insert(service.to_owned(), window);
        Ok(alerts)
    }

    fn judged(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        // Each change is one insertion, so a panic elsewhere leaves a whole map.
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compare(
        &self,
        service: &str,
        baseline: &Arm,
        candidate: &Arm,
    ) -> anyhow::Result<Comparison> {
        let mut range = candidate.range();
        if baseline.version == candidate.version {
            // The version came back: its windows from before are the baseline.
            range.start_unix_ns = range.start_unix_ns.max(baseline.end_unix_ns);
        }
        let before = self.read(service, &baseline.version, baseline.range())?;
        let after = self.read(service, &candidate.version, range)?;
        let support = |arm: &Arm, windows: &[UnitWindow]| {
            Support::of(&arm.version, windows, window_ns(&self.options))
        };
        let support = [support(baseline, &before), support(candidate, &after)];
        let grouping = Grouping { window_ns: window_ns(&self.options), ..Grouping::default() };
        let diff = ProfileDiff::new(&before, &after, &grouping);
        let verdicts = judge(&diff, &self.policy).verdicts;
        Ok(Comparison { diff, verdicts, support })
    }

    /// Windows of a version; of a service on so many hosts that they do not fit in memory, the newest half that does.
    fn read(
        &self,
        service: &str,
        version: &str,
        mut range: TimeRange,
    ) -> Result<Vec<UnitWindow>, StoreError> {
        let window_ns = window_ns(&self.options);
        let labels = vec![("version".to_owned(), version.to_owned())];
        let selection = Selection { service: service.to_owned(), labels };
        loop {
            let length_ns = range.end_unix_ns.saturating_sub(range.start_unix_ns);
            if length_ns == 0 {
                return Ok(Vec::new());
            }
            match self.store.unit_windows(&selection, range, window_ns) {
                Err(StoreError::TooLarge { .. }) if length_ns > window_ns => {
                    range.start_unix_ns += length_ns / 2;
                }
                read => return read,
            }
        }
    }

    /// The alert after one more evaluation, or `None` when it went away.
    fn moved(
        &self,
        mut alert: Alert,
        sight: Sight,
        comparison: &Comparison,
        now_unix_ns: u64,
    ) -> Option<Alert> {
        let patience = Patience {
            pending: self.options.pending_windows,
            resolve: self.options.resolve_windows,
        };
        let (state, streak) = step(alert.state, alert.streak, sight, patience)?;
        if sight == Sight::Regressed
            && let Some(verdict) =
                comparison.verdicts.iter().find(|verdict| verdict.subject == alert.subject)
            && verdict.significant
        {
            alert.evidence = evidence(&comparison.diff, verdict, window_ns(&self.options));
        }
        let now = now_unix_ns as f64 / 1e9;
        if sight != Sight::NoData {
            alert.seen_at = now;
        }
        if state != alert.state {
            match state {
                AlertState::Firing => alert.fired_at = Some(now),
                AlertState::Resolved => alert.resolved_at = Some(now),
                AlertState::Pending => {}
            }
            info!(
                service = alert.service,
                subject = %alert.subject,
                fingerprint = alert.fingerprint,
                state = ?state,
                "alert changed"
            );
        }
        alert.state = state;
        alert.streak = streak;
        Some(alert)
    }

    /// Opens an alert for each regression that has none and enough support.
    fn open(
        &self,
        alerts: &mut Vec<Alert>,
        service: &str,
        [baseline, candidate]: [&Arm; 2],
        (comparison, now_unix_ns): (&Comparison, u64),
    ) {
        for (fingerprint, verdict) in regressions(service, &comparison.verdicts) {
            if !comparison.support.iter().all(|side| side.is_enough_for(&verdict.subject)) {
                continue;
            }
            let known = alerts.iter().position(|alert| alert.fingerprint == fingerprint);
            if known.is_some_and(|at| alerts[at].state != AlertState::Resolved) {
                continue;
            }
            let fresh = Alert {
                fingerprint,
                name: AlertName::of(&verdict.subject),
                service: service.to_owned(),
                subject: verdict.subject.clone(),
                severity: severity(verdict).to_owned(),
                state: AlertState::Pending,
                baseline_version: baseline.version.clone(),
                candidate_version: candidate.version.clone(),
                baseline_start_unix_ns: baseline.start_unix_ns,
                baseline_end_unix_ns: baseline.end_unix_ns,
                started_at: now_unix_ns as f64 / 1e9,
                fired_at: None,
                resolved_at: None,
                evidence: evidence(&comparison.diff, verdict, window_ns(&self.options)),
                seen_at: now_unix_ns as f64 / 1e9,
                streak: 0,
                links: self.links(service),
                // A webhook that was told of the resolved one is told again when this one fires.
                delivered: known.map(|at| alerts[at].delivered.clone()).unwrap_or_default(),
            };
            if let Some(at) = known {
                alerts.remove(at);
            }
            alerts.extend(self.moved(fresh, Sight::Regressed, comparison, now_unix_ns));
        }
    }

    fn links(&self, service: &str) -> Vec<String> {
        let Ok(mut url) = reqwest::Url::parse(&self.options.external_url) else {
            return Vec::new();
        };
        url.query_pairs_mut().append_pair("service", service);
        vec![url.into()]
    }
}

impl Alert {
    /// The baseline that was frozen when the alert began.
    fn baseline(&self) -> Arm {
        Arm {
            version: self.baseline_version.clone(),
            start_unix_ns: self.baseline_start_unix_ns,
            end_unix_ns: self.baseline_end_unix_ns,
        }
    }
}

/// The alert, or what becomes of it when nothing was heard of its subject for too long.
fn without_silence(mut alert: Alert, now: f64) -> Option<Alert> {
    if now - alert.seen_at.max(alert.started_at) <= SILENT_SECONDS_MAX {
        return Some(alert);
    }
    match alert.state {
        AlertState::Pending => None,
        AlertState::Firing => {
            alert.state = AlertState::Resolved;
            alert.resolved_at = Some(now);
            Some(alert)
        }
        AlertState::Resolved => Some(alert),
    }
}

fn now_unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
