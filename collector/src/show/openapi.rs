//! `GET /api/v1/openapi.json`: the API, for programs that write programs.

use axum::Json;
use serde::Serialize;
use utoipa::openapi::OpenApi as Document;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Why a request has no answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// A sentence that names the parameter, its value and what is allowed.
    error: String,
}

/// The parameters by which every question about profiles chooses among those of a service; `Parameters` reads them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "it only documents: a label may have any key, which no struct can hold"
)]
pub(crate) struct SelectionParameters {
    /// start: Unix seconds or `-15m`
    from: Option<String>,
    /// end: Unix seconds, `-5m` or `now`
    to: Option<String>,
    /// only this version
    version: Option<String>,
    /// only this host
    host: Option<String>,
    /// only this unit of replication
    unit: Option<String>,
    /// only where the label KEY has this value
    #[param(rename = "label.KEY")]
    label: Option<String>,
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
        super::quality::quality,
        super::diff::diff,
        super::syscalls::syscalls,
        super::series::series,
        super::alerts::alerts,
        super::alerts::accept,
        super::alerts::withdraw,
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
