//! Evaluates every service once: the part of the evaluator that needs no network.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::comparison::Windows;
use super::evaluate::EvaluatorCounters;
use super::plan::{Arm, Plan, plan, window_ns};
use super::release::Turn;
use super::self_test::{self, Change, Nominal};
use super::temporal::Review;
use super::{Alert, AlertBook, AlertOptions, AlertState, Mode, storm};
use crate::detect::temporal::TemporalOptions;
use crate::detect::{Policy, judge};
use crate::diff::{Grouping, ProfileDiff};
use crate::history::Memory;
use crate::store::{Store, StoreError, VersionSpan};

/// An alert of which no data says anything any more ends after a week, in seconds: its service is gone, or its baseline
/// is past retention.
const SILENT_SECONDS_MAX: f64 = 7.0 * 86_400.0;

/// Windows without data after which a firing alert is stale.
const STALE_WINDOWS: f64 = 3.0;

/// Windows of the temporal mode, with the time until they are read, in seconds.
const TEMPORAL_WINDOW_SECONDS: f64 = 780.0;

/// Everything an evaluation needs.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) store: Arc<dyn Store>,
    pub(super) book: Arc<AlertBook>,
    pub(super) policy: Policy,
    pub(super) temporal: TemporalOptions,
    pub(super) options: AlertOptions,
    pub(super) memory: Memory,
    pub(super) counters: Arc<EvaluatorCounters>,
    /// Newest window of each service that was judged. A window is judged once: the same data twice confirm nothing.
    pub(super) judged: Mutex<BTreeMap<String, u64>>,
}

impl Engine {
    /// Moves all alerts along; saves and returns them.
    pub(super) fn evaluate(&self, now_unix_ns: u64) -> anyhow::Result<Vec<Alert>> {
        let mut by_service: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
        for alert in self.book.snapshot() {
            by_service.entry(alert.service.clone()).or_default().push(alert);
        }
        let mut alerts = Vec::new();
        let services = self.store.versions(now_unix_ns)?;
        self.judged().retain(|service, _| services.contains_key(service));
        let policy = self.book.self_tests().tightened(&self.policy);
        let now = now_unix_ns as f64 / 1e9;
        for (service, versions) in services {
            let known = by_service.remove(&service).unwrap_or_default();
            let of_service = (service.as_str(), versions.as_slice());
            let moved = match self.evaluate_service(of_service, known.clone(), &policy, now_unix_ns)
            {
                Ok(moved) => moved,
                Err(error) => {
                    // One service that cannot be read must not silence all others.
                    let error = anyhow::Error::from(error);
                    warn!(service, error = format!("{error:#}"), "failed to evaluate a service");
                    known
                }
            };
            alerts.extend(self.finished(moved, now));
        }
        // Services that were not seen: no data, so nothing moves.
        for known in by_service.into_values() {
            alerts.extend(self.finished(known, now));
        }
        self.book.replace(&*self.store, alerts.clone(), now)?;
        Ok(alerts)
    }

    fn evaluate_service(
        &self,
        (service, versions): (&str, &[VersionSpan]),
        known: Vec<Alert>,
        policy: &Policy,
        now_unix_ns: u64,
    ) -> Result<Vec<Alert>, StoreError> {
        let mut alerts = known;
        let window_ns = window_ns(&self.options);
        if let Some(plan) = plan(versions, &self.options, now_unix_ns) {
            let window = plan.candidate.end_unix_ns / window_ns;
            if self.judged().get(service) != Some(&window) {
                let mut turn = Turn {
                    windows: Windows::new(&*self.store, service, window_ns),
                    policy,
                    options: &self.options,
                    now: now_unix_ns as f64 / 1e9,
                    went_away: 0,
                };
                alerts = turn.after_release(&plan, alerts)?;
                self.counters.went_away.fetch_add(turn.went_away, Ordering::Relaxed);
                if self.options.self_tests && self_test::is_due(service, window, window_ns) {
                    self.test_self(&mut turn, &plan, window)?;
                }
                self.judged().insert(service.to_owned(), window);
            }
        }
        if self.options.temporal {
            alerts = self.over_time((service, versions), alerts, now_unix_ns)?;
        }
        Ok(alerts)
    }

    fn over_time(
        &self,
        (service, versions): (&str, &[VersionSpan]),
        alerts: Vec<Alert>,
        now_unix_ns: u64,
    ) -> Result<Vec<Alert>, StoreError> {
        let observed = self.memory.observe(&*self.store, service, now_unix_ns)?;
        if !observed.is_new || observed.is_behind {
            return Ok(alerts);
        }
        let review = Review {
            service,
            versions,
            timeline: &observed.timeline,
            temporal: &self.temporal,
            options: &self.options,
            now_unix_ns,
        };
        Ok(review.over_time(alerts))
    }

