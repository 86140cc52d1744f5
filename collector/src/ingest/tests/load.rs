//! Floods, and messages that unpack to more than anyone asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use profiler_common::wire::RETRY_AFTER_MS;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};

use super::*;

/// Pushes of a flood that are on their way at any time.
const FLOOD: u64 = 256;

/// Pushes one after the other under ever new names until told to stop, and counts the answers.
async fn flood(
    mut client: IngestClient<Channel>,
    number: u64,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
) {
    for sequence in 1.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let agent_id = format!("flood-{number}");
        let flooding = v1::Batch { agent_id, sequence, ..wide() };
        client.push(request(flooding)).await.unwrap();
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A batch of 300 stacks.
fn wide() -> v1::Batch {
    let mut batch = batch();
    for index in 0..300_u32 {
        batch.strings.push(format!("{index:0>60}"));
        batch.frames.push(v1::Frame { kind: 1, function: index + 3, ..Default::default() });
        batch.stacks.push(v1::Stack { frames: vec![index + 1] });
        batch.services[0].stacks.push(index + 1);
        batch.services[0].counts.push(1);
    }
    batch
}

/// A quarter of what waits: those inside when another's push comes, as many of the places that become free meanwhile, and
/// those that the scheduler puts between an answer and its reading. In one line for all it would be all of it.
const BEFORE_ONE_MAX: u64 = FLOOD / 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the figure is in docs/ingest.md")]
async fn a_flood_from_one_host_does_not_make_another_wait() {
    let (_folder, store) = open();
    let server = serve(service(store));
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // The flood has a thread of its own, so that it is not the reader of the other's answers that waits.
    let flooding = std::thread::spawn({
        let (server, is_over, answered) =
            (server.clone(), Arc::clone(&is_over), Arc::clone(&answered));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut all = tokio::task::JoinSet::new();
                for number in 0..FLOOD {
                    let client = connect(&server, [127, 0, 0, 2]).await;
                    all.spawn(flood(client, number, Arc::clone(&is_over), Arc::clone(&answered)));
                }
                all.join_all().await;
            });
        }
    });
    let mut quiet = connect(&server, [127, 0, 0, 1]).await;
    while answered.load(Ordering::Relaxed) < FLOOD {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let mut before_one = Vec::new();
    for sequence in 1..=25 {
        let before = answered.load(Ordering::Relaxed);
        quiet.push(request(v1::Batch { sequence, ..batch() })).await.unwrap();
        before_one.push(answered.load(Ordering::Relaxed) - before);
    }
    is_over.store(true, Ordering::Relaxed);
    flooding.join().unwrap();
    before_one.sort_unstable();
    println!("of the flood were answered before one push of another host: {before_one:?}");
    // A busy machine stops this task for a while and no flood: outliers say nothing.
    let median = before_one[before_one.len() / 2];
    assert!(median <= BEFORE_ONE_MAX, "{before_one:?}");
}

#[tokio::test]
async fn who_sends_too_much_is_told_when_to_come_again() {
    let (_folder, store) = open();
    let mut service = service(store);
    service.limits.rate = bucket::Rate { bytes_per_second: 1000, burst_bytes: 1 };
    let mut client = connect(&serve(service), [127, 0, 0, 1]).await;
    client.push(request(wide())).await.unwrap();
    let refused = client.push(request(v1::Batch { sequence: 2, ..batch() })).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let after = refused.metadata().get(RETRY_AFTER_MS).unwrap().to_str().unwrap();
    assert!((1000..=60_000).contains(&after.parse::<u64>().unwrap()), "{after} ms");
}

/// A gRPC message of so many zeros, compressed, with the longest memory that a reader grants.
fn bomb(bytes: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
    packed.window_log(27).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        packed.write_all(&zeros).unwrap();
    }
    let packed = packed.finish().unwrap();
    let mut message = vec![1];
    message.extend((packed.len() as u32).to_be_bytes());
    message.extend(packed);
    message
}

/// A line of `/proc/self/status`, in KiB.
fn memory_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_gibibyte_of_zeros_is_refused_without_being_unpacked() {
    let (_folder, store) = open();
    let server = serve(service(store));
    let message = bomb(1 << 30);
    assert!(message.len() < 1 << 20);
    let mut channel = Endpoint::from_shared(server.clone()).unwrap().connect().await.unwrap();
    let request = http::Request::post(format!("{server}/flamewatch.v1.Ingest/Push"))
        .header("content-type", "application/grpc")
        .header("grpc-encoding", "zstd")
        .header("te", "trailers")
        .body(Body::new(reqwest::Body::from(message)))
        .unwrap();
    // Starts the record of the most memory anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory_kib("VmRSS:");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let response = channel.call(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).expect("refused at once");
    assert!(status.message().contains("size limit, of 16842752 bytes, exceeded"), "{status}");
    let most = memory_kib("VmHWM:").saturating_sub(before);
    // Other tests of this process take some as well.
    assert!(most < 300 << 10, "{most} KiB");
    let mut client = connect(&server, [127, 0, 0, 1]).await;
    client.push(super::request(batch())).await.unwrap();
}
