//! Kills the collector again and again while agents send: what was acknowledged is there, once, and it opens at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use harness::collector::{Collector, CollectorPlace};
use harness::load::{Drive, Fleet, FleetSize, Journal, Pace, SentBatch, Window};
use harness::{report, scenario};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

/// Kills, which take a minute; `FLAMEWATCH_CRASH_ROUNDS` names another number.
const ROUNDS: u32 = 100;

/// Agents enough that a commit holds the batches of several.
const SIZE: FleetSize = FleetSize { agents: 40, hosts_per_group: 20, services: 2, rows: 50 };

/// Each agent sends so often, or as fast as its last batch is acknowledged.
const EVERY: Duration = Duration::from_millis(100);

const WINDOW_NS: u64 = 10_000_000_000;
const MINUTE_NS: u64 = 60 * 1_000_000_000;

/// Opening takes below a second on an idle machine; tests share theirs.
const OPEN_MAX: Duration = Duration::from_secs(10);

/// How long all agents may take to send what is left.
const DRAIN_MAX: Duration = Duration::from_secs(60);

#[test]
fn what_was_acknowledged_survives_every_kill_exactly_once() {
    scenario("crash", |scenario| {
        let rounds = match std::env::var("FLAMEWATCH_CRASH_ROUNDS") {
            Ok(rounds) => rounds.parse().context("`FLAMEWATCH_CRASH_ROUNDS` is no number")?,
            Err(_) => ROUNDS,
        };
        let place = CollectorPlace::new(scenario, "")?;
        let load = Load::start(&place)?;
        let mut random = fastrand::Rng::with_seed(seed()?);
        let mut opened = Vec::new();
        for round in 0..rounds {
            let begun = Instant::now();
            let mut collector = place.start_asking_every(Duration::from_millis(5))?;
            opened.push(begun.elapsed());
            // Every third time it dies while it is still busy with what piled up.
            let life_ms = if round % 3 == 0 { random.u64(0..60) } else { random.u64(60..900) };
            check_sums(&collector, &load.journal)?;
            sleep(Duration::from_millis(life_ms));
            collector.running().signal(Signal::KILL)?;
            collector.running().wait(Duration::from_secs(5))?;
        }
        let collector = place.start()?;
        let (journal, fleet, epoch_start) = load.finish()?;
        let batches: u64 = (0..SIZE.agents).map(|agent| journal.acknowledged(agent)).sum();
        ensure!(journal.summary().rejected == 0, "refused: {:?}", journal.summary());
        ensure!(collector.status("samples_stored")? == journal.samples(), "the total is wrong");
        ensure!(collector.status("batches_stored")? == batches, "a batch is missing, or twice");
        check_each_minute(&collector, &fleet, &journal, epoch_start)?;
        report_times(rounds, batches, &journal, opened)
    });
}

/// Agents that send until told to stop.
struct Load {
    journal: Arc<Journal>,
    fleet: Arc<Fleet>,
    start_unix_ns: u64,
    stop: CancellationToken,
    thread: JoinHandle<Result<()>>,
}

impl Load {
    fn start(place: &CollectorPlace) -> Result<Self> {
        let fleet = Arc::new(Fleet::new(SIZE, 1));
        let journal = Arc::new(Journal::new(SIZE.agents));
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let start_unix_ns = (now - 24 * 60 * MINUTE_NS) / MINUTE_NS * MINUTE_NS;
        let stop = CancellationToken::new();
        let drive = Drive {
            fleet: Arc::clone(&fleet),
            journal: Arc::clone(&journal),
            url: place.grpc_url(),
            connections: SIZE.agents,
            pace: Pace::Past { every: EVERY, start_unix_ns },
            retry_after: Duration::from_millis(20),
        };
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drive.run(told))
        });
        Ok(Self { journal, fleet, start_unix_ns, stop, thread })
    }

    /// Ends when the last batch of each agent is acknowledged.
    fn finish(self) -> Result<(Arc<Journal>, Arc<Fleet>, u64)> {
        self.stop.cancel();
        let deadline = Instant::now() + DRAIN_MAX;
        while !self.thread.is_finished() {
            ensure!(Instant::now() < deadline, "batches are left: {:?}", self.journal.summary());
            sleep(Duration::from_millis(20));
        }
        self.thread.join().map_err(|_panic| anyhow::anyhow!("the agents panicked"))??;
        Ok((self.journal, self.fleet, self.start_unix_ns))
    }
}

