//! What became of the batches: how many are acknowledged, and how long that took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longest wait that is told apart: a collector that is away for longer is away.
const WAIT_US_MAX: u64 = 600_000_000;

/// Counts of all agents; each agent sends its batches in order, so one number says which are acknowledged.
#[derive(Debug)]
pub struct Journal {
    acknowledged: Vec<AtomicU64>,
    samples: AtomicU64,
    retries: AtomicU64,
    rejected: AtomicU64,
    measured: Mutex<Measured>,
}

#[derive(Debug)]
struct Measured {
    batches: u64,
    waits_us: Histogram<u64>,
    last_refusal: String,
}

/// What was measured since [`Journal::begin`].
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Batches acknowledged.
    pub batches: u64,
    /// Half of the batches were acknowledged within this time after they were due.
    pub p50_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// All were.
    pub max_ms: f64,
    /// Batches sent again, since the start.
    pub retries: u64,
    /// Batches refused for good, since the start.
    pub rejected: u64,
    /// What the collector last said when it refused one.
    pub last_refusal: String,
}

impl Journal {
    /// An empty one for so many agents.
    ///
    /// # Panics
    ///
    /// Never: the bounds of the histogram are constant.
    #[must_use]
    pub fn new(agents: u32) -> Self {
        let waits_us = Histogram::new_with_bounds(1, WAIT_US_MAX, 3).expect("valid bounds");
        let measured = Measured { batches: 0, waits_us, last_refusal: String::new() };
        Self {
            acknowledged: (0..agents).map(|_| AtomicU64::new(0)).collect(),
            samples: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            measured: Mutex::new(measured),
        }
    }

    /// Sequence up to which an agent's batches are acknowledged.
    #[must_use]
    pub fn acknowledged(&self, agent: u32) -> u64 {
        self.acknowledged[agent as usize].load(Ordering::SeqCst)
    }

    /// Samples in all acknowledged batches.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::SeqCst)
    }

    /// Forgets what was measured, for the end of the warm-up.
    pub fn begin(&self) {
        let mut measured = self.measured();
        measured.batches = 0;
        measured.waits_us.reset();
    }

    /// What was measured since then.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let measured = self.measured();
        let ms = |us: u64| us as f64 / 1e3;
        Summary {
            batches: measured.batches,
            p50_ms: ms(measured.waits_us.value_at_quantile(0.5)),
            p99_ms: ms(measured.waits_us.value_at_quantile(0.99)),
            max_ms: ms(measured.waits_us.max()),
            retries: self.retries.load(Ordering::SeqCst),
            rejected: self.rejected.load(Ordering::SeqCst),
            last_refusal: measured.last_refusal.clone(),
        }
    }

    pub(super) fn acknowledge(&self, agent: u32, samples: u64, wait: Duration) {
        self.acknowledged[agent as usize].fetch_add(1, Ordering::SeqCst);
        self.samples.fetch_add(samples, Ordering::SeqCst);
        let mut measured = self.measured();
        measured.batches += 1;
        let us = u64::try_from(wait.as_micros()).unwrap_or(WAIT_US_MAX);
        measured.waits_us.saturating_record(us.clamp(1, WAIT_US_MAX));
    }

    pub(super) fn refuse(&self, why: String, is_final: bool) {
        let counter = if is_final { &self.rejected } else { &self.retries };
        counter.fetch_add(1, Ordering::SeqCst);
        self.measured().last_refusal = why;
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    /// As JSON, for the program that started this one.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { batches, p50_ms, p99_ms, max_ms, retries, rejected, last_refusal } = self;
        json!({
            "batches": batches, "p50_ms": p50_ms, "p99_ms": p99_ms, "max_ms": max_ms,
            "retries": retries, "rejected": rejected, "last_refusal": last_refusal,
        })
    }
}
