//! `POST /api/v1/gate`: may this version go on?

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;

use super::answer::{Failure, now_unix_ns};
use crate::gate::{GateAnswer, GateRequest, evaluate};

/// Compares a candidate with its baseline and says pass, fail or inconclusive.
///
/// The answer's `verdict` is `pass`, `fail`, `inconclusive` or `error`; `result` is what a rollout does with it (`pass`,
/// `fail`, `hold`, `error`), `score` the same as a number (100, 0, 50, 0). The status is 200 for each of them.
#[utoipa::path(
    post,
    path = "/api/v1/gate",
    request_body(
        content = Object,
        content_type = "application/json",
        description = "`service`, and the labels of `baseline` and `candidate`; optional: `from` and `to` (Unix seconds), \
                       `lookback_seconds`, `window_seconds`, and `policy` with the keys of a policy file",
        example = json!({
            "service": "shop",
            "baseline": {"version": "1.4.1"},
            "candidate": {"version": "1.4.2"},
            "policy": {"look": "5m", "success_criteria": ["service_cpu_ratio <= 1.05"]}
        }),
    ),
    responses(
        (
            status = 200,
            description = "the answer, with its reasons, checks, groups, costs and what could have been found",
            body = Object,
            example = json!({
                "verdict": "pass",
                "result": "pass",
                "score": 100,
                "exit_code": 0,
                "reasons": ["no regression; CPU time per request changed by +0.3 % and by at most +1.9 %, and +5.0 % is allowed"],
                "looks": 2,
                "look": 2,
                "is_final": false
            })
        ),
        (status = 400, body = super::openapi::Refusal)
    ),
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
    let question = move || Ok(evaluate(&*store, &request, now_unix_ns())?);
    Ok(Json(state.queries.run(question).await?))
}
