//! `GET /api/v1/alerts`: what is wrong now, and what was. `POST` and `DELETE` below it take a user's word.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Failure, now_unix_ns};
use super::parameters::Parameters;
use crate::alert::{Alert, DecisionError, NOTE_BYTES_MAX};

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

/// Why a change shall stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Word {
    /// A sentence for those who look later.
    #[serde(default)]
    note: String,
}

/// What became of a user's word.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    /// What happened, and what happens next, as a sentence.
    message: String,
    /// The alert as it stands now.
    #[schema(value_type = Object)]
    alert: Alert,
}

/// Accepts a change: its alert is over, and opens again only when the change grows by half.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{fingerprint}/accept",
    request_body(content = Option<Word>, content_type = "application/json"),
    responses((status = 200, body = Decided), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn accept(
    State(state): State<super::State>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Decided>, Failure> {
    refuse_other_sites(&headers)?;
    let body = body.map_err(|error| Failure::Request(error.body_text()))?;
    let word: Word = if body.trim_ascii().is_empty() {
        Word::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            Failure::Request(format!(
                "the body is not empty and not `{{\"note\": \"…\"}}`: {error}"
            ))
        })?
    };
    if word.note.len() > NOTE_BYTES_MAX {
        return Err(Failure::Request(format!("the note has more than {NOTE_BYTES_MAX} bytes")));
    }
    let (store, book) = (Arc::clone(&state.store), Arc::clone(&state.alerts));
    let now = now_unix_ns() as f64 / 1e9;
    let decide = move || Ok(book.accept(&*store, &fingerprint, &word.note, now)?);
    let alert = state.queries.run(decide).await?;
    let message = format!(
        "{} of {} is accepted as it is in version {}; DELETE the same address takes it back",
        alert.topic, alert.service, alert.candidate_version
    );
    Ok(Json(Decided { message, alert }))
}

/// Takes an acceptance back: the alert stands where it stood.
#[utoipa::path(
    delete,
    path = "/api/v1/alerts/{fingerprint}/accept",
    responses((status = 200, body = Decided), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn withdraw(
    State(state): State<super::State>,
    Path(fingerprint): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Decided>, Failure> {
    refuse_other_sites(&headers)?;
    let (store, book) = (Arc::clone(&state.store), Arc::clone(&state.alerts));
    let now = now_unix_ns() as f64 / 1e9;
    let alert = state.queries.run(move || Ok(book.withdraw(&*store, &fingerprint, now)?)).await?;
    let message = format!(
        "{} of {} is {} again; the next window is judged as before",
        alert.topic,
        alert.service,
        alert.state.as_str()
    );
    Ok(Json(Decided { message, alert }))
}

/// Refuses what a page of another site sends through its reader's browser: browsers name the page's origin, and it must
/// be ours. Programs name none.
fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let of_page = origin.split_once("://").map(|(_, host)| host);
    if of_page.is_some() && of_page == text(header::HOST) {
        return Ok(());
    }
    let origin: String = origin.chars().take(200).collect();
    Err(Failure::Request(format!("the page `{origin}` is not of this collector")))
}

impl From<DecisionError> for Failure {
    fn from(error: DecisionError) -> Self {
        match error {
            DecisionError::Unknown(_) => Self::NotFound(error.to_string()),
            DecisionError::State { .. } => Self::Request(error.to_string()),
            DecisionError::Store(error) => Self::Internal(error),
        }
    }
}
