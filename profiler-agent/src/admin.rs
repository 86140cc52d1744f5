//! The agent's own HTTP: metrics, health, readiness.
//!
//! Healthy means that the pipeline runs: its threads have not hung for [`PULSE_MAX`]. Ready means that one window has gone all the way into the spool, and stays so:
//! an outage of the collector is no reason to take the agent out of service, since the spool bridges it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

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

/// Longest time without a beat of a healthy agent. Naming the first window of a large host with a tenth of a CPU takes a
/// part of it.
pub const PULSE_MAX: Duration = Duration::from_secs(300);

/// What beats are counted from.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Says when the pipeline was last seen to run.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Starts with a beat.
    #[must_use]
    pub fn new() -> Self {
        let pulse = Self(Arc::default());
        pulse.beat();
        pulse
    }

    /// The pipeline runs.
    pub fn beat(&self) {
        self.0.store(BEGIN.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        BEGIN.elapsed().saturating_sub(Duration::from_secs(self.0.load(Ordering::Relaxed)))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
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
    /// What /-/healthy says.
    pub pulse: Pulse,
}

impl Admin {
    /// Serves until told to stop.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, registry, readiness, pulse } = self;
        let serving = axum::serve(listener, router(registry, readiness, pulse))
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

fn router(registry: Registry, readiness: Readiness, pulse: Pulse) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(registry))
        .route("/-/healthy", get(healthy).with_state(pulse))
        .route("/-/ready", get(ready).with_state(readiness))
}

async fn healthy(State(pulse): State<Pulse>) -> impl IntoResponse {
    health(pulse.age())
}

fn health(age: Duration) -> (StatusCode, String) {
    if age <= PULSE_MAX {
        return (StatusCode::OK, "ok\n".to_owned());
    }
    let said = format!(
        "the pipeline has hung for {} s: a process or file system does not answer\n",
        age.as_secs()
    );
    (StatusCode::SERVICE_UNAVAILABLE, said)
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

    #[test]
    fn a_pipeline_that_hangs_is_not_healthy() {
        assert_eq!(health(PULSE_MAX).0, StatusCode::OK);
        let (status, said) = health(PULSE_MAX + Duration::from_secs(1));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.contains("301 s"), "{said}");
        assert!(Pulse::new().age() < PULSE_MAX);
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_keep_the_agent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin {
            listener,
            registry: Registry::default(),
            readiness: Readiness::default(),
            pulse: Pulse::new(),
        };
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
