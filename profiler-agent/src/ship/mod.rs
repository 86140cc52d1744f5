//! Hands windows to the collector, and keeps what is not yet acknowledged.
//!
//! A window is encoded ([`encode`]), written to the spool ([`spool`]) and entered in the books ([`accounting`]), all in
//! one step of the [`Outbox`]. The [`Shipper`] sends the oldest batch until the collector says that it is stored. So the
//! disk is the only queue: an outage of the collector, and a restart of either side, look all alike.

pub mod accounting;
pub mod backoff;
mod blocking;
pub mod client;
pub mod dictionary;
pub mod disk;
pub mod encode;
pub mod outbox;
pub mod reason;
pub mod spool;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use accounting::BatchKey;
use backoff::Backoff;
use client::{Answer, Client};
pub use outbox::{Outbox, OutboxError, OutboxOptions};

/// How long the last batches may take after the agent was told to stop; the rest waits in the spool.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// An outbox that the pipeline fills and the shipper empties.
#[derive(Debug, Clone)]
pub struct SharedOutbox {
    outbox: Arc<Mutex<Outbox>>,
    filled: Arc<Notify>,
}

impl SharedOutbox {
    /// Shares an outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Self { outbox: Arc::new(Mutex::new(outbox)), filled: Arc::new(Notify::new()) }
    }

    /// The outbox; blocks while the other side writes or reads one batch.
    ///
    /// The books hold after every single step, so that one left by a panic is as good as any.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outbox unless the other side is busy with it: for those who must not wait for a disk.
    #[must_use]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Outbox>> {
        match self.outbox.try_lock() {
            Ok(outbox) => Some(outbox),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Wakes the shipper.
    pub fn notify(&self) {
        self.filled.notify_one();
    }
}

/// The task that empties an outbox.
#[derive(Debug)]
pub struct Shipper {
    /// What to empty.
    pub outbox: SharedOutbox,
    /// Where to.
    pub client: Client,
}

impl Shipper {
    /// Sends batches, oldest first, until told to stop; then sends what is left within [`FAREWELL`].
    ///
    /// # Errors
    ///
    /// When a blocking step panicked.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let sent = tokio::select! {
                // An answer that came with the order to stop still counts.
                biased;
                sent = self.send_oldest() => sent?,
                () = shutdown.cancelled() => break,
            };
            let wait = match sent {
                Sent::Settled => {
                    backoff.succeed();
                    continue;
                }
                Sent::NothingLeft => None,
                Sent::Failed { after } => Some(backoff.fail(fastrand::f64(), after)),
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = pause(&self.outbox.filled, wait) => {}
            }
        }
        self.farewell().await
    }

    /// The last tries: the batch that was on its way when the stop came is sent again, and counts once.
    async fn farewell(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FAREWELL;
        while let Ok(sent) = timeout_at(deadline, self.send_oldest()).await {
            if !matches!(sent?, Sent::Settled) {
                break;
            }
        }
        Ok(())
    }

    async fn send_oldest(&mut self) -> anyhow::Result<Sent> {
        let outbox = self.outbox.clone();
        let next = blocking::run(move || outbox.lock().next_batch()).await?;
        let Some((key, batch)) = next else { return Ok(Sent::NothingLeft) };
        let BatchKey { epoch, sequence } = key;
        let outbox = self.outbox.clone();
        match self.client.push(&batch).await {
            Answer::Acknowledged => {
                tracing::debug!(epoch, sequence, "the collector has stored a batch");
                blocking::run(move || outbox.lock().acknowledge(key)).await?;
                Ok(Sent::Settled)
            }
            Answer::Rejected(why) => {
                tracing::error!(epoch, sequence, why, "the collector rejects a batch; it is lost");
                blocking::run(move || outbox.lock().reject(key)).await?;
                Ok(Sent::Settled)
            }
            Answer::Retry { why, after } => {
                tracing::warn!(
                    epoch,
                    sequence,
                    why,
                    "failed to ship a batch; it stays in the spool"
                );
                Ok(Sent::Failed { after })
            }
        }
    }
}

enum Sent {
    Settled,
    NothingLeft,
    Failed {
        /// How long the collector asks to wait.
        after: Option<Duration>,
    },
}

/// Waits for the given time, or for a new batch when there is no reason to wait.
async fn pause(filled: &Notify, wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => filled.notified().await,
    }
}
