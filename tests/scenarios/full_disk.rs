//! Fills the disk under the store and under the spool: what was accepted stays.

use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;

use harness::agent::{AgentPlace, STOP_LIMIT};
use harness::batch::{batch, inflate, message, samples_in};
use harness::collector::CollectorPlace;
use harness::mount::SmallDisk;
use harness::workload::Workload;
use harness::{eventually, http, scenario};

/// Stacks that make a batch of about 300 kB which compresses badly.
const LARGE_STACKS: u32 = 2000;

/// More batches than the small disk can hold.
const BATCHES_MAX: u64 = 400;

const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;

#[test]
fn a_full_disk_under_the_store_refuses_and_keeps_what_was_accepted() {
    scenario("full_store", |scenario| {
        let disk = SmallDisk::mount(scenario.path("disk"), 16 << 10)?;
        let place = CollectorPlace::new(scenario, "")?.with_store(&disk.path().join("store.db"));
        let mut collector = place.start()?;
        let mut accepted = 0;
        let mut refused = None;
        for sequence in 1..=BATCHES_MAX {
            let mut large = batch("filler", sequence, 1)?;
            inflate(&mut large, LARGE_STACKS);
            let samples = samples_in(&large);
            match http::push_bytes(&place.grpc_address(), &message(large.clone()))? {
                OK => accepted += samples,
                status => {
                    refused = Some((status, large));
                    break;
                }
            }
        }
        let (status, large) = refused.ok_or_else(|| anyhow::anyhow!("the disk never filled"))?;
        ensure!(status != INVALID_ARGUMENT, "a full disk is no fault of the batch");
        ensure!(accepted > 0, "nothing was accepted");
        collector.running().still_runs()?;
        ensure!(collector.status("samples_stored")? == accepted, "refused samples were counted");

        // Neither the crash nor the full disk takes what was acknowledged.
        disk.fill()?;
        collector.running().signal(Signal::KILL)?;
        collector.running().wait(Duration::from_secs(5))?;
        disk.empty()?;
        drop(collector);
        let grown = std::process::Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(disk.path())
            .status()?;
        ensure!(grown.success(), "the disk cannot grow");
        let collector = place.start()?;
        ensure!(collector.status("samples_stored")? == accepted, "the crash took samples");
        let samples = samples_in(&large);
        ensure!(http::push_bytes(&place.grpc_address(), &message(large))? == OK, "still refused");
        ensure!(collector.status("samples_stored")? == accepted + samples, "not counted");
        Ok(())
    });
}

#[test]
fn a_full_disk_under_the_spool_is_said_and_loses_nothing_while_memory_lasts() {
    scenario("full_spool", |scenario| {
        let disk = SmallDisk::mount(scenario.path("disk"), 256)?;
        let place = CollectorPlace::new(scenario, "")?;
        let agent_place = AgentPlace::new(scenario, &place.grpc_url())?
            .frequency(99)
            .with_state(&disk.path().join("agent"));
        let _load = Workload::new("spin")?.arg(600).service("steady").start(scenario)?;
        let mut agent = agent_place.start()?;
        disk.fill()?;
        // No collector listens: everything goes to the spool, which has no room.
        eventually::some("the full disk is said", Duration::from_secs(30), || {
            agent.running().still_runs()?;
            Ok(agent.running().output().contains("No space left").then_some(()))
        })?;
        sleep(Duration::from_secs(10));
        let before = agent.accounts()?;
        ensure!(before.pending > 500, "nothing waits: {before:?}");

        let collector = place.start()?;
        eventually::some("what waited arrives", Duration::from_secs(60), || {
            let now = agent.accounts()?;
            Ok((now.acknowledged + now.lost >= before.pending).then_some(()))
        })?;
        disk.empty()?;
        agent.running().stop_cleanly(STOP_LIMIT)?;
        let (taken, stored) =
            (collector.status("samples_taken")?, collector.status("samples_stored")?);
        let lost = collector.lost()?;
        ensure!(lost == 0, "{lost} of {taken} samples were lost though memory had room");
        ensure!(taken == stored, "{taken} taken, {stored} stored, nothing lost");
        Ok(())
    });
}
