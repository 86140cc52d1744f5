//! `fill`: writes the past of a fleet through the store's own path, without what no question would read.
//!
//! A week of 100 hosts is 12 billion rows. What a question about a service reads is, however, mostly what was added up:
//! days, hours, and the minutes at the ends of the range. So each minute is written once, as if one host in turn had
//! taken a tenth of the samples of all, which are 97 % of the stacks; the last half hour is whole: every host, in
//! windows of 10 s. Minutes, hours and days of a service are then as large as in truth; of a single host there are as
//! many hours and days as in truth, and fewer minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use flamewatch_collector::store::{SqliteStore, Store, StoreOptions};
use harness::load::{Fleet, FleetSize, SentBatch, Window};
use serde_json::{Value, json};

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const DAY_MINUTES: u64 = 24 * 60;

/// Ranges of whole days end up to an hour before the end, so the past begins so much earlier.
const BEFORE_MINUTES: u64 = 90;

/// The last minutes, of which each host wrote every window.
const WHOLE_MINUTES: u64 = 30;

/// Samples of a service in a minute: a tenth of those of 100 hosts, with 460 each 10 s.
const SAMPLES: u32 = 27_600;

/// Writers at once: their batches share commits.
const WRITERS: usize = 8;

/// Minutes written between two rounds of adding up.
const ROUND_MINUTES: usize = 240;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's file; one that was begun is finished
    #[arg(long)]
    store: PathBuf,
    /// Hosts
    #[arg(long, default_value_t = 100)]
    hosts: u32,
    /// Days
    #[arg(long, default_value_t = 7)]
    days: u64,
}

/// Where the past ends, and how much of it is written: kept beside the store, so that a run that was broken off goes on.
#[derive(Debug, Clone, Copy)]
struct Progress {
    end_unix_ns: u64,
    minutes_done: usize,
}

pub(crate) fn run(args: &Args) -> Result<Value> {
    let notes = args.store.with_extension("progress");
    let mut progress = read_progress(&notes)?;
    let store = SqliteStore::open(&args.store, StoreOptions::default())?;
    let fleet = Fleet::new(FleetSize::of(args.hosts), 1);
    let minutes = minutes(args.days);
    let begun = Instant::now();
    while progress.minutes_done < minutes.len() {
        let left = &minutes[progress.minutes_done..];
        let round = &left[..left.len().min(ROUND_MINUTES)];
        write(&store, &fleet, progress.end_unix_ns, round)?;
        progress.minutes_done += round.len();
        let last = progress.end_unix_ns - round.last().copied().unwrap_or(0) * MINUTE_NS;
        store.compact(last + MINUTE_NS)?;
        write_progress(&notes, progress)?;
    }
    store.compact(progress.end_unix_ns + MINUTE_NS)?;
    let stats = store.stats()?;
    Ok(json!({
        "end_unix_ns": progress.end_unix_ns,
        "batches": stats.batches_stored,
        "samples": stats.samples_stored,
        "bytes_on_disk": stats.bytes_on_disk,
        "seconds": begun.elapsed().as_secs_f64(),
        "services": fleet.services_of(0).map(|n| fleet.service_name(n)).collect::<Vec<_>>(),
    }))
}

/// The minutes that are written, the oldest first, each as its distance from the end.
fn minutes(days: u64) -> Vec<u64> {
    (1..=days * DAY_MINUTES + BEFORE_MINUTES).rev().collect()
}

/// Writes some minutes; those that are there already count as duplicates.
fn write(store: &SqliteStore, fleet: &Fleet, end_unix_ns: u64, minutes: &[u64]) -> Result<()> {
    let hosts = fleet.size().agents;
    let mut batches = Vec::new();
    for minute in minutes {
        let start = end_unix_ns - minute * MINUTE_NS;
        if *minute > WHOLE_MINUTES {
            let agent = (*minute % u64::from(hosts)) as u32;
            batches.push((sent(agent, start, MINUTE_NS), Some(SAMPLES)));
            continue;
        }
        for window in 0..6 {
            let start = start + window * 10 * SECOND_NS;
            batches.extend((0..hosts).map(|agent| (sent(agent, start, 10 * SECOND_NS), None)));
        }
    }
    let (fleet, batches) = (&fleet, &batches);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || -> Result<()> {
                    for (sent, samples) in batches.iter().skip(writer).step_by(WRITERS) {
                        store.write_whole(&match samples {
                            Some(samples) => fleet.summed(*sent, *samples),
                            None => fleet.batch(*sent),
                        })?;
                    }
                    Ok(())
                })
            })
            .collect();
        writers
            .into_iter()
            .try_for_each(|writer| writer.join().map_err(|_panic| anyhow!("a writer panicked"))?)
    })
}

/// The time makes the sequence, so that each batch is written once however often it is tried.
fn sent(agent: u32, start_unix_ns: u64, length_ns: u64) -> SentBatch {
    let window = Window { start_unix_ns, end_unix_ns: start_unix_ns + length_ns };
    SentBatch { agent, epoch: 1, sequence: start_unix_ns / SECOND_NS, window }
}

fn read_progress(notes: &Path) -> Result<Progress> {
    let Ok(text) = fs::read_to_string(notes) else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
        let end_unix_ns = u64::try_from(now.as_nanos())? / MINUTE_NS * MINUTE_NS;
        return Ok(Progress { end_unix_ns, minutes_done: 0 });
    };
    let broken =
        || format!("`{}` is no progress of a fill; remove it and the store", notes.display());
    let (end, done) = text.trim().split_once(' ').with_context(broken)?;
    Ok(Progress {
        end_unix_ns: end.parse().with_context(broken)?,
        minutes_done: done.parse().with_context(broken)?,
    })
}

fn write_progress(notes: &Path, progress: Progress) -> Result<()> {
    let Progress { end_unix_ns, minutes_done } = progress;
    fs::write(notes, format!("{end_unix_ns} {minutes_done}\n"))
        .with_context(|| format!("failed to write `{}`", notes.display()))
}
