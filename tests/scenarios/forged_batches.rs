//! Sends the collector what no agent would send.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use harness::batch::{batch, message, next, parse, samples_in};
use harness::collector::CollectorPlace;
use harness::{http, scenario};

/// Mutated messages that are sent; the seed is fixed, so a failure comes again.
const FORGERIES: u64 = 400;

const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;

#[test]
fn forged_batches_are_refused_and_cost_nothing_that_was_accepted() {
    scenario("forged_batches", |scenario| {
        let mut collector = CollectorPlace::new(scenario, "")?.start()?;
        let address = collector.place().grpc_address();
        let genuine = message(batch("genuine", 1, 1000)?);
        ensure!(http::push_bytes(&address, &genuine)? == OK, "a valid batch was refused");
        ensure!(http::push_bytes(&address, &genuine)? == OK, "a repeated batch was refused");
        ensure!(collector.status("samples_stored")? == 1000, "a repeated batch counts once");

        let mut stored = 1000;
        let mut refused = 0;
        let mut seen = BTreeSet::from([("genuine".to_owned(), 1, 1)]);
        let mut state = 0x0005_eed0_f1a3_e3a7;
        for _ in 0..FORGERIES {
            let forged = mutated(&genuine, &mut state);
            match http::push_bytes(&address, &forged)? {
                OK => {
                    let batch = parse(&forged).context("what is no batch was accepted")?;
                    if seen.insert((batch.agent_id.clone(), batch.epoch, batch.sequence)) {
                        stored += samples_in(&batch);
                    }
                }
                _ => refused += 1,
            }
        }
        ensure!(refused > FORGERIES / 4, "only {refused} of {FORGERIES} forgeries were refused");
        collector.running().still_runs()?;
        let status = collector.api("status")?;
        ensure!(collector.status("samples_stored")? == stored, "expected {stored} in {status}");
        no_panic(&collector.running().output())
    });
}

#[test]
fn a_batch_that_breaks_a_rule_is_refused_for_good() {
    scenario("bad_batches", |scenario| {
        let mut collector = CollectorPlace::new(scenario, "")?.start()?;
        let address = collector.place().grpc_address();
        let valid = batch("rules", 1, 10)?;
        let mut bad = vec![valid.clone(); 6];
        bad[0].stacks[0].frames.push(99);
        bad[1].frames[0].function = 99;
        bad[2].services[0].stacks[0] = 99;
        bad[3].services[0].counts.push(1);
        bad[4].agent_id.clear();
        bad[5].end_unix_ns = bad[5].start_unix_ns.saturating_sub(1);
        for (rule, broken) in bad.into_iter().enumerate() {
            let status = http::push_bytes(&address, &message(broken))?;
            ensure!(status == INVALID_ARGUMENT, "broken rule {rule} was answered {status}");
        }
        let truncated = message(valid.clone());
        let status = http::push_bytes(&address, &truncated[..truncated.len() / 2])?;
        ensure!(status != OK, "half a message was accepted");
        for noise in [vec![], vec![0; 3], vec![0xff; 64], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
            // Refused in whatever way: a status, or a closed stream.
            if let Ok(status) = http::push_body(&address, noise.clone()) {
                ensure!(status != OK, "{noise:?} was accepted");
            }
        }
        ensure!(http::push_bytes(&address, &message(valid))? == OK, "a valid batch was refused");
        ensure!(collector.status("samples_stored")? == 10, "a refused batch was counted");
        collector.running().still_runs()?;
        no_panic(&collector.running().output())
    });
}

fn no_panic(log: &str) -> Result<()> {
    ensure!(!log.contains("panicked at"), "the collector panicked:\n{log}");
    Ok(())
}

/// The message with a few bytes changed, or cut, or both.
fn mutated(message: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = message.to_vec();
    let pick = |state: &mut u64, below: usize| {
        usize::try_from(next(state) % u64::try_from(below.max(1)).unwrap_or(1)).unwrap_or(0)
    };
    for _ in 0..=pick(state, 4) {
        let at = pick(state, bytes.len());
        bytes[at] = next(state).to_le_bytes()[0];
    }
    if pick(state, 3) == 0 {
        bytes.truncate(pick(state, bytes.len()));
    }
    bytes
}