    /// Compares the service with itself.
    pub(super) fn test_self(
        &self,
        turn: &mut Turn<'_>,
        plan: &Plan,
        window: u64,
    ) -> Result<(), StoreError> {
        let (service, window_ns) = (turn.windows.service, turn.windows.window_ns);
        let length_ns = u64::from(self.options.baseline_windows) * window_ns;
        // The baseline where there is one: it was read already.
        let newest = || Arm {
            start_unix_ns: plan.candidate.end_unix_ns.saturating_sub(length_ns),
            ..plan.candidate.clone()
        };
        let windows = turn.windows.of(&plan.baseline.clone().unwrap_or_else(newest))?;
        let hour = self_test::hour_of(window, window_ns);
        let Some(([first, second], replication)) = self_test::split(&windows, service, hour) else {
            return Ok(());
        };
        let grouping =
            Grouping { window_ns, replication: Some(replication), ..Grouping::default() };
        let judgement = judge(&ProfileDiff::new(&first, &second, &grouping), turn.policy);
        let is_alarm = |q: f64| {
            judgement.groups.iter().any(|group| group.is_regression() && group.root.q <= q)
        };
        let [pending, firing] = [turn.policy.q, self.options.firing_q].map(is_alarm);
        let nominal = Nominal { pending: turn.policy.q, firing: self.options.firing_q };
        let mut tests = self.book.self_tests();
        let change = tests.count(pending, firing, nominal);
        if pending {
            info!(service, firing, "a comparison of a service with itself raised an alarm");
        }
        match change {
            Some(Change::Tightened) => warn!(
                tightness = tests.tightness,
                "false alarms are above their rate: the least effect of interest is raised by a half"
            ),
            Some(Change::Relaxed) => info!(
                tightness = tests.tightness,
                "false alarms are within their rate: the least effect of interest is lowered again"
            ),
            None => {}
        }
        self.book.set_self_tests(tests);
        Ok(())
    }

    /// Compares a service with itself as if it were another hour.
    #[cfg(test)]
    pub(super) fn test_service(&self, service: &str, hour: u64, now_unix_ns: u64) {
        let versions = &self.store.versions(now_unix_ns).unwrap()[service];
        let plan = plan(versions, &self.options, now_unix_ns).unwrap();
        let window_ns = window_ns(&self.options);
        let mut turn = Turn {
            windows: Windows::new(&*self.store, service, window_ns),
            policy: &self.policy,
            options: &self.options,
            now: 0.0,
            went_away: 0,
        };
        self.test_self(&mut turn, &plan, hour * 3_600_000_000_000 / window_ns).unwrap();
    }

    /// The alerts of a service once all looked at: silence, storms and the digest.
    fn finished(&self, alerts: Vec<Alert>, now: f64) -> Vec<Alert> {
        let window_seconds = window_ns(&self.options) as f64 / 1e9;
        let mut alerts: Vec<Alert> = alerts
            .into_iter()
            .filter_map(|alert| {
                let window_seconds = match alert.mode {
                    Mode::Temporal => window_seconds.max(TEMPORAL_WINDOW_SECONDS),
                    Mode::Concurrent | Mode::Paired | Mode::BeforeAfter => window_seconds,
                };
                silenced(alert, window_seconds, now)
            })
            .collect();
        storm::guard(&mut alerts, now);
        storm::update_digest(&mut alerts, now);
        alerts
    }

    pub(super) fn judged(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        // Each change is one insertion, so a panic elsewhere leaves a whole map.
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The alert, or what becomes of it when nothing was heard of its subject for too long.
fn silenced(mut alert: Alert, window_seconds: f64, now: f64) -> Option<Alert> {
    let silent = now - alert.seen_at.max(alert.started_at);
    match alert.state {
        _ if !alert.is_single() => {}
        AlertState::Pending if silent > SILENT_SECONDS_MAX => return None,
        AlertState::Firing | AlertState::Stale if silent > SILENT_SECONDS_MAX => {
            alert.state = AlertState::Resolved;
            alert.resolved_at = Some(now);
        }
        AlertState::Firing if silent > STALE_WINDOWS * window_seconds => {
            info!(service = alert.service, topic = %alert.topic, "alert is stale: no data");
            alert.state = AlertState::Stale;
        }
        AlertState::Pending
        | AlertState::Firing
        | AlertState::Stale
        | AlertState::Resolved
        | AlertState::Accepted => {}
    }
    Some(alert)
}
