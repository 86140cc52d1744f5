//! `GET /api/v1/series`: samples and CPU time over time, by version.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::openapi::SelectionParameters;
use super::parameters::Parameters;
use crate::store::SeriesPoint;

/// Most steps in one answer: more than a screen has columns.
const STEPS_MAX: u64 = 10_000;
/// Steps of an answer whose question names no step.
const STEPS_DEFAULT: u64 = 60;
/// Shortest step in seconds: the window of an agent.
const STEP_MIN_S: f64 = 10.0;
/// Longest step in seconds: a day.
const STEP_MAX_S: f64 = 86_400.0;

/// Samples over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    /// Length of a step in seconds.
    step: f64,
    /// One point for each step and version that has samples.
    #[schema(value_type = Vec<Object>)]
    points: Vec<SeriesPoint>,
}

/// Counts samples and CPU time of a selection in steps of time.
#[utoipa::path(
    get,
    path = "/api/v1/series",
    params(
        ("service" = String, Query, description = "the service"),
        ("step" = Option<f64>, Query, description = "length of a step in seconds (10 to 86400)"),
        SelectionParameters,
    ),
    responses((status = 200, body = Series), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn series(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Series>, Failure> {
    let selection = parameters.take_selection()?;
    let range = parameters.take_range()?;
    let range_ns = range.end_unix_ns - range.start_unix_ns;
    let default = (range_ns / STEPS_DEFAULT) as f64 / 1e9;
    let default = default.clamp(STEP_MIN_S, STEP_MAX_S);
    let step = parameters.take_number("step", default, STEP_MIN_S..=STEP_MAX_S)?;
    parameters.finish()?;
    let step_ns = (step * 1e9) as u64;
    if range_ns / step_ns > STEPS_MAX {
        return Err(Failure::Request(format!(
            "`step` is `{step}`, expected at least {} for this range, for at most {STEPS_MAX} steps",
            range_ns / STEPS_MAX / 1_000_000_000 + 1
        )));
    }
    let store = Arc::clone(&state.store);
    let points = state.queries.run(move || Ok(store.series(&selection, range, step_ns)?)).await?;
    Ok(Json(Series { step, points }))
}
