//! `GET /api/v1/status`: what was stored, what was lost and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::parameters::Parameters;
use crate::alert::{Alarms, SelfTests};

/// Totals since the store was made, and the state of the collector.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Samples in stored batches.
    samples_stored: u64,
    /// Batches stored.
    batches_stored: u64,
    /// Batches that came again, and were not counted again.
    duplicates: u64,
    /// Samples that agents took, by their own account.
    samples_taken: u64,
    /// Samples that agents lost, by reason, by their own account.
    lost: BTreeMap<String, u64>,
    /// Stored samples by how the walk over their user stack ended.
    stacks: BTreeMap<String, u64>,
    /// Size of the store's files in bytes.
    bytes_on_disk: u64,
    /// How often a comparison of a service with itself raised an alarm, which is always false.
    self_tests: SelfTestRate,
    /// Version of the collector.
    version: &'static str,
    /// Seconds since the collector started.
    uptime_seconds: f64,
}

/// The rate of false alarms, measured on the services themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SelfTestRate {
    /// Comparisons of a service with itself.
    tests: u64,
    /// Those that raised an alarm at the level of a pending alert.
    pending_alarms: u64,
    /// Those that raised an alarm at the level of a firing alert.
    firing_alarms: u64,
    /// `firing_alarms` over `tests`; null before the first.
    firing_rate: Option<f64>,
    /// Steps, each a factor of 1.5, by which the least effects of interest are raised because of such alarms.
    tightness: u32,
}

/// Says what was stored and what was lost, since the store was made.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = Status)))]
pub(crate) async fn status(
    State(state): State<super::State>,
    parameters: Parameters,
) -> Result<Json<Status>, Failure> {
    parameters.finish()?;
    let store = Arc::clone(&state.store);
    let stats = state.queries.run(move || Ok(store.stats()?)).await?;
    Ok(Json(Status {
        samples_stored: stats.samples_stored,
        batches_stored: stats.batches_stored,
        duplicates: stats.duplicates,
        samples_taken: stats.samples_taken,
        lost: stats.lost,
        stacks: stats.walks.ends().map(|(end, samples)| (end.to_owned(), samples)).collect(),
        bytes_on_disk: stats.bytes_on_disk,
        self_tests: self_test_rate(&state.alerts.self_tests()),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs_f64(),
    }))
}

fn self_test_rate(self_tests: &SelfTests) -> SelfTestRate {
    let Alarms { tests, pending, firing } = self_tests.total;
    SelfTestRate {
        tests,
        pending_alarms: pending,
        firing_alarms: firing,
        firing_rate: (tests > 0).then(|| firing as f64 / tests as f64),
        tightness: self_tests.tightness,
    }
}
