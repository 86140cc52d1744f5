//! All stages in order: the one file that sees them all.
//!
//! Takes its ports first, then opens the store, then serves; a stage that ends early ends the collector with an error.
//! What was acknowledged is durable, so ending is safe at any time; SIGINT and SIGTERM end open requests first.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::admin::{self, Admin};
use crate::alert::{AlertBook, Evaluator};
use crate::config::{Config, Role, StorePlace};
use crate::ingest::{IngestService, unix_ns};
use crate::metrics::Metrics;
use crate::show;
use crate::store::{ClickHouseStore, Retained, SqliteStore, Store, StoreError, StoreOptions};

const DAY_NS: u64 = 86_400 * 1_000_000_000;

/// How often what is past retention is deleted: often enough that each run is short.
const RETAIN_EVERY: Duration = Duration::from_secs(3600);

/// How often what is complete is added up: often enough that few windows wait for it.
const ADD_UP_EVERY: Duration = Duration::from_secs(10);

/// How long open requests may take once the collector is told to end: a push takes below a second, and agents repeat
/// what was not answered. Only a peer that connects and says nothing makes this wait.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Most requests open at once on one agent's connection; an agent sends one batch after another.
const STREAMS_MAX: u32 = 16;

/// Longest time for one request of an agent: an agent that sends a batch byte by byte must not keep its place.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// When an agent's connection is asked whether it still lives, and how long it has to answer.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// When a port is in use, the store cannot be opened, or a stage ends early.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let grpc = listen(config.grpc).await?;
    let http = listen(config.http).await?;
    let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);
    let store = open_store(config.store.clone()).await?;
    let metrics = Arc::new(Metrics::new());
    let retention_ns = u64::from(config.retention_days) * DAY_NS;
    let shutdown = CancellationToken::new();
    let mut stages = JoinSet::new();

    let alerts = Arc::new(AlertBook::load(&*store)?);
    let ingest = IngestService::new(Arc::clone(&store), Arc::clone(&metrics), retention_ns)
        .set_aside_in(beside(&config.store.folder_file()?, ".refused"));
    stages.spawn(accept(grpc, ingest, shutdown.clone()));
    stages.spawn(add_up(Arc::clone(&store), shutdown.clone()));
    let keep = Keep {
        ns: retention_ns,
        fine_ns: u64::from(config.fine_days) * DAY_NS,
        bytes_max: config.store_bytes_max,
    };
    stages.spawn(retain(Arc::clone(&store), keep, shutdown.clone()));
    let evaluator = Evaluator::new(
        Arc::clone(&store),
        Arc::clone(&alerts),
        config.detect.clone(),
        config.temporal,
        config.alert,
    )?;
    let evaluator_counters = evaluator.counters();
    if config.role == Role::All {
        stages.spawn(evaluate(evaluator, shutdown.clone()));
    }
    let state = show::State::new(Arc::clone(&store), Arc::clone(&alerts), config.detect);
    let admin = Admin { store, metrics, alerts, evaluator: evaluator_counters };
    let pages = show::router(state).merge(admin::router(admin));
    stages.spawn(answer(http, pages, shutdown.clone()));

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        page = %format_args!("http://{http_address}/"),
        agents = %format_args!("http://{grpc_address}"),
        store = %config.store,
        retention_days = config.retention_days,
        "serving"
    );
    notify(&[sd_notify::NotifyState::Ready]);
    let ended = until_told(&mut stages).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    let drained = tokio::time::timeout(DRAIN_MAX, drain(&mut stages)).await;
    if drained.is_err() {
        tracing::warn!(seconds = DRAIN_MAX.as_secs(), "requests still open after the drain");
    }
    ended
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on `{address}`"))
}

