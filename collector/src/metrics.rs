//! Every metric of the collector, with its help text.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::alert::{AlertState, EvaluatorCounters, SelfTests};
use crate::store::StoreStats;

/// One label, such as (reason, invalid).
type Label = [(&'static str, String); 1];

/// What is known of alerts when metrics are asked for.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Number of alerts by state.
    pub alerts: BTreeMap<String, u64>,
    /// What comparisons of services with themselves said.
    pub self_tests: SelfTests,
}

/// The collector's metrics; totals of the store are read from it when asked for, so that they survive restarts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    samples_stored: Counter,
    samples_taken: Counter,
    samples_lost: Family<Label, Counter>,
    stacks: Family<Label, Counter>,
    batches_stored: Counter,
    batches_duplicate: Counter,
    batches_rejected: Family<Label, Counter>,
    batches_moved: Family<Label, Counter>,
    clock_skew_seconds: Histogram,
    sessions: Gauge,
    session_bytes: Gauge,
    push_seconds: Histogram,
    store_bytes: Gauge,
    alerts: Family<Label, Gauge>,
    evaluations: Family<Label, Counter>,
    notifications: Family<Label, Counter>,
    went_away: Counter,
    self_tests: Counter,
    self_test_alarms: Family<Label, Counter>,
    tightness: Gauge,
}

