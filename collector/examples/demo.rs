//! Fills a new store with an hour of made-up profiles, for work on the page where no agent can run.
//!
//! `cargo run -p collector --example demo -- demo.sqlite`, then `flamewatch-collector serve --store sqlite:demo.sqlite`.
//! Service `checkout` goes from version 1.4.0 to 1.5.0 twenty minutes ago; `parse_cart` grows by a half and `fsync` slows.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use flamewatch_collector::store::{SqliteStore, Store as _, StoreOptions};
use indexmap::IndexSet;
use profiler_common::abi::latency::bucket_of;
use profiler_common::abi::sample::WalkEnd;
use profiler_common::profile::Quality;
use profiler_common::wire::{PROTOCOL_VERSION, v1};

const SECOND_NS: u64 = 1_000_000_000;
const WINDOW_NS: u64 = 10 * SECOND_NS;
const WINDOWS: u64 = 360;
const RELEASE_WINDOWS_AGO: u64 = 120;

/// Paths of `checkout` with their weights: `kind:module:function` from the root, separated by spaces.
const CHECKOUT: &[(&str, u64)] = &[
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:parse_cart i:checkout:json::Value::next",
        60,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:parse_cart n:libc.so.6:malloc",
        25,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:price_items n:checkout:Tax::rate",
        45,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:price_items i:checkout:Decimal::mul",
        35,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:store_order n:libc.so.6:write k:[kernel]:do_syscall_64 k:[kernel]:ksys_write k:[kernel]:ext4_file_write_iter",
        30,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:checkout:store_order n:libc.so.6:fsync k:[kernel]:do_syscall_64 k:[kernel]:ext4_sync_file",
        12,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:libc.so.6:epoll_wait k:[kernel]:do_syscall_64 k:[kernel]:ep_poll",
        10,
    ),
    (
        "n:checkout:main n:checkout:Server::run n:checkout:handle_request n:libssl.so.3:SSL_read n:libcrypto.so.3:aes_gcm_decrypt",
        40,
    ),
    ("m::[truncated] n:libpthread.so:pool+0x1f30", 3),
];
const SEARCH: &[(&str, u64)] = &[
    ("j:[jit]:LoadApp.run j:[jit]:Index.search j:[jit]:Postings.intersect", 50),
    (
        "j:[jit]:LoadApp.run j:[jit]:Index.search j:[jit]:Scorer.score n:libjvm.so:SharedRuntime::dsqrt",
        30,
    ),
    ("n:libjvm.so:GCTaskThread::run n:libjvm.so:G1ParScanThreadState::trim_queue", 22),
    (
        "j:[jit]:LoadApp.run j:[jit]:Http.write n:libc.so.6:sendto k:[kernel]:do_syscall_64 k:[kernel]:tcp_sendmsg",
        15,
    ),
];
const POSTGRES: &[(&str, u64)] = &[
    (
        "n:postgres:main n:postgres:PostgresMain n:postgres:exec_simple_query n:postgres:ExecutorRun n:postgres:ExecSeqScan",
        20,
    ),
    (
        "n:postgres:main n:postgres:PostgresMain n:postgres:exec_simple_query n:postgres:pg_parse_query n:postgres:base_yyparse",
        9,
    ),
    (
        "k:[kernel]:ret_from_fork k:[kernel]:kthread k:[kernel]:worker_thread k:[kernel]:wb_workfn",
        4,
    ),
];

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map(PathBuf::from);
    let path = path.context("failed to start: expected the path of a new store")?;
    let store =
        SqliteStore::open(&path, StoreOptions::default()).context("failed to open the store")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("failed to read the clock")?;
    let end = u64::try_from(now.as_nanos())? / WINDOW_NS * WINDOW_NS;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for window in 0..WINDOWS {
        let start = end - (WINDOWS - window) * WINDOW_NS;
        for host in ["web-1", "web-2", "web-3"] {
            let released = WINDOWS - window <= RELEASE_WINDOWS_AGO;
            let mut batch = Builder::new(host, start, window + 1);
            batch.add_checkout(released, &mut noise);
            batch.add_service(("search", "7.1"), SEARCH, &mut noise, |_, weight| weight);
            if host == "web-1" {
                batch.add_service(("postgres", "16.4"), POSTGRES, &mut noise, |_, weight| weight);
            }
            store.write_whole(&batch.finish()).context("failed to write a batch")?;
        }
    }
    Ok(())
}

/// Makes one batch.
struct Builder {
    batch: v1::Batch,
    strings: IndexSet<String>,
    frames: IndexSet<(i32, u32, u32)>,
    stacks: IndexSet<Vec<u32>>,
}

impl Builder {
    fn new(host: &str, start: u64, sequence: u64) -> Self {
        let batch = v1::Batch {
            protocol: PROTOCOL_VERSION,
            agent_id: format!("demo-{host}"),
            epoch: 1,
            sequence,
            host: host.to_owned(),
            start_unix_ns: start,
            end_unix_ns: start + WINDOW_NS,
            ..Default::default()
        };
        let strings = IndexSet::from([String::new()]);
        Self { batch, strings, frames: IndexSet::new(), stacks: IndexSet::new() }
    }

