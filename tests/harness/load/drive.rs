//! Sends the batches of all agents of a fleet, each agent on time and in order.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flamewatch_agent::ship::client::{Answer, Client};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::batch::{SentBatch, Window};
use super::{Fleet, Journal};
use crate::batch::samples_in;

/// Length of an agent's window.
const WINDOW_NS: u64 = 10_000_000_000;

/// When batches are due, and what time they cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As agents do it: one batch each 10 s about the 10 s before; the agents are spread evenly over that time.
    Live,
    /// One batch each so often; batch `n` is about the `n`th window after `start_unix_ns`.
    Past {
        /// Time between two batches of an agent.
        every: Duration,
        /// Where the first window starts.
        start_unix_ns: u64,
    },
}

/// Agents that send.
#[derive(Debug)]
pub struct Drive {
    /// What they send.
    pub fleet: Arc<Fleet>,
    /// What became of it.
    pub journal: Arc<Journal>,
    /// Where to.
    pub url: String,
    /// How many connections they share; each real agent has its own.
    pub connections: u32,
    /// When.
    pub pace: Pace,
    /// Wait before a batch that was not taken is sent again, where the collector names none.
    pub retry_after: Duration,
}

impl Drive {
    /// Runs until told to stop, and then until each agent's last batch is acknowledged.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut channels = Vec::new();
        for _ in 0..self.connections.max(1) {
            channels.push(Client::endpoint(&self.url)?.connect_lazy());
        }
        let begun = Instant::now();
        let epoch = unix_ns()?;
        let mut agents = JoinSet::new();
        for agent in 0..self.fleet.size().agents {
            let sender = Agent {
                agent,
                epoch,
                begun,
                fleet: Arc::clone(&self.fleet),
                journal: Arc::clone(&self.journal),
                // Its own dictionary over a shared connection.
                client: Client::over(channels[agent as usize % channels.len()].clone()),
                pace: self.pace,
                retry_after: self.retry_after,
            };
            agents.spawn(sender.run(stop.clone()));
        }
        while let Some(ended) = agents.join_next().await {
            ended.context("an agent panicked")??;
        }
        Ok(())
    }
}

struct Agent {
    agent: u32,
    epoch: u64,
    begun: Instant,
    fleet: Arc<Fleet>,
    journal: Arc<Journal>,
    client: Client,
    pace: Pace,
    retry_after: Duration,
}

impl Agent {
    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let agents = self.fleet.size().agents.max(1);
        let every = match self.pace {
            Pace::Live => Duration::from_nanos(WINDOW_NS),
            Pace::Past { every, .. } => every,
        };
        let phase = every.mul_f64(f64::from(self.agent) / f64::from(agents));
        for sequence in 1_u32.. {
            let due = self.begun + phase + every * (sequence - 1);
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                break;
            }
            let sequence = u64::from(sequence);
            let window = self.window(sequence)?;
            let sent = SentBatch { agent: self.agent, epoch: self.epoch, sequence, window };
            self.send(sent, due).await;
        }
        Ok(())
    }

    fn window(&self, sequence: u64) -> Result<Window> {
        let start_unix_ns = match self.pace {
            Pace::Live => unix_ns()?.saturating_sub(WINDOW_NS),
            Pace::Past { start_unix_ns, .. } => start_unix_ns + (sequence - 1) * WINDOW_NS,
        };
        Ok(Window { start_unix_ns, end_unix_ns: start_unix_ns + WINDOW_NS })
    }

    /// Sends one batch until the collector has it.
    async fn send(&mut self, sent: SentBatch, due: Instant) {
        let batch = self.fleet.batch(sent);
        let samples = samples_in(&batch);
        loop {
            match self.client.push(&batch).await {
                Answer::Acknowledged => {
                    self.journal.acknowledge(self.agent, samples, due.elapsed());
                    return;
                }
                Answer::Rejected(why) => {
                    self.journal.refuse(why, true);
                    return;
                }
                Answer::Retry { why, after } => {
                    self.journal.refuse(why, false);
                    let after = after.unwrap_or(self.retry_after);
                    sleep(after.mul_f64(0.5 + fastrand::f64())).await;
                }
            }
        }
    }
}

fn unix_ns() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    Ok(u64::try_from(since.as_nanos())?)
}
