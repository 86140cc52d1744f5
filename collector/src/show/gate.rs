//! `POST /api/v1/gate`: may this version go on?

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;

use super::answer::{Failure, now_unix_ns};
use crate::gate::{GateAnswer, GateRequest, evaluate};

/// Compares a candidate with its baseline and says pass, regression or inconclusive.
#[utoipa::path(
    post,
    path = "/api/v1/gate",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Object), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn gate(
    State(state): State<super::State>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<GateAnswer>, Failure> {
    let body = body.map_err(|error| Failure::Request(error.body_text()))?;
    let request: GateRequest = serde_json::from_slice(&body).map_err(|error| {
        Failure::Request(format!("the body is not a gate's question as JSON: {error}"))
    })?;
    let store = Arc::clone(&state.store);
    let question = move || Ok(evaluate(&store, &request, now_unix_ns())?);
    Ok(Json(state.queries.run(question).await?))
}
