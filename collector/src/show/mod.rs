//! What people and programs see over HTTP: the page, the JSON beneath it, and profiles for `go tool pprof`.
//!
//! One file answers one question. Nothing here computes a verdict: it asks the store and the stages, and writes down
//! what they say.

mod answer;
mod parameters;
mod tree;

mod services;
mod status;
mod flamegraph;
mod quality;
mod diff;
mod syscalls;
mod series;
mod alerts;
mod gate;
mod pprof;

mod openapi;
mod assets;

pub(crate) use answer::now_unix_ns;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::routing::{get, post};
use tower_http::compression::CompressionLayer;

use self::answer::{Failure, Queries};
use crate::alert::AlertBook;
use crate::detect::Policy;
use crate::store::Store;

/// Largest request body: a gate's policy and selections take a few KiB.
const BODY_BYTES_MAX: usize = 256 << 10;

/// What the answers are made from.
#[derive(Clone)]
pub struct State {
    store: Arc<dyn Store>,
    alerts: Arc<AlertBook>,
    policy: Arc<Policy>,
    queries: Queries,
    started: Instant,
}

impl State {
    /// Answers from this store and these alerts; comparisons are judged by `policy`. Uptime counts from here.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, alerts: Arc<AlertBook>, policy: Policy) -> Self {
        Self {
            store,
            alerts,
            policy: Arc::new(policy),
            queries: Queries::default(),
            started: Instant::now(),
        }
    }
}

/// The page at `/`, the API below `/api/v1`, and `/debug/pprof/profile`.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/api/v1/services", get(services::services))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/flamegraph", get(flamegraph::flamegraph))
        .route("/api/v1/quality", get(quality::quality))
        .route("/api/v1/diff", get(diff::diff))
        .route("/api/v1/syscalls", get(syscalls::syscalls))
        .route("/api/v1/series", get(series::series))
        .route("/api/v1/alerts", get(alerts::alerts))
        .route("/api/v1/alerts/{fingerprint}/accept", post(alerts::accept).delete(alerts::withdraw))
        .route("/api/v1/gate", post(gate::gate))
        .route("/api/v1/openapi.json", get(openapi::document))
        .route("/api", get(unknown))
        .route("/api/{*path}", get(unknown).fallback(unknown))
        .route("/debug/pprof/profile", get(pprof::profile))
        .route("/", get(assets::index))
        .route("/{*path}", get(assets::asset))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CompressionLayer::new())
        .with_state(state)
}

async fn unknown(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure::NotFound(format!("there is no `{path}`; /api/v1/openapi.json lists what there is"))
}

#[cfg(test)]
mod tests;