/// What was acknowledged when the question was asked is in the answer.
fn check_sums(collector: &Collector, journal: &Journal) -> Result<()> {
    let acknowledged = journal.samples();
    let stored = collector.status("samples_stored")?;
    ensure!(stored >= acknowledged, "{acknowledged} samples acknowledged, {stored} stored");
    Ok(())
}

/// Each batch has its own number of samples, so a missing or doubled one shows in its minute.
fn check_each_minute(
    collector: &Collector,
    fleet: &Fleet,
    journal: &Journal,
    start_unix_ns: u64,
) -> Result<()> {
    for agent in 0..SIZE.agents {
        let mut expected: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for sequence in 1..=journal.acknowledged(agent) {
            let start = start_unix_ns + (sequence - 1) * WINDOW_NS;
            let window = Window { start_unix_ns: start, end_unix_ns: start + WINDOW_NS };
            let batch = fleet.batch(SentBatch { agent, epoch: 1, sequence, window });
            for (number, service) in fleet.services_of(agent).zip(&batch.services) {
                let samples: u64 = service.counts.iter().sum();
                *expected.entry((number, start / MINUTE_NS)).or_default() += samples;
            }
        }
        let mut found: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for number in fleet.services_of(agent) {
            for (minute, samples) in minutes(collector, fleet, agent, number)? {
                *found.entry((number, minute)).or_default() += samples;
            }
        }
        ensure!(found == expected, "agent {agent}: {}", first_difference(&found, &expected));
    }
    Ok(())
}

fn minutes(
    collector: &Collector,
    fleet: &Fleet,
    agent: u32,
    service: u32,
) -> Result<Vec<(u64, u64)>> {
    let (service, host) = (fleet.service_name(service), Fleet::host(agent));
    let question = format!("series?service={service}&host={host}&step=60&from=-25h&to=now");
    let answer = collector.api(&question)?;
    let points = answer["points"].as_array().context("no `points`")?;
    let number = |point: &serde_json::Value, name: &str| {
        point[name].as_u64().with_context(|| format!("no number `{name}` in {point}"))
    };
    points
        .iter()
        .map(|point| Ok((number(point, "start_unix_ns")? / MINUTE_NS, number(point, "samples")?)))
        .collect()
}

fn first_difference(
    found: &BTreeMap<(u32, u64), u64>,
    expected: &BTreeMap<(u32, u64), u64>,
) -> String {
    let keys = found.keys().chain(expected.keys());
    let differing = keys.filter(|key| found.get(key) != expected.get(key)).min();
    differing.map_or_else(String::new, |key| {
        let (found, expected) = (found.get(key), expected.get(key));
        format!("service {} in minute {}: {found:?} for {expected:?}", key.0, key.1)
    })
}

fn report_times(
    rounds: u32,
    batches: u64,
    journal: &Journal,
    mut opened: Vec<Duration>,
) -> Result<()> {
    opened.sort_unstable();
    let slowest = opened.last().copied().context("no rounds")?;
    let median = opened[opened.len() / 2];
    let summary = journal.summary();
    report(&format!(
        "{rounds} kills: {batches} batches ({} samples) acknowledged, each stored once; {} sent again; \
         from start to ready {} ms in the middle, {} ms at most",
        journal.samples(),
        summary.retries,
        median.as_millis(),
        slowest.as_millis()
    ));
    ensure!(slowest < OPEN_MAX, "opening took {} ms", slowest.as_millis());
    Ok(())
}

/// The moments of the kills differ from run to run; the seed is told, for a run that fails.
fn seed() -> Result<u64> {
    let seed = match std::env::var("FLAMEWATCH_CRASH_SEED") {
        Ok(seed) => seed.parse().context("`FLAMEWATCH_CRASH_SEED` is no number")?,
        Err(_) => fastrand::u64(..),
    };
    report(&format!("FLAMEWATCH_CRASH_SEED={seed}"));
    Ok(seed)
}
