//! `GET /api/v1/services`: which services ran, by falling CPU time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::parameters::{Parameters, seconds};
use crate::store::ServiceEntry;

/// The services seen in a range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Services {
    /// Start of the range, Unix seconds.
    from: f64,
    /// End of the range, Unix seconds.
    to: f64,
    /// The services, by falling CPU time.
    #[schema(value_type = Vec<Object>)]
    services: Vec<ServiceEntry>,
}

/// Lists the services seen in a range with their versions, hosts and units, by falling CPU time.
#[utoipa::path(
    get,
    path = "/api/v1/services",
    params(
        ("from" = Option<String>, Query, description = "start: Unix seconds or `-15m`"),
        ("to" = Option<String>, Query, description = "end: Unix seconds, `-5m` or `now`"),
    ),
    responses((status = 200, body = Services), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn services(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Services>, Failure> {
    let range = parameters.take_range()?;
    parameters.finish()?;
    let store = Arc::clone(&state.store);
    let mut services = state.queries.run(move || Ok(store.catalog(range)?)).await?;
    services.sort_by_key(|entry| std::cmp::Reverse(entry.cpu_ns));
    Ok(Json(Services {
        from: seconds(range.start_unix_ns),
        to: seconds(range.end_unix_ns),
        services,
    }))
}
