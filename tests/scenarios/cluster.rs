//! Two collectors on a cluster of ClickHouse, a replica that is killed and comes back, and a collector that is killed:
//! what the cluster has in the end is what was sent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;

use harness::batch::{batch, message};
use harness::clickhouse::{Cluster, missing};
use harness::collector::CollectorPlace;
use harness::{eventually, http, report, scenario, skip};

/// How long batches are sent.
const LOAD: Duration = Duration::from_secs(60);

/// Agents that send at once, each one batch after another as an agent does.
const AGENTS: u64 = 4;

/// How long an agent waits between batches, and after a refusal, when its batch stays the same. Eight batches a second make
/// 64 new parts a second, which four servers on one machine can still merge.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest time until a batch is taken, and until the replica that came back has everything.
const SETTLED: Duration = Duration::from_secs(90);

/// Tables that each have all samples, and how their sums are asked for.
const SUMS: [&str; 4] = [
    "sum(samples) FROM flamewatch.window",
    "sum(samples) FROM flamewatch.stack_1m",
    "sum(samples) FROM flamewatch.stack_1h",
    "sumMerge(sum_samples) FROM flamewatch.activity_1h",
];

/// The first replica of the first shard, which all collectors write to.
const VICTIM: usize = 0;

#[test]
fn a_cluster_counts_each_sample_once_while_a_replica_and_a_collector_die() {
    if let Some(why) = missing() {
        assert!(!skip::is_ci(), "skipped: {why}; in CI a skipped scenario is a failed one");
        report(&format!("skipped: {why}"));
        return;
    }
    scenario("cluster", |scenario| {
        let mut cluster = Cluster::start(&scenario.path("clickhouse"))?;
        let address = cluster.address("flamewatch");
        let place =
            || Ok::<_, anyhow::Error>(CollectorPlace::new(scenario, "")?.with_store_at(&address));
        let first = place()?.start()?;
        let mut second = place()?.start()?;
        let collectors = [first.place().grpc_address(), second.place().grpc_address()];
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let agents: Vec<_> = (0..AGENTS)
                .map(|agent| {
                    let (collectors, stop) = (&collectors, &stop);
                    scope.spawn(move || send(agent, collectors, stop))
                })
                .collect();
            let disturbed = (|| {
                thread::sleep(LOAD / 4);
                cluster.kill(VICTIM)?;
                thread::sleep(LOAD / 4);
                cluster.restart(VICTIM)?;
                thread::sleep(LOAD / 4);
                second.running().signal(Signal::KILL)?;
                thread::sleep(LOAD / 4);
                Ok::<_, anyhow::Error>(())
            })();
            stop.store(true, Ordering::Relaxed);
            let mut sum = Sent::default();
            for agent in agents {
                let sent = agent.join().map_err(|_panic| anyhow!("an agent panicked"))??;
                sum.batches += sent.batches;
                sum.samples += sent.samples;
            }
            disturbed.map(|()| sum)
        })?;
        report(&format!("{} batches of {} samples", sent.batches, sent.samples));
        ensure!(sent.batches > AGENTS * 4, "only {} batches were taken", sent.batches);
        eventually::ok("the collector counts what was sent", SETTLED, || {
            let stored = first.status("samples_stored")?;
            ensure!(stored == sent.samples, "{stored} of {}", sent.samples);
            Ok(())
        })?;
        let shown = first.samples_of("forged-service", None)?;
        ensure!(shown == sent.samples, "the catalog has {shown} of {}", sent.samples);
        // Each server of its own, so that each replica has answered for its shard.
        for sum in SUMS {
            eventually::ok(sum, SETTLED, || replicas_have(&cluster, sum, sent.samples))?;
        }
        Ok(())
    });
}

/// What an agent sent.
#[derive(Debug, Default)]
struct Sent {
    batches: u64,
    samples: u64,
}

/// Sends batches until told to stop; the last one too is repeated until it is taken.
fn send(agent: u64, collectors: &[String; 2], stop: &AtomicBool) -> Result<Sent> {
    let mut sent = Sent::default();
    let mut turn = usize::try_from(agent).unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        let (sequence, samples) = (sent.batches + 1, 100 + sent.batches % 7);
        let bytes = message(batch(&format!("agent-{agent}"), sequence, samples)?);
        let begin = Instant::now();
        loop {
            match http::push_bytes(&collectors[turn % collectors.len()], &bytes) {
                Ok(0) => break,
                // Another collector may have more luck.
                _ => turn += 1,
            }
            ensure!(begin.elapsed() < SETTLED, "batch {sequence} of agent {agent} is not taken");
            thread::sleep(PAUSE);
        }
        sent.batches += 1;
        sent.samples += samples;
        thread::sleep(PAUSE);
    }
    Ok(sent)
}

/// Sums the shards over their first replicas, and over their second ones.
fn replicas_have(cluster: &Cluster, sum: &str, samples: u64) -> Result<()> {
    let sql = format!("SELECT {sum}_local");
    let of = |server: usize| -> Result<u64> {
        let answer = cluster.ask(server, &sql)?;
        answer.trim().parse().with_context(|| format!("`{answer}` is no number"))
    };
    for replicas in [[0, 2], [1, 3]] {
        let found = of(replicas[0])? + of(replicas[1])?;
        ensure!(found == samples, "servers {replicas:?} have {found} of {samples}");
    }
    Ok(())
}
