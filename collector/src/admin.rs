//! Metrics, health and readiness over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::alert::{AlertBook, EvaluatorCounters};
use crate::metrics::{Known, Metrics};
use crate::store::{Store, StoreStats};

/// The content type of what is answered.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the answers are made from.
#[derive(Clone)]
pub struct Admin {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The alerts.
    pub alerts: Arc<AlertBook>,
    /// What the evaluator of alerts did.
    pub evaluator: Arc<EvaluatorCounters>,
}

/// `/metrics`, `/-/healthy` (the process answers) and `/-/ready` (the store can be read).
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(async || "ok\n"))
        .route("/-/ready", get(ready))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let stats = match stats(&admin).await {
        Ok(stats) => stats,
        Err(reason) => return (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response(),
    };
    let mut alerts: BTreeMap<String, u64> = BTreeMap::new();
    for alert in admin.alerts.snapshot() {
        *alerts.entry(alert.state.as_str().to_owned()).or_default() += 1;
    }
    let known = Known { alerts, self_tests: admin.alerts.self_tests() };
    match admin.metrics.encode(&stats, &known, &admin.evaluator) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match stats(&admin).await {
        Ok(_) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

async fn stats(admin: &Admin) -> Result<StoreStats, String> {
    let store = Arc::clone(&admin.store);
    match tokio::task::spawn_blocking(move || store.stats()).await {
        Ok(stats) => stats.map_err(|error| format!("{:#}\n", anyhow::Error::from(error))),
        Err(error) => Err(format!("failed to read the store: {error}\n")),
    }
}
