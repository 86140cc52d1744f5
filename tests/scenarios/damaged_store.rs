//! A disk that turns read-only, and pages that rot: what is said, what goes on, and what brings it back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::batch::{batch, inflate, message, samples_in};
use harness::collector::{CollectorPlace, STOP_LIMIT};
use harness::mount::LoopDisk;
use harness::running::Running;
use harness::{Scenario, http, report, scenario};

/// Page of a store.
const PAGE_BYTES: u64 = 4096;

/// Stacks of a batch of about 300 kB.
const LARGE_STACKS: u32 = 2000;

/// Batches that make a store of a few hundred pages.
const BATCHES: u64 = 10;

const OK: u32 = 0;
const UNAVAILABLE: u32 = 14;

#[test]
fn a_disk_that_turns_read_only_refuses_and_still_answers() {
    scenario("read_only_disk", |scenario| {
        let Some(disk) = LoopDisk::mount(scenario, 64 << 20)? else { return Ok(()) };
        let place = CollectorPlace::new(scenario, "")?.with_store(&disk.path().join("store.db"));
        let mut collector = place.start()?;
        let accepted = fill(&place)?;
        // As the kernel does after an error of the device.
        disk.turn_read_only()?;
        let late = batch("filler", BATCHES + 1, 7)?;
        let status = http::push_bytes(&place.grpc_address(), &message(late.clone()))?;
        ensure!(status == UNAVAILABLE, "the agent was told {status}, not to come again");
        collector.running().still_runs()?;
        ensure!(collector.status("samples_stored")? == accepted, "what is stored is not told");
        ensure!(collector.samples_of("forged-service", None)? == accepted, "it is not served");
        ensure!(collector.running().output().contains("read"), "the log does not say why");
        collector.running().signal(rustix::process::Signal::KILL)?;
        collector.running().wait(STOP_LIMIT)?;
        drop(collector);
        let said = refusal(scenario, &place)?;
        ensure!(said.contains("cannot be written") || said.contains("Read-only"), "{said}");
        report(&format!("on a read-only disk: {}", last_line(&said)));

        // Mounted anew, as after a repair, it goes on where it was.
        disk.mount_again()?;
        let collector = place.start()?;
        ensure!(collector.status("samples_stored")? == accepted, "the disk took samples");
        ensure!(http::push_bytes(&place.grpc_address(), &message(late))? == OK, "still refused");
        ensure!(collector.status("samples_stored")? == accepted + 7, "the late batch is not there");
        Ok(())
    });
}

#[test]
fn a_rotten_page_is_found_at_start_and_a_copy_brings_the_store_back() {
    scenario("rotten_page", |scenario| {
        let place = CollectorPlace::new(scenario, "")?.with_store(&scenario.path("store.db"));
        let mut collector = place.start()?;
        let accepted = fill(&place)?;
        collector.running().stop_cleanly(STOP_LIMIT)?;
        drop(collector);
        let store = scenario.path("store.db");
        // What was written last may still lie in its log, which belongs to it.
        let (log, copied) = (scenario.path("store.db-wal"), scenario.path("copy"));
        fs::create_dir(&copied)?;
        for file in [&store, &log].into_iter().filter(|file| file.exists()) {
            fs::copy(file, copied.join(file.file_name().context("a file has no name")?))
                .with_context(|| format!("failed to copy `{}`", file.display()))?;
        }
        let pages = fs::metadata(&store)?.len() / PAGE_BYTES;
        ensure!(pages > 100, "the store has only {pages} pages");
        rot(&store, pages / 2)?;
        let said = refusal(scenario, &place)?;
        ensure!(said.contains("damaged"), "the damage is not named: {said}");
        report(&format!("with a rotten page: {}", last_line(&said)));

        for file in [&store, &log, &scenario.path("store.db-shm")] {
            drop(fs::remove_file(file));
        }
        for file in fs::read_dir(&copied)? {
            let file = file?;
            fs::rename(file.path(), scenario.folder().join(file.file_name()))?;
        }
        let collector = place.start()?;
        ensure!(collector.status("samples_stored")? == accepted, "the copy lacks samples");
        Ok(())
    });
}

#[test]
fn a_page_that_rots_under_a_running_collector_ends_no_other_answer() {
    scenario("rotting_page", |scenario| {
        let place = CollectorPlace::new(scenario, "")?.with_store(&scenario.path("store.db"));
        let mut collector = place.start()?;
        let accepted = fill(&place)?;
        collector.running().stop_cleanly(STOP_LIMIT)?;
        drop(collector);
        let mut collector = place.start()?;
        let store = scenario.path("store.db");
        let pages = fs::metadata(&store)?.len() / PAGE_BYTES;
        for page in pages / 4..pages {
            rot(&store, page)?;
        }
        let question = "flamegraph?service=forged-service&from=-1h";
        let url = format!("{}/api/v1/{question}", place.url());
        let (status, answer) = http::get_status(&url)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(status == 500, "{status}: {answer:.300}");
        report(&format!("asked for what lies on rotten pages: {status} {answer:.200}"));
        collector.running().still_runs()?;
        ensure!(collector.status("samples_stored")? == accepted, "the rest is not served");
        http::get_text(&format!("{}/-/healthy", place.url()))?;
        Ok(())
    });
}

/// Pushes some batches; returns their samples.
fn fill(place: &CollectorPlace) -> Result<u64> {
    let mut accepted = 0;
    for sequence in 1..=BATCHES {
        let mut large = batch("filler", sequence, 1)?;
        inflate(&mut large, LARGE_STACKS);
        accepted += samples_in(&large);
        let status = http::push_bytes(&place.grpc_address(), &message(large))?;
        ensure!(status == OK, "batch {sequence} was answered with {status}");
    }
    Ok(accepted)
}

/// Starts a collector that must end by itself; returns what it said.
fn refusal(scenario: &Scenario, place: &CollectorPlace) -> Result<String> {
    let mut refused = Running::start("refused", scenario.folder(), &mut place.command()?)?;
    let status = refused.wait(Duration::from_secs(20))?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    Ok(refused.output())
}

/// Overwrites a page with bytes that are no page.
fn rot(store: &Path, page: u64) -> Result<()> {
    let file = File::options().write(true).open(store).context("failed to open the store")?;
    file.write_all_at(&[0xa5; PAGE_BYTES as usize], page * PAGE_BYTES)
        .context("failed to overwrite a page")
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}
