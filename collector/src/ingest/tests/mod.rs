//! Batches through a real server and a real client on loopback.

mod load;
mod poison;

use std::sync::Arc;
use std::time::SystemTime;

use profiler_common::wire::v1::ingest_client::IngestClient;
use profiler_common::wire::{PROTOCOL_VERSION, SEND, SEND_WHOLE, v1};
use tempfile::TempDir;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use super::*;
use crate::store::{Selection, SqliteStore, TimeRange};

const RETENTION_NS: u64 = 86_400 * 1_000_000_000;

fn open() -> (TempDir, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db"), Default::default()).unwrap();
    (folder, Arc::new(store))
}

fn service(store: Arc<dyn Store>) -> IngestService {
    IngestService::new(store, Arc::new(Metrics::new()), RETENTION_NS)
}

/// Serves on a free port; returns its address.
fn serve(service: IngestService) -> String {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(service.into_server());
    tokio::spawn(server.serve_with_incoming(incoming));
    format!("http://{address}")
}

/// A client whose host has this address.
async fn connect(server: &str, from: [u8; 4]) -> IngestClient<Channel> {
    let endpoint = Endpoint::from_shared(server.to_owned()).unwrap();
    let channel = endpoint.local_address(Some(from.into())).connect().await.unwrap();
    IngestClient::new(channel)
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_encoding_message_size(1 << 30)
}

async fn start() -> (TempDir, Arc<SqliteStore>, IngestClient<Channel>) {
    let (folder, store) = open();
    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let client = connect(&serve(service(shared)), [127, 0, 0, 1]).await;
    (folder, store, client)
}

fn batch() -> v1::Batch {
    let now = unix_ns(SystemTime::now());
    let service = v1::ServiceProfile {
        service: 1,
        period_ns: 1000,
        stacks: vec![0],
        counts: vec![3],
        ..Default::default()
    };
    v1::Batch {
        protocol: PROTOCOL_VERSION,
        agent_id: "agent".to_owned(),
        epoch: 1,
        sequence: 1,
        host: "host".to_owned(),
        start_unix_ns: now - 1,
        end_unix_ns: now,
        strings: ["", "svc", "main"].map(str::to_owned).into(),
        frames: vec![v1::Frame { kind: 1, function: 2, ..Default::default() }],
        stacks: vec![v1::Stack { frames: vec![0] }],
        services: vec![service],
        accounting: None,
        host_labels: Vec::new(),
    }
}

fn request(batch: v1::Batch) -> v1::PushRequest {
    v1::PushRequest { batch: Some(batch), ..Default::default() }
}

#[tokio::test]
async fn a_pushed_batch_is_stored_once_and_said_to_be() {
    let (_folder, store, mut client) = start().await;
    let pushed = client.push(request(batch())).await.unwrap().into_inner();
    assert_eq!(pushed.outcome(), v1::Outcome::Stored);
    let pushed = client.push(request(batch())).await.unwrap().into_inner();
    assert_eq!(pushed.outcome(), v1::Outcome::Duplicate);
    assert_eq!(store.stats().unwrap().samples_stored, 3);
}

