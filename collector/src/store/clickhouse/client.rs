//! Speaks ClickHouse's HTTP interface, from threads that may wait.
//!
//! Plain HTTP and `RowBinary` rather than the `clickhouse` crate: the same few lines serve Debian's 18.16, which has
//! neither bound parameters nor the format that the crate asks for by default, the current servers, and chdb.
//! All that is sent may be sent again: a statement that failed on one server is tried on the next one.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::address::ClickHouseAddress;
use super::row::Rows;
use crate::store::{StoreError, cancel};

/// Longest time for one statement: above the longest that a schema change of a cluster may take.
const STATEMENT_MAX: Duration = Duration::from_secs(200);

/// Longest time to connect.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long an unused connection is kept: below the 3 s after which a server closes it by default.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// How long a server that was found away is asked last.
const AWAY_MS: u64 = 5_000;

/// Largest answer: what 10 million counts of stacks take.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Most text of a server's error that is kept.
const ERROR_BYTES_MAX: usize = 600;

/// How often a waiting thread looks whether its question was taken back.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

/// All collectors write to the first live replica of each shard and read from it, so that what was acknowledged is seen
/// at once. The others stand in for it when it is away; one that comes back and lags is left out. A busy replica is not
/// away: it has a second to take a connection, not the 50 ms of the default.
const CLUSTER_SETTINGS: &str = "&load_balancing=in_order&prefer_localhost_replica=0\
    &max_replica_delay_for_distributed_queries=2&connect_timeout_with_failover_ms=1000";

/// What a server said instead of an answer.
#[derive(Debug, Error)]
enum ServerError {
    #[error("ClickHouse answered {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the connection's thread ended")]
    Ended,
}

/// A client of all servers of an address.
pub(super) struct Client {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    http: reqwest::Client,
    address: ClickHouseAddress,
    /// Settings of each question and insert, as the end of a URL.
    settings: &'static str,
    /// Settings of each insert beside them.
    insert_settings: String,
    begin: Instant,
    /// When each server was last found away, in milliseconds since `begin`; 0: never.
    failed_ms: Vec<AtomicU64>,
}

impl Drop for Client {
    fn drop(&mut self) {
        // A runtime must not wait for its threads where waiting is not allowed, as in an async task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    pub(super) fn new(address: ClickHouseAddress) -> Result<Self, StoreError> {
        let open = failed("make a client of ClickHouse");
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("clickhouse")
            .enable_all()
            .build()
            .map_err(|error| open(Box::new(error)))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(STATEMENT_MAX)
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .map_err(|error| open(Box::new(error)))?;
        let failed_ms = address.servers.iter().map(|_| AtomicU64::new(0)).collect();
        let settings = if address.cluster.is_some() { CLUSTER_SETTINGS } else { "" };
        Ok(Self {
            runtime: Some(runtime),
            http,
            address,
            settings,
            insert_settings: String::new(),
            begin: Instant::now(),
            failed_ms,
        })
    }

    /// The address.
    pub(super) fn address(&self) -> &ClickHouseAddress {
        &self.address
    }

    /// Sets what goes with each insert.
    pub(super) fn set_insert_settings(&mut self, settings: String) {
        self.insert_settings = settings;
    }

    /// Asks, and returns rows in `RowBinary`.
    pub(super) fn ask(&self, action: &'static str, sql: &str) -> Result<Vec<u8>, StoreError> {
        let sql = format!("{sql} FORMAT RowBinary");
        self.send(action, self.settings, sql.into_bytes())
    }

    /// Changes the schema.
    pub(super) fn change(&self, action: &'static str, sql: &str) -> Result<(), StoreError> {
        self.send(action, "", sql.as_bytes().to_vec()).map(drop)
    }

    /// Inserts rows in `RowBinary`; returns after they are stored. `into` names the table and its columns.
    pub(super) fn insert(
        &self,
        action: &'static str,
        into: &str,
        rows: Rows,
    ) -> Result<(), StoreError> {
        let mut body = format!("INSERT INTO {into} FORMAT RowBinary\n").into_bytes();
        body.extend(rows.into_bytes());
        let settings = format!("{}{}", self.settings, self.insert_settings);
        self.send(action, &settings, body).map(drop)
    }

    /// Tries one server after another; fails with the last error when none answers.
    fn send(
        &self,
        action: &'static str,
        settings: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        let body = tokio_util::bytes::Bytes::from(body);
        let mut last = StoreError::Cancelled;
        for server in self.servers_in_order() {
            // What a server sends before it fails must not look like an answer.
            let url = format!("{}/?wait_end_of_query=1{settings}", self.address.servers[server]);
            match self.post(url, body.clone()) {
                Ok(answer) => return Ok(answer),
                Err(Failed::Cancelled) => return Err(StoreError::Cancelled),
                Err(Failed::Error(error)) => {
                    if error.is::<reqwest::Error>() {
                        self.failed_ms[server].store(self.now_ms(), Ordering::Relaxed);
                    }
                    last = failed(action)(error);
                }
            }
        }
        Err(last)
    }

    /// The first one first, so that what was written through it is read through it; those that were away a moment ago last.
    fn servers_in_order(&self) -> Vec<usize> {
        let now = self.now_ms();
        let was_away = |server: &usize| {
            let failed = self.failed_ms[*server].load(Ordering::Relaxed);
            failed > 0 && now - failed.min(now) < AWAY_MS
        };
        let mut servers: Vec<usize> = (0..self.address.servers.len()).collect();
        servers.sort_by_key(was_away);
        servers
    }

    /// Milliseconds since the client was made, and one.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn post(&self, url: String, body: tokio_util::bytes::Bytes) -> Result<Vec<u8>, Failed> {
        let mut request = self.http.post(url).body(body);
        if !self.address.user.is_empty() {
            request = request.header("X-ClickHouse-User", &self.address.user);
        }
        if !self.address.password.is_empty() {
            request = request.header("X-ClickHouse-Key", &self.address.password);
        }
        let (sender, receiver) = sync_channel(1);
        let runtime =
            self.runtime.as_ref().ok_or_else(|| Failed::Error(ServerError::Ended.into()))?;
        let task = runtime.spawn(async move {
            // Fails only when the question was taken back.
            let _ = sender.send(read(request).await);
        });
        loop {
            match receiver.recv_timeout(CANCEL_EVERY) {
                Ok(answer) => return answer.map_err(Failed::Error),
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    if cancel::check().is_err() {
                        // The server stops when the connection closes.
                        task.abort();
                        return Err(Failed::Cancelled);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Failed::Error(ServerError::Ended.into()));
                }
            }
        }
    }
}

enum Failed {
    Cancelled,
    Error(Box<dyn Error + Send + Sync>),
}

async fn read(request: reqwest::RequestBuilder) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
    let mut response = request.send().await?;
    let status = response.status();
    let limit = if status.is_success() { ANSWER_BYTES_MAX } else { ERROR_BYTES_MAX };
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if answer.len() + chunk.len() > limit {
            if status.is_success() {
                return Err(ServerError::TooLarge.into());
            }
            answer.extend(&chunk[..limit.saturating_sub(answer.len())]);
            break;
        }
        answer.extend(&chunk[..]);
    }
    if status.is_success() {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer).trim().to_owned();
    Err(ServerError::Refused { status: status.as_u16(), text }.into())
}

/// Says what was being done when a server refused.
pub(super) fn failed(
    action: &'static str,
) -> impl Fn(Box<dyn Error + Send + Sync>) -> StoreError + Copy {
    move |source| StoreError::Database { action, source }
}
