//! A process that dies between any two steps of its writes, and what the next one finds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::fold::ServiceWindow;
use crate::process::Identity;
use crate::ship::disk::{Faults, Step};
use profiler_common::profile::{Frame, Profile, Quality};

/// Does so many steps, and none after them.
#[derive(Debug)]
struct DiesAfter(AtomicU64);

impl DiesAfter {
    fn is_dead(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Faults for DiesAfter {
    fn before(&self, _step: Step, _path: &Path) -> io::Result<()> {
        let left = |left: u64| left.checked_sub(1);
        let done = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        done.map(drop).map_err(|_none_left| io::Error::other("the process is dead"))
    }
}

/// What a collector has: samples by batch.
type Stored = BTreeMap<BatchKey, u64>;

fn store(stored: &mut Stored, key: BatchKey, batch: &v1::Batch) {
    stored.insert(key, batch.services.iter().flat_map(|service| &service.counts).sum());
}

fn options(spool_bytes_max: u64, epoch: u64) -> OutboxOptions {
    OutboxOptions { spool_bytes_max, epoch, facts: HostFacts::default() }
}

fn window(samples: u64) -> Window {
    let mut profile = Profile::default();
    profile.add(&[Frame::marker("main")], samples);
    let service = "s".to_owned();
    let (version, unit, labels) = (String::new(), String::new(), Vec::new());
    let identity = Identity { service, version, unit, labels };
    let walks = Quality::default();
    let service = ServiceWindow { identity, period_ns: 1, profile, walks, syscalls: Vec::new() };
    Window { start_unix_ns: 1, end_unix_ns: 2, services: vec![service] }
}

/// A process makes windows and sends the oldest; the answer to every second batch is lost.
fn live(outbox: &mut Outbox, faults: &DiesAfter, stored: &mut Stored) {
    for round in 1..=5 {
        outbox.accounting_mut().drain(10 + round);
        outbox.note_taken();
        outbox.push(&window(10 + round));
        if faults.is_dead() {
            return;
        }
        let Some((key, batch)) = outbox.next_batch() else { continue };
        store(stored, key, &batch);
        if round % 2 == 0 {
            outbox.acknowledge(key);
        }
        if faults.is_dead() {
            return;
        }
    }
}

#[test]
fn a_death_between_any_two_steps_neither_forgets_nor_doubles_a_sample() {
    for spool_bytes_max in [500, 1 << 20] {
        for steps in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let faults = Arc::new(DiesAfter(AtomicU64::new(steps)));
            let mut stored = Stored::new();
            let disk = Disk::failing(Arc::clone(&faults) as _);
            let mut taken = 0;
            let opened = Outbox::open_on(disk, folder.path(), options(spool_bytes_max, 1));
            if let Ok(mut outbox) = opened {
                live(&mut outbox, &faults, &mut stored);
                taken = outbox.totals().taken;
            }
            let mut outbox = Outbox::open(folder.path(), options(spool_bytes_max, 2)).unwrap();
            while let Some((key, batch)) = outbox.next_batch() {
                store(&mut stored, key, &batch);
                outbox.acknowledge(key);
            }
            let totals = outbox.totals();
            let why = format!("{steps} steps, spool of {spool_bytes_max} bytes: {totals:?}");
            assert_eq!(totals.pending, 0, "{why}");
            assert_eq!(totals.taken, totals.acknowledged + totals.lost_total(), "{why}");
            assert_eq!(totals.acknowledged, stored.values().sum::<u64>(), "{why}");
            // The last note of the samples taken may not have been done; nothing else is forgotten.
            assert!(totals.taken <= taken && taken - totals.taken <= 16, "{taken} taken, {why}");
            if !faults.is_dead() {
                assert!(steps > 30, "{why}");
                break;
            }
        }
    }
}
