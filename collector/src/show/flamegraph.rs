//! `GET /api/v1/flamegraph`: all samples of a selection as one tree.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use profiler_common::profile::Frame;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::openapi::SelectionParameters;
use super::parameters::{ALL_SERVICES, Parameters, seconds};
use super::tree::{FlatTree, Tree};
use crate::store::{Selection, Store, StoreError, TimeRange};

/// Paths below this share of all samples are left out: a fifth of a pixel on a wide screen.
pub(crate) const MIN_SHARE_DEFAULT: f64 = 0.0002;
/// Services in the picture of all services, the busiest first; the others together are too thin to see.
const SERVICES_MAX: usize = 200;

/// A flame graph.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Flamegraph {
    /// Start of the range, Unix seconds.
    from: f64,
    /// End of the range, Unix seconds.
    to: f64,
    /// Samples in the tree.
    total: u64,
    /// CPU time of all samples in nanoseconds.
    cpu_ns: u64,
    /// CPU time that one sample stands for in nanoseconds, on average; 0 without samples.
    period_ns: u64,
    #[serde(flatten)]
    tree: FlatTree,
}

/// Merges all samples of a selection into one tree of call paths. The service `*` is all services, each below its name.
#[utoipa::path(
    get,
    path = "/api/v1/flamegraph",
    params(
        ("service" = String, Query, description = "the service, or `*` for all"),
        SelectionParameters,
        ("min_share" = Option<f64>, Query, description = "leave out paths below this share (0 to 1)"),
    ),
    responses((status = 200, body = Flamegraph), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn flamegraph(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Flamegraph>, Failure> {
    let selection = parameters.take_selection()?;
    let range = parameters.take_range()?;
    let min_share = parameters.take_number("min_share", MIN_SHARE_DEFAULT, 0.0..=1.0)?;
    parameters.finish()?;
    let store = Arc::clone(&state.store);
    let answer = state.queries.run(move || answer(&*store, &selection, range, min_share)).await?;
    Ok(Json(answer))
}

fn answer(
    store: &dyn Store,
    selection: &Selection,
    range: TimeRange,
    min_share: f64,
) -> Result<Flamegraph, Failure> {
    let (mut samples, mut cpu_ns) = (0, 0);
    let all = selection.service == ALL_SERVICES;
    let mut tree = Tree::<1>::new(if all { "all services" } else { &selection.service });
    for service in services_of(store, selection, range)? {
        let below = if all { vec![Frame::marker(&service.service)] } else { Vec::new() };
        let merged = store.merge(&service, range)?;
        samples += merged.profile.total();
        cpu_ns += merged.cpu_ns;
        tree.add(0, &below, &merged.profile);
    }
    let tree = tree.flatten(min_share)?;
    Ok(Flamegraph {
        from: seconds(range.start_unix_ns),
        to: seconds(range.end_unix_ns),
        total: tree.root_total(),
        cpu_ns,
        period_ns: cpu_ns.checked_div(samples).unwrap_or(0),
        tree,
    })
}

/// The selection itself, or the same selection of each service when it asks for all.
pub(crate) fn services_of(
    store: &dyn Store,
    selection: &Selection,
    range: TimeRange,
) -> Result<Vec<Selection>, StoreError> {
    if selection.service != ALL_SERVICES {
        return Ok(vec![selection.clone()]);
    }
    let mut entries = store.catalog(range)?;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
    let busiest = entries.into_iter().take(SERVICES_MAX);
    Ok(busiest
        .map(|entry| Selection { service: entry.service, labels: selection.labels.clone() })
        .collect())
}
