//! `GET /api/v1/syscalls`: latencies and errors of each syscall of a selection.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::openapi::SelectionParameters;
use super::parameters::Parameters;
use crate::query;
use crate::store::UnitSyscall;

/// The syscalls of a selection.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Syscalls {
    /// By falling time spent; calls that wait by design come last.
    syscalls: Vec<Syscall>,
}

/// One syscall; quantiles are exact to one bucket (6.25 %).
#[derive(Debug, Serialize, ToSchema)]
struct Syscall {
    /// Its name.
    name: String,
    /// Whether it waits by design, as `epoll_wait` does.
    waiting: bool,
    /// Calls.
    calls: u64,
    /// Failed calls by positive errno.
    errors: BTreeMap<u32, u64>,
    /// Median latency in nanoseconds.
    p50_ns: u64,
    /// 95th percentile in nanoseconds.
    p95_ns: u64,
    /// 99th percentile in nanoseconds.
    p99_ns: u64,
    /// Largest latency in nanoseconds.
    max_ns: u64,
    /// Sum of all latencies in nanoseconds.
    sum_ns: u64,
}

impl From<UnitSyscall> for Syscall {
    fn from(syscall: UnitSyscall) -> Self {
        let UnitSyscall { name, waiting, histogram, errors } = syscall;
        let [p50_ns, p95_ns, p99_ns] = histogram.quantiles_ns([0.5, 0.95, 0.99]);
        Self {
            name,
            waiting,
            calls: histogram.calls(),
            errors: errors.into_iter().collect(),
            p50_ns,
            p95_ns,
            p99_ns,
            max_ns: histogram.max_ns,
            sum_ns: histogram.sum_ns,
        }
    }
}

/// Lists the syscalls of a selection with their latency quantiles and errors.
#[utoipa::path(
    get,
    path = "/api/v1/syscalls",
    params(
        ("service" = String, Query, description = "the service"),
        SelectionParameters,
    ),
    responses((status = 200, body = Syscalls), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn syscalls(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Syscalls>, Failure> {
    let selection = parameters.take_selection()?;
    let range = parameters.take_range()?;
    parameters.finish()?;
    let store = Arc::clone(&state.store);
    let syscalls =
        state.queries.run(move || Ok(query::syscalls(&*store, &selection, range)?)).await?;
    Ok(Json(Syscalls { syscalls: syscalls.into_iter().map(Syscall::from).collect() }))
}
