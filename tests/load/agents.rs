//! `agents`: drives a fleet against a collector and tells how long it took to acknowledge.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use harness::load::{Drive, Fleet, FleetSize, Journal, Meter, Pace, cpu_seconds};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the last batches may take after the end; what is not acknowledged by then is counted as late.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Wait before a batch is sent again: the first wait of the agent.
const RETRY_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `HOST:PORT` of the collector
    #[arg(long)]
    collector: String,
    /// Number of agents
    #[arg(long, default_value_t = 1000)]
    agents: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds before, for dictionaries and caches to fill
    #[arg(long, default_value_t = 20)]
    warm_up: u64,
    /// Milliseconds between two batches of an agent, of which each is still about 10 s; 0 sends one each 10 s
    #[arg(long, default_value_t = 0)]
    every_ms: u64,
    /// Connections that the agents share
    #[arg(long, default_value_t = 32)]
    connections: u32,
}

pub(crate) fn run(args: &Args) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start")?;
    runtime.block_on(measure(args))
}

/// A fast pace begins so long ago that the last window ends now.
fn pace(args: &Args) -> Result<Pace> {
    let Some(windows) = ((args.warm_up + args.seconds) * 1000).checked_div(args.every_ms) else {
        return Ok(Pace::Live);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    let start = now.saturating_sub(Duration::from_secs(10 * (windows + 1)));
    let every = Duration::from_millis(args.every_ms);
    Ok(Pace::Past { every, start_unix_ns: u64::try_from(start.as_nanos())? })
}

async fn measure(args: &Args) -> Result<Value> {
    let meter = Arc::new(Meter::default());
    let address = meter.start(args.collector.clone()).await?;
    let journal = Arc::new(Journal::new(args.agents));
    let fleet = Arc::new(Fleet::new(FleetSize::of(args.agents), 1));
    let rows_per_batch = fleet.size().rows_per_batch();
    let drive = Drive {
        fleet,
        journal: Arc::clone(&journal),
        url: format!("http://{address}"),
        connections: args.connections,
        pace: pace(args)?,
        retry_after: RETRY_AFTER,
    };
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(drive.run(stop.clone()));
    sleep(Duration::from_secs(args.warm_up)).await;
    journal.begin();
    let (sent_before, answered_before) = meter.bytes();
    let cpu_before = cpu_seconds(std::process::id())?;
    sleep(Duration::from_secs(args.seconds)).await;
    let cpu = cpu_seconds(std::process::id())? - cpu_before;
    let (sent, answered) = meter.bytes();
    let within = journal.summary();
    stop.cancel();
    let is_drained = match timeout(DRAIN_MAX, &mut running).await {
        Ok(ended) => ended.context("the agents panicked")?.map(|()| true)?,
        Err(_late) => false,
    };
    let rows = within.batches * rows_per_batch;
    Ok(json!({
        "agents": args.agents,
        "seconds": args.seconds,
        "rows": rows,
        "rows_per_second": rows / args.seconds.max(1),
        "wire_bytes": sent - sent_before,
        "answer_bytes": answered - answered_before,
        "generator_cpu_seconds": cpu,
        "is_drained": is_drained,
        // Of all batches of the measured time, those of the drain included.
        "acknowledged": journal.summary().to_json(),
        "samples": journal.samples(),
    }))
}