    fn add_checkout(&mut self, released: bool, noise: &mut Noise) {
        let version = if released { "1.5.0" } else { "1.4.0" };
        self.add_service(("checkout", version), CHECKOUT, noise, |path, weight| {
            if released && path.contains("parse_cart") { weight * 3 / 2 } else { weight }
        });
        let fsync_ns = if released { 9_000_000 } else { 700_000 };
        let calls = [
            ("write", false, 9_000, 4_000),
            ("fsync", false, 60, fsync_ns),
            ("read", false, 12_000, 2_100),
            ("epoll_wait", true, 3_000, 40_000_000),
            ("futex", true, 700, 90_000_000),
        ];
        let syscalls = calls.map(|(name, waiting, calls, typical)| {
            self.syscall(name, (waiting, calls, typical), noise)
        });
        if let Some(service) = self.batch.services.last_mut() {
            service.syscalls = syscalls.to_vec();
        }
    }

    fn syscall(
        &mut self,
        name: &str,
        (waiting, calls, typical_ns): (bool, u64, u64),
        noise: &mut Noise,
    ) -> v1::SyscallLatency {
        let mut histogram = std::collections::BTreeMap::<u32, u64>::new();
        let (mut sum_ns, mut max_ns) = (0, 0);
        for _ in 0..calls / 10 {
            let slow = if noise.below(50) == 0 { 8 } else { 1 };
            let ns = typical_ns * slow / 2 + noise.below(typical_ns * slow);
            *histogram.entry(bucket_of(ns)).or_default() += 10;
            sum_ns += 10 * ns;
            max_ns = max_ns.max(ns);
        }
        let errors = vec![v1::ErrnoCount { errno: 11, count: calls / 100 }];
        v1::SyscallLatency {
            name: self.string(name),
            waiting,
            calls: histogram.values().sum(),
            sum_ns,
            max_ns,
            buckets: histogram.keys().copied().collect(),
            bucket_counts: histogram.into_values().collect(),
            errors,
        }
    }

    fn add_service(
        &mut self,
        (service, version): (&str, &str),
        paths: &[(&str, u64)],
        noise: &mut Noise,
        weigh: impl Fn(&str, u64) -> u64,
    ) {
        let counts: Vec<(u32, u64)> = paths
            .iter()
            .map(|(path, weight)| {
                let weight = weigh(path, *weight);
                (self.stack(path), weight - weight / 6 + noise.below(weight / 3 + 1))
            })
            .collect();
        let mut walks = Quality::default();
        for ((path, _), (_, count)) in paths.iter().zip(&counts) {
            walks.add(end_of(path).name(), *count);
        }
        let walk = |(end, samples): (&str, u64)| v1::WalkEndCount { end: end.to_owned(), samples };
        let unit = format!("{service}-{}", self.batch.host);
        let profile = v1::ServiceProfile {
            service: self.string(service),
            version: self.string(version),
            unit: self.string(&unit),
            period_ns: SECOND_NS / 19,
            stacks: counts.iter().map(|(stack, _)| *stack).collect(),
            counts: counts.iter().map(|(_, count)| *count).collect(),
            walks: walks.ends().map(walk).collect(),
            ..Default::default()
        };
        self.batch.services.push(profile);
    }

    fn stack(&mut self, path: &str) -> u32 {
        let frames = path.split(' ').map(|frame| self.frame(frame)).collect();
        self.stacks.insert_full(frames).0 as u32
    }

    fn frame(&mut self, text: &str) -> u32 {
        let mut parts = text.splitn(3, ':');
        let kind = match parts.next() {
            Some("k") => v1::FrameKind::Kernel,
            Some("i") => v1::FrameKind::Inlined,
            Some("j") => v1::FrameKind::Jit,
            Some("m") => v1::FrameKind::Marker,
            _ => v1::FrameKind::Native,
        };
        let module = self.string(parts.next().unwrap_or_default());
        let function = self.string(parts.next().unwrap_or_default());
        self.frames.insert_full((kind.into(), function, module)).0 as u32
    }

    fn string(&mut self, text: &str) -> u32 {
        self.strings.insert_full(text.to_owned()).0 as u32
    }

    fn finish(mut self) -> v1::Batch {
        let taken = self.batch.services.iter().flat_map(|service| &service.counts).sum::<u64>();
        self.batch.strings = self.strings.into_iter().collect();
        self.batch.frames = self
            .frames
            .into_iter()
            .map(|(kind, function, module)| v1::Frame {
                kind,
                function,
                module,
                ..Default::default()
            })
            .collect();
        self.batch.stacks = self.stacks.into_iter().map(|frames| v1::Stack { frames }).collect();
        let lost = vec![v1::Loss { reason: "ring_full".to_owned(), samples: 2 }];
        self.batch.accounting = Some(v1::Accounting { samples_taken: taken + 2, lost });
        self.batch
    }
}

/// A xorshift generator: the same profiles each time.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

/// How the walk over the user part of a path would have ended.
fn end_of(path: &str) -> WalkEnd {
    match path.split(':').next() {
        Some("m") => WalkEnd::Truncated,
        Some("k") => WalkEnd::NoUserStack,
        _ => WalkEnd::Root,
    }
}