impl Metrics {
    /// Makes all metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("flamewatch_collector"),
            samples_stored: Counter::default(),
            samples_taken: Counter::default(),
            samples_lost: Family::default(),
            stacks: Family::default(),
            batches_stored: Counter::default(),
            batches_duplicate: Counter::default(),
            batches_rejected: Family::default(),
            batches_moved: Family::default(),
            // From 0.1 s, the way of a push, to 28 hours, past which nothing is corrected.
            clock_skew_seconds: Histogram::new(exponential_buckets(0.1, 10.0, 7)),
            sessions: Gauge::default(),
            session_bytes: Gauge::default(),
            // From 1 ms, a cached commit, to 8 s, a disk in trouble.
            push_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            store_bytes: Gauge::default(),
            alerts: Family::default(),
            evaluations: Family::default(),
            notifications: Family::default(),
            went_away: Counter::default(),
            self_tests: Counter::default(),
            self_test_alarms: Family::default(),
            tightness: Gauge::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        self.register_store();
        self.register_ingest();
        self.register_alerts();
        self
    }

    fn register_store(&mut self) {
        let Self {
            registry,
            samples_stored,
            samples_taken,
            samples_lost,
            stacks,
            batches_stored,
            batches_duplicate,
            store_bytes,
            ..
        } = self;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this collector", build);
        registry.register(
            "samples_stored",
            "Samples in stored batches since the store was made",
            samples_stored.clone(),
        );
        registry.register(
            "samples_taken",
            "Samples that agents took, by their own account",
            samples_taken.clone(),
        );
        registry.register(
            "samples_lost",
            "Samples that agents lost, by reason, by their own account",
            samples_lost.clone(),
        );
        registry.register(
            "stacks",
            "Samples in stored batches by how the walk over their user stack ended",
            stacks.clone(),
        );
        registry.register(
            "batches_stored",
            "Batches stored since the store was made",
            batches_stored.clone(),
        );
        registry.register(
            "batches_duplicate",
            "Batches that came again after they were stored",
            batches_duplicate.clone(),
        );
        registry.register("store_bytes", "Size of the store's files", store_bytes.clone());
    }

    fn register_ingest(&mut self) {
        let Self {
            registry,
            batches_rejected,
            batches_moved,
            clock_skew_seconds,
            sessions,
            session_bytes,
            push_seconds,
            ..
        } = self;
        registry.register(
            "batches_rejected",
            "Batches refused: invalid, too_old and set_aside for good; clock and protocol until that is mended; \
             overloaded, too_fast, in_work, unavailable and unknown_session so that they come again",
            batches_rejected.clone(),
        );
        registry.register(
            "batches_moved",
            "Batches whose window was moved: skew by the difference between the clocks, set_back to the present",
            batches_moved.clone(),
        );
        registry.register(
            "agent_clock_skew_seconds",
            "Difference between the clock of an agent and this one at each push, without its sign",
            clock_skew_seconds.clone(),
        );
        let known = "Sessions whose stacks are known, so that agents need not tell them again";
        registry.register("sessions", known, sessions.clone());
        registry.register("session_bytes", "Memory of these sessions", session_bytes.clone());
        registry.register(
            "push_seconds",
            "Time from a decoded batch to its acknowledgement",
            push_seconds.clone(),
        );
    }

    fn register_alerts(&mut self) {
        let Self {
            registry,
            alerts,
            evaluations,
            notifications,
            went_away,
            self_tests,
            self_test_alarms,
            tightness,
            ..
        } = self;
        registry.register("alerts", "Alerts by state", alerts.clone());
        let of_all = "Comparisons of all services, by result";
        registry.register("evaluations", of_all, evaluations.clone());
        registry.register(
            "notifications",
            "Messages to Alertmanagers and webhooks, by result",
            notifications.clone(),
        );
        registry.register(
            "alerts_went_away",
            "Pending alerts that went away before anybody was told",
            went_away.clone(),
        );
        registry.register(
            "self_tests",
            "Comparisons of services with themselves, in which every alarm is false, since the store was made",
            self_tests.clone(),
        );
        registry.register(
            "self_test_alarms",
            "Comparisons of services with themselves that raised an alarm, by the level that it reached",
            self_test_alarms.clone(),
        );
        registry.register(
            "detector_tightness",
            "Steps, each a factor of 1.5, by which the least effects were raised because of self-test alarms",
            tightness.clone(),
        );
    }

    /// Counts a refused batch.
    pub fn count_rejected(&self, reason: &'static str) {
        self.batches_rejected.get_or_create(&label("reason", reason)).inc();
    }

    /// Counts a batch whose window was moved.
    pub fn count_moved(&self, reason: &'static str) {
        self.batches_moved.get_or_create(&label("reason", reason)).inc();
    }

    /// Notes by how much an agent's clock differs, in seconds.
    pub fn observe_skew(&self, seconds: f64) {
        self.clock_skew_seconds.observe(seconds);
    }

    /// Notes how many sessions are known, and their memory in bytes.
    pub fn set_sessions(&self, (sessions, bytes): (usize, usize)) {
        self.sessions.set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.session_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes how long an acknowledged batch took.
    pub fn observe_push(&self, elapsed: Duration) {
        self.push_seconds.observe(elapsed.as_secs_f64());
    }

    /// All metrics as text, with the store's totals, what is known of alerts, and what the evaluator did, as given.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written as text.
    pub fn encode(
        &self,
        stats: &StoreStats,
        known: &Known,
        evaluator: &EvaluatorCounters,
    ) -> Result<String, std::fmt::Error> {
        let set = |counter: &Counter, total| counter.inner().store(total, Ordering::Relaxed);
        set(&self.samples_stored, stats.samples_stored);
        set(&self.samples_taken, stats.samples_taken);
        set(&self.batches_stored, stats.batches_stored);
        set(&self.batches_duplicate, stats.duplicates);
        for (reason, samples) in &stats.lost {
            set(&self.samples_lost.get_or_create(&label("reason", reason)), *samples);
        }
        for (end, samples) in stats.walks.ends() {
            set(&self.stacks.get_or_create(&label("end", end)), samples);
        }
        self.store_bytes.set(i64::try_from(stats.bytes_on_disk).unwrap_or(i64::MAX));
        for state in AlertState::ALL.map(AlertState::as_str) {
            let count = known.alerts.get(state).copied().unwrap_or_default();
            let gauge = self.alerts.get_or_create(&label("state", state));
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (family, result, total) in [
            (&self.evaluations, "ok", &evaluator.evaluations),
            (&self.evaluations, "failed", &evaluator.failures),
            (&self.notifications, "ok", &evaluator.notifications),
            (&self.notifications, "failed", &evaluator.notification_failures),
        ] {
            let counter = family.get_or_create(&label("result", result));
            set(&counter, total.load(Ordering::Relaxed));
        }
        set(&self.went_away, evaluator.went_away.load(Ordering::Relaxed));
        let SelfTests { total, since_change: _, tightness } = &known.self_tests;
        set(&self.self_tests, total.tests);
        for (level, alarms) in [("pending", total.pending), ("firing", total.firing)] {
            set(&self.self_test_alarms.get_or_create(&label("level", level)), alarms);
        }
        self.tightness.set(i64::from(*tightness));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn label(name: &'static str, value: &str) -> Label {
    [(name, value.to_owned())]
}

#[cfg(test)]
mod tests {
    use profiler_common::profile::Quality;

    use super::*;

    #[test]
    fn the_totals_of_the_store_are_counters() {
        let metrics = Metrics::new();
        metrics.count_rejected("invalid");
        let mut walks = Quality::default();
        walks.add("too deep", 3);
        let stats = StoreStats {
            walks,
            samples_stored: 7,
            lost: BTreeMap::from([("ring_full".to_owned(), 2)]),
            ..Default::default()
        };
        let alerts = BTreeMap::from([("firing".to_owned(), 1)]);
        let mut known = Known { alerts, ..Known::default() };
        known.self_tests.total.firing = 2;
        let text = metrics.encode(&stats, &known, &EvaluatorCounters::default()).unwrap();
        for line in [
            "flamewatch_collector_samples_stored_total 7",
            "flamewatch_collector_samples_lost_total{reason=\"ring_full\"} 2",
            "flamewatch_collector_stacks_total{end=\"too deep\"} 3",
            "flamewatch_collector_batches_rejected_total{reason=\"invalid\"} 1",
            "flamewatch_collector_alerts{state=\"firing\"} 1",
            "flamewatch_collector_alerts{state=\"stale\"} 0",
            "flamewatch_collector_self_test_alarms_total{level=\"firing\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
