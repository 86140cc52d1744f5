//! Batches through a real server and a real client on loopback.

use std::sync::Arc;
use std::time::SystemTime;

use profiler_common::wire::v1::ingest_client::IngestClient;
use profiler_common::wire::{PROTOCOL_VERSION, v1};
use tempfile::TempDir;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};

use super::*;
use crate::store::SqliteStore;

const RETENTION_NS: u64 = 86_400 * 1_000_000_000;

async fn start() -> (TempDir, Arc<SqliteStore>, IngestClient<Channel>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db"), Default::default()).unwrap();
    let store = Arc::new(store);
    let service = IngestService::new(
        Arc::<SqliteStore>::clone(&store),
        Arc::new(Metrics::new()),
        RETENTION_NS,
    )
    .into_server();
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let client = IngestClient::connect(format!("http://{address}")).await.unwrap();
    let client = client
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_encoding_message_size(1 << 30);
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

#[tokio::test]
async fn a_push_too_many_is_refused_before_it_is_read_and_room_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store.db"), Default::default()).unwrap();
    let service = IngestService::new(Arc::new(store), Arc::new(Metrics::new()), RETENTION_NS);
    let mut admission =
        Admission { slots: Arc::clone(&service.slots), metrics: Arc::clone(&service.work.metrics) };
    let mut pushes: Vec<_> =
        (0..PUSHES_MAX).map(|_| admission.call(Request::new(())).unwrap()).collect();
    let refused = admission.call(Request::new(())).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    // The handler takes the place over, and gives it back after the batch is stored.
    let (_metadata, extensions, ()) = pushes.pop().unwrap().into_parts();
    let mut push = Request::new(request(batch()));
    *push.extensions_mut() = extensions;
    service.push(push).await.unwrap();
    admission.call(Request::new(())).unwrap();
}
