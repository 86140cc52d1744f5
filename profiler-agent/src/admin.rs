//! The agent's own HTTP: metrics, health, readiness.
//!
//! Healthy means that the pipeline runs. Ready means that one window has gone all the way into the spool, and stays so:
//! an outage of the collector is no reason to take the agent out of service, since the spool bridges it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The media type of metrics in the format of `OpenMetrics`.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long requests may still take once the agent was told to stop; the slowest answer waits for one batch.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Says once and for all that the agent is ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Makes it ready.
    pub fn latch(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The task that serves the agent's HTTP.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens.
    pub listener: TcpListener,
    /// What /metrics shows.
    pub registry: Registry,
    /// What /-/ready says.
    pub readiness: Readiness,
}

impl Admin {
    /// Serves until told to stop.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, registry, readiness } = self;
        let serving = axum::serve(listener, router(registry, readiness))
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let too_late = async {
            shutdown.cancelled().await;
            sleep(LAST_REQUESTS).await;
        };
        tokio::select! {
            served = serving => served.context("failed to serve the admin address"),
            // A client that never ends its request must not keep the agent.
            () = too_late => Ok(()),
        }
    }
}

fn router(registry: Registry, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(registry))
        .route("/-/healthy", get(async || "ok\n"))
        .route("/-/ready", get(ready).with_state(readiness))
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    if readiness.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no window has reached the spool yet\n")
    }
}

/// The accounting is behind a lock that is held while a batch is written, hence the blocking thread.
async fn metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let encoded = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text)
    });
    match encoded.await {
        Ok(Ok(text)) => Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text)),
        Ok(Err(_)) | Err(_) => {
            Err((StatusCode::INTERNAL_SERVER_ERROR, "failed to encode metrics\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_keep_the_agent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin =
            Admin { listener, registry: Registry::default(), readiness: Readiness::default() };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(admin.run(shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /metr").await.unwrap();
        sleep(Duration::from_millis(200)).await;
        shutdown.cancel();
        let ended = tokio::time::timeout(10 * LAST_REQUESTS, running).await;
        ended.expect("it does not wait for the client").unwrap().unwrap();
    }
}
