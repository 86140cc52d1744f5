//! The promises of a store, and random histories beside a model, on ClickHouse: Debian's 18.16 as a cluster of 2 shards
//! with 2 replicas, and the current engine alone.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]

#[path = "../conformance/mod.rs"]
mod conformance;
#[expect(dead_code, unreachable_pub, reason = "scenarios use the rest")]
#[path = "../../../tests/harness/clickhouse.rs"]
mod cluster;
mod chdb;

use std::path::Path;

use conformance::promises::keeps_all;
use conformance::random::histories_agree_with_the_model;
use conformance::subject::Subject;
use flamewatch_collector::store::{ClickHouseAddress, ClickHouseStore, Store};

/// Histories for one run: each step is some statements, and each question a dozen.
const HISTORIES: u32 = 3;

fn subject(address: &str) -> Subject {
    let address = ClickHouseAddress::parse(address).unwrap();
    Subject::new(move || -> Box<dyn Store> {
        Box::new(ClickHouseStore::open(address.clone()).unwrap())
    })
}

/// Says why a test cannot run; in CI that is a failure.
fn skip(why: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "skipped: {why}; in CI a skipped test is a failed one");
    eprintln!("skipped: {why}");
}

fn check(address: &str) {
    let mut subject = subject(address);
    // Histories first: the promises end with retention.
    histories_agree_with_the_model(&mut subject, HISTORIES);
    keeps_all(&mut subject);
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

#[test]
fn a_cluster_keeps_every_promise_and_answers_as_the_model() {
    if let Some(why) = cluster::missing() {
        return skip(&why);
    }
    let folder = folder();
    let cluster = cluster::Cluster::start(folder.path()).unwrap();
    check(&cluster.address("flamewatch"));
}

#[test]
fn the_current_engine_keeps_every_promise_and_answers_as_the_model() {
    let Some(python) = chdb::python() else {
        return skip("needs Python's chdb-core; `cargo xtask test` installs it");
    };
    let folder = folder();
    let engine = chdb::Chdb::start(&python, folder.path()).unwrap();
    check(&engine.address());
}