async fn open_store(place: StorePlace) -> anyhow::Result<Arc<dyn Store>> {
    let open = move || {
        let path = match place {
            StorePlace::File(path) => path,
            StorePlace::ClickHouse(address) => {
                let store: Arc<dyn Store> = Arc::new(ClickHouseStore::open(address)?);
                return Ok(store);
            }
        };
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            // Profiles name functions and hosts, which are nobody else's business.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("failed to make the folder `{}`", folder.display()))?;
        }
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, StoreOptions::default())?);
        Ok(store)
    };
    tokio::task::spawn_blocking(open).await.context("failed to open the store")?
}

/// A path with another ending behind its own.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// Takes batches from agents.
async fn accept(
    listener: TcpListener,
    ingest: IngestService,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let ingest = ingest.into_server();
    set_serving(&health, &ingest).await;
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .timeout(REQUEST_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .add_service(health_service)
        .add_service(ingest)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.cancelled_owned(),
        )
        .await
        .context("failed to serve agents")
}

async fn set_serving<S: tonic::server::NamedService>(
    health: &tonic_health::server::HealthReporter,
    _service: &S,
) {
    health.set_serving::<S>().await;
}

/// Compares versions and raises alerts.
async fn evaluate(evaluator: Evaluator, shutdown: CancellationToken) -> anyhow::Result<()> {
    evaluator.run(shutdown).await;
    Ok(())
}

/// Answers people and programs.
async fn answer(
    listener: TcpListener,
    router: axum::Router,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .context("failed to serve HTTP")
}

/// Adds up what is complete, every ten seconds.
async fn add_up(store: Arc<dyn Store>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(ADD_UP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let store = Arc::clone(&store);
        let now = unix_ns(SystemTime::now());
        match tokio::task::spawn_blocking(move || store.compact(now)).await? {
            Ok(added) => {
                tracing::debug!(windows = added.windows, segments = added.segments, "added up");
            }
            // Answers are the same without it; the next run may succeed.
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = %format_args!("{error:#}"), "failed to add up profiles");
            }
        }
    }
    Ok(())
}

/// What is kept.
#[derive(Debug, Clone, Copy)]
struct Keep {
    ns: u64,
    fine_ns: u64,
    bytes_max: Option<u64>,
}

/// Deletes what is past retention, every hour.
async fn retain(
    store: Arc<dyn Store>,
    keep: Keep,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(RETAIN_EVERY);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let store = Arc::clone(&store);
        match tokio::task::spawn_blocking(move || delete_old(&*store, keep)).await? {
            Ok(retained) => {
                tracing::debug!(blocks = retained.blocks, stacks = retained.stacks, "retention");
            }
            // A full disk is not the end: ingest says so to the agents, and the next run may succeed.
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(error = %format_args!("{error:#}"), "failed to delete old profiles");
            }
        }
    }
    Ok(())
}

fn delete_old(store: &dyn Store, keep: Keep) -> Result<Retained, StoreError> {
    let now = unix_ns(SystemTime::now());
    store.thin(now.saturating_sub(keep.fine_ns))?;
    let mut retained = store.retain(now.saturating_sub(keep.ns))?;
    if let Some(bytes_max) = keep.bytes_max {
        let fitted = store.fit(bytes_max)?;
        retained.blocks += fitted.blocks;
        retained.stacks += fitted.stacks;
    }
    Ok(retained)
}

/// Waits for a signal, or for a stage that ends early.
async fn until_told(stages: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to await SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to await SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
        _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
        ended = stages.join_next() => match ended {
            Some(ended) => {
                ended.context("a stage panicked")??;
                bail!("a stage ended early");
            }
            None => bail!("no stage runs"),
        },
    }
    Ok(())
}

async fn drain(stages: &mut JoinSet<anyhow::Result<()>>) {
    while let Some(ended) = stages.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = %format_args!("{error:#}"), "stage failed"),
            Err(error) => tracing::error!(%error, "stage panicked"),
        }
    }
}

/// Tells systemd, where there is one.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "failed to notify the service manager");
    }
}
