//! `GET /api/v1/alerts`: what is wrong now, and what was.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::parameters::Parameters;
use crate::alert::Alert;

/// All alerts that are kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alerts {
    /// Pending, firing and lately resolved ones, with their evidence.
    #[schema(value_type = Vec<Object>)]
    alerts: Vec<Alert>,
}

/// Lists pending, firing and lately resolved alerts with their evidence.
#[utoipa::path(get, path = "/api/v1/alerts", responses((status = 200, body = Alerts)))]
pub(crate) async fn alerts(
    State(state): State<super::State>,
    parameters: Parameters,
) -> Result<Json<Alerts>, Failure> {
    parameters.finish()?;
    Ok(Json(Alerts { alerts: state.alerts.snapshot() }))
}
