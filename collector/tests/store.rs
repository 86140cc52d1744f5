//! The promises of a store, and random histories beside a model, on SQLite.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

mod conformance;

use conformance::model::Model;
use conformance::promises::keeps_all;
use conformance::random::histories_agree_with_the_model;
use conformance::subject::Subject;
use flamewatch_collector::store::{SqliteStore, StoreOptions};

/// Histories for one run: a few seconds in a debug build.
const HISTORIES: u32 = 64;

fn sqlite() -> (tempfile::TempDir, Subject) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = move || -> Box<dyn flamewatch_collector::store::Store> {
        Box::new(SqliteStore::open(&path, StoreOptions::default()).unwrap())
    };
    (folder, Subject::new(open))
}

#[test]
fn sqlite_keeps_every_promise() {
    let (_folder, mut subject) = sqlite();
    keeps_all(&mut subject);
}

#[test]
fn sqlite_answers_as_the_model_does_whatever_happened() {
    let (_folder, mut subject) = sqlite();
    histories_agree_with_the_model(&mut subject, HISTORIES);
}

#[test]
fn a_store_that_counted_a_repetition_would_be_found() {
    let model = Model::default();
    let sent = conformance::batches::Sent::new("svc", 1, conformance::batches::T0, &[2]);
    sent.write(&model).unwrap();
    let all = conformance::answers::select("svc", &[]);
    let before = conformance::answers::answers(&model, &all, conformance::answers::ALWAYS);
    conformance::batches::Sent { sequence: 2, ..sent }.write(&model).unwrap();
    let after = conformance::answers::answers(&model, &all, conformance::answers::ALWAYS);
    assert_ne!(before, after);
}