#[tokio::test]
async fn what_can_never_be_stored_is_refused_for_good() {
    let (_folder, store, mut client) = start().await;
    let invalid = v1::Batch { sequence: 0, ..batch() };
    assert_eq!(client.push(request(invalid)).await.unwrap_err().code(), Code::InvalidArgument);
    let other = v1::Batch { protocol: 9, ..batch() };
    assert_eq!(client.push(request(other)).await.unwrap_err().code(), Code::FailedPrecondition);
    let empty = v1::PushRequest::default();
    assert_eq!(client.push(empty).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(store.stats().unwrap().batches_stored, 0);
}

#[tokio::test]
async fn a_message_that_unpacks_past_the_limit_is_refused_and_the_server_lives() {
    let (_folder, _store, mut client) = start().await;
    let mut bomb = batch();
    // 32 MiB of one byte: a few kilobytes on the wire.
    bomb.strings.extend(std::iter::repeat_n("x".repeat(4096), 8192));
    assert!(client.push(request(bomb)).await.is_err());
    assert!(client.push(request(batch())).await.is_ok());
}

#[tokio::test]
async fn a_full_disk_asks_the_agent_to_come_again() {
    let (_folder, store, mut client) = start().await;
    store.limit_pages(2).unwrap();
    let mut big = batch();
    for index in 0..2000_u32 {
        big.strings.push(format!("{index:0>60}"));
        big.frames.push(v1::Frame { kind: 1, function: index + 3, ..Default::default() });
        big.stacks.push(v1::Stack { frames: vec![index + 1] });
        big.services[0].stacks.push(index + 1);
        big.services[0].counts.push(1);
    }
    let error = client.push(request(big.clone())).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    store.limit_pages(1 << 20).unwrap();
    let pushed = client.push(request(big)).await.unwrap().into_inner();
    assert_eq!(pushed.outcome(), v1::Outcome::Stored);
    assert_eq!(store.stats().unwrap().samples_stored, 2003);
}

/// A push of the batch's only stack, by definition in slot 3 or by that slot alone.
fn in_session(sequence: u64, push: u64, is_told: bool) -> v1::PushRequest {
    let mut batch = v1::Batch { sequence, ..batch() };
    batch.services[0].stacks.clear();
    batch.services[0].stack_steps = vec![if is_told { 3 } else { 0 }];
    if is_told {
        batch.stacks.clear();
        batch.frames.clear();
    }
    let slots = if is_told { Vec::new() } else { vec![4] };
    let session = v1::Session { id: 7, push, acknowledged: push - 1, slots };
    v1::PushRequest { session: Some(session), ..request(batch) }
}

#[tokio::test]
async fn a_stack_is_told_once_and_asked_for_again_when_it_is_forgotten() {
    let (folder, store, mut client) = start().await;
    client.push(in_session(1, 1, false)).await.unwrap();
    client.push(in_session(2, 2, true)).await.unwrap();
    let profile = |store: &SqliteStore| {
        let selection = Selection { service: "svc".to_owned(), labels: Vec::new() };
        let ever = TimeRange { start_unix_ns: 0, end_unix_ns: u64::MAX };
        let merged = store.merge(&selection, ever).unwrap();
        (merged.profile.dictionary().stacks().len(), merged.profile.total())
    };
    assert_eq!(profile(&store), (1, 6));
    // Another collector, or this one after a restart.
    let shared: Arc<dyn Store> = Arc::clone(&store) as _;
    let mut client = connect(&serve(service(shared)), [127, 0, 0, 1]).await;
    let refused = client.push(in_session(3, 3, true)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.metadata().get(SEND).unwrap(), SEND_WHOLE);
    client.push(in_session(3, 1, false)).await.unwrap();
    assert_eq!(profile(&store), (1, 9));
    drop(folder);
}

#[tokio::test]
async fn a_stack_that_retention_took_is_asked_for() {
    let (_folder, store, mut client) = start().await;
    client.push(in_session(1, 1, false)).await.unwrap();
    store.retain(unix_ns(SystemTime::now()) + 3 * RETENTION_NS).unwrap();
    let refused = client.push(in_session(2, 2, true)).await.unwrap_err();
    assert_eq!(refused.metadata().get(SEND).unwrap(), SEND_WHOLE, "{refused}");
    client.push(in_session(2, 1, false)).await.unwrap();
}

#[tokio::test]
async fn another_protocol_is_refused_with_what_to_do_and_may_come_again() {
    let (_folder, _store, mut client) = start().await;
    let other = v1::Batch { protocol: 1, ..batch() };
    let refused = client.push(request(other)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("speaks protocol 1, this collector speaks 2"), "{refused}");
    assert!(refused.metadata().get(SEND).is_none());
}

#[tokio::test]
async fn a_clock_that_is_a_week_ahead_loses_nothing() {
    let (_folder, store, mut client) = start().await;
    let week = 7 * 86_400 * 1_000_000_000;
    let mut early = batch();
    early.start_unix_ns += week;
    early.end_unix_ns += week;
    let early = v1::PushRequest { sent_unix_ns: early.end_unix_ns, ..request(early) };
    let refused = client.push(early.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("ahead of"), "{refused}");
    // The clock is set; the batch still has the wrong time.
    let now = unix_ns(SystemTime::now());
    client.push(v1::PushRequest { sent_unix_ns: now, ..early }).await.unwrap();
    let until_now = TimeRange { start_unix_ns: 0, end_unix_ns: now + 60_000_000_000 };
    assert_eq!(store.catalog(until_now).unwrap()[0].samples, 3);
}
