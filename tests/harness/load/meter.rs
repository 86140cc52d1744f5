//! Counts the bytes between agents and collector: what TCP carries, without its headers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Stands between agents and collector.
#[derive(Debug, Default)]
pub struct Meter {
    to_collector: AtomicU64,
    to_agents: AtomicU64,
}

impl Meter {
    /// Listens on a port of its own and passes everything on to `HOST:PORT`; returns its own address.
    ///
    /// # Errors
    ///
    /// When there is no free port.
    pub async fn start(self: &Arc<Self>, collector: String) -> Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr().context("failed to read a port")?;
        let meter = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                let (meter, collector) = (Arc::clone(&meter), collector.clone());
                tokio::spawn(async move { meter.pass(agent, &collector).await });
            }
        });
        Ok(address.to_string())
    }

    /// Bytes that went to the collector, and back.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.to_collector.load(Ordering::Relaxed), self.to_agents.load(Ordering::Relaxed))
    }

    /// A connection that breaks on one side breaks on the other; the agent sees it as it would without us.
    async fn pass(&self, agent: TcpStream, collector: &str) {
        let Ok(collector) = TcpStream::connect(collector).await else { return };
        if agent.set_nodelay(true).is_err() || collector.set_nodelay(true).is_err() {
            return;
        }
        let (from_agent, to_agent) = agent.into_split();
        let (from_collector, to_collector) = collector.into_split();
        tokio::select! {
            () = copy(from_agent, to_collector, &self.to_collector) => {}
            () = copy(from_collector, to_agent, &self.to_agents) => {}
        }
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    counter: &AtomicU64,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
        counter.fetch_add(read as u64, Ordering::Relaxed);
    }
}
