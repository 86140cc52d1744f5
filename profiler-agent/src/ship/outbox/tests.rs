//! The outbox against real folders, with restarts, damage and a full spool.

use super::*;
use crate::fold::ServiceWindow;
use crate::process::Identity;
use profiler_common::profile::{Frame, Profile, Quality};

fn open(folder: &Path, epoch: u64) -> Outbox {
    let options = OutboxOptions { spool_bytes_max: 1 << 20, epoch, facts: HostFacts::default() };
    Outbox::open(folder, options).unwrap()
}

fn window(samples: u64) -> Window {
    let mut profile = Profile::default();
    profile.add(&[Frame::marker("main")], samples);
    let identity = Identity {
        service: "s".to_owned(),
        version: String::new(),
        unit: String::new(),
        labels: Vec::new(),
    };
    let walks = Quality::default();
    let service = ServiceWindow { identity, period_ns: 1, profile, walks, syscalls: Vec::new() };
    Window { start_unix_ns: 1, end_unix_ns: 2, services: vec![service] }
}

fn take(outbox: &mut Outbox, samples: u64) {
    let total = outbox.totals().taken + samples;
    outbox.accounting_mut().drain(samples);
    assert_eq!(outbox.totals().taken, total);
    outbox.push(&window(samples));
}

#[track_caller]
fn check_balance(outbox: &Outbox, acknowledged: u64, pending: u64, lost: &[(&str, u64)]) {
    let totals = outbox.totals();
    assert_eq!((totals.acknowledged, totals.pending), (acknowledged, pending));
    let found: Vec<(&str, u64)> =
        totals.lost.iter().map(|(reason, samples)| (reason.as_str(), *samples)).collect();
    assert_eq!(found, lost);
    assert_eq!(totals.taken, acknowledged + pending + totals.lost_total());
}

#[test]
fn batches_survive_a_restart_and_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    let id = outbox.agent_id().to_owned();
    take(&mut outbox, 5);
    take(&mut outbox, 7);
    let (first, _) = outbox.next_batch().unwrap();
    outbox.acknowledge(first);
    drop(outbox);
    let mut outbox = open(folder.path(), 2);
    assert_eq!(outbox.agent_id(), id);
    check_balance(&outbox, 5, 7, &[]);
    let (second, batch) = outbox.next_batch().unwrap();
    assert_eq!((second, batch.sequence), (BatchKey { epoch: 1, sequence: 2 }, 2));
    assert_eq!(batch.accounting.unwrap().samples_taken, 7);
    outbox.acknowledge(second);
    assert!(outbox.next_batch().is_none());
    check_balance(&outbox, 12, 0, &[]);
}

#[test]
fn a_kill_in_the_middle_of_a_window_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    outbox.accounting_mut().observe_kernel(9, []);
    outbox.accounting_mut().drain(4);
    outbox.save().unwrap();
    drop(outbox);
    check_balance(&open(folder.path(), 2), 0, 0, &[("agent_killed", 9)]);
}

#[test]
fn what_was_taken_since_the_books_were_written_is_counted_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    take(&mut outbox, 5);
    outbox.accounting_mut().observe_kernel(9, []);
    outbox.note_taken();
    // No books are written after this, as when the process is killed.
    drop(outbox);
    check_balance(&open(folder.path(), 2), 0, 5, &[("agent_killed", 4)]);
    check_balance(&open(folder.path(), 3), 0, 5, &[("agent_killed", 4)]);
    fs::write(folder.path().join("taken"), b"99 and more").unwrap();
    check_balance(&open(folder.path(), 4), 0, 5, &[("agent_killed", 4)]);
}

#[test]
fn a_damaged_or_missing_file_is_lost_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    for samples in [3, 4, 5] {
        take(&mut outbox, samples);
    }
    let mut files: Vec<PathBuf> = fs::read_dir(folder.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    fs::write(&files[0], b"not a batch").unwrap();
    fs::remove_file(&files[1]).unwrap();
    drop(outbox);
    let mut outbox = open(folder.path(), 2);
    assert_eq!(outbox.next_batch().unwrap().1.sequence, 3);
    check_balance(&outbox, 0, 5, &[("spool_damaged", 3), ("spool_missing", 4)]);
}

#[test]
fn a_rejected_batch_is_lost_and_its_report_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    take(&mut outbox, 3);
    let (key, _) = outbox.next_batch().unwrap();
    outbox.reject(key);
    check_balance(&outbox, 0, 0, &[("rejected", 3)]);
    outbox.push(&Window::default());
    let accounting = outbox.next_batch().unwrap().1.accounting.unwrap();
    assert_eq!(accounting.samples_taken, 3);
    assert_eq!(accounting.lost, [v1::Loss { reason: "rejected".to_owned(), samples: 3 }]);
}

#[test]
fn without_books_the_files_are_taken_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    take(&mut outbox, 3);
    drop(outbox);
    fs::write(folder.path().join("accounting.json"), b"{").unwrap();
    check_balance(&open(folder.path(), 2), 0, 3, &[]);
}

#[test]
fn a_settled_file_that_came_back_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    take(&mut outbox, 3);
    let (key, batch) = outbox.next_batch().unwrap();
    outbox.acknowledge(key);
    outbox.spool.keep(key, 3, &batch.encode_to_vec());
    drop(outbox);
    let mut outbox = open(folder.path(), 2);
    assert!(outbox.next_batch().is_none());
    check_balance(&outbox, 3, 0, &[]);
}

#[test]
fn a_batch_that_is_being_stored_is_not_counted_as_lost_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let facts = HostFacts::default();
    let options = OutboxOptions { spool_bytes_max: 1, epoch: 1, facts };
    let mut outbox = Outbox::open(folder.path(), options).unwrap();
    let key = BatchKey { epoch: 1, sequence: 1 };
    // As a spool that is nearly full: the next batch does not fit beside the one on its way.
    outbox.spool.hold(key);
    take(&mut outbox, 3);
    assert_eq!(outbox.next_batch().unwrap().0, key);
    take(&mut outbox, 4);
    outbox.acknowledge(key);
    check_balance(&outbox, 3, 0, &[("spool_full", 4)]);
}

#[test]
fn a_batch_that_a_killed_agent_had_sent_is_not_counted_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut outbox = open(folder.path(), 1);
    take(&mut outbox, 3);
    // Stored by the collector, but the answer comes after the kill.
    let (key, _) = outbox.next_batch().unwrap();
    drop(outbox);
    let options = OutboxOptions { spool_bytes_max: 1, epoch: 2, facts: HostFacts::default() };
    let mut outbox = Outbox::open(folder.path(), options).unwrap();
    take(&mut outbox, 4);
    assert_eq!(outbox.next_batch().unwrap().0, key);
    outbox.acknowledge(key);
    check_balance(&outbox, 3, 0, &[("spool_full", 4)]);
}

#[test]
fn two_agents_cannot_share_a_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path(), 1);
    let options = OutboxOptions { spool_bytes_max: 1, epoch: 2, facts: HostFacts::default() };
    assert!(matches!(Outbox::open(folder.path(), options), Err(OutboxError::InUse(_))));
}
