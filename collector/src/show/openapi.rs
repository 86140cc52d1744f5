//! `GET /api/v1/openapi.json`: the API, for programs that write programs.

use axum::Json;
use serde::Serialize;
use utoipa::openapi::OpenApi as Document;
use utoipa::{OpenApi, ToSchema};

/// Why a request has no answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// A sentence that names the parameter, its value and what is allowed.
    error: String,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Flamewatch collector",
        description = "Profiles of services, their comparisons, and alerts. Times in parameters are Unix seconds, `now`, \
                       or relative (`-15m`); a range defaults to the last 15 minutes."
    ),
    components(schemas(Refusal)),
    paths(
        super::services::services,
        super::status::status,
        super::flamegraph::flamegraph,
        super::diff::diff,
        super::syscalls::syscalls,
        super::series::series,
        super::alerts::alerts,
        super::gate::gate,
        super::pprof::profile,
        document,
    )
)]
struct Api;

/// Describes the API.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "this document", body = Object)),
)]
pub(crate) async fn document() -> Json<Document> {
    Json(Api::openapi())
}
