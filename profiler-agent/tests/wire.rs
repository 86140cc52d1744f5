//! What a row costs on the wire once the collector knows the stacks: ten services with stacks of recorded programs.

#![expect(clippy::unwrap_used, reason = "a test may fail at once")]
#![expect(clippy::print_stdout, reason = "the figure is in docs/ingest.md")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use flamewatch_agent::ship::dictionary::Dictionary;
use profiler_common::profile::parse_folded;
use profiler_common::wire::v1;
use prost::Message as _;

/// The goal that docs/ingest.md states.
const BYTES_A_ROW_MAX: f64 = 4.0;

const SERVICES: usize = 10;
const ROWS: usize = 200;

/// Windows before the measure: ten minutes of 10 s.
const WARM_UP: usize = 60;
const MEASURED: usize = 30;

const PROGRAMS: [&str; 6] = [
    "reporting/node",
    "reporting/postgres",
    "reporting/rustc",
    "tuning/nginx",
    "tuning/python",
    "tuning/redis",
];

/// Stacks of one service and how often each was seen, added up.
struct Program {
    stacks: Vec<Vec<String>>,
    sums: Vec<u64>,
}

impl Program {
    fn read(name: &str, service: usize) -> Self {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/examples/evaluate/profiles");
        let text = fs::read_to_string(folder.join(name).with_extension("folded")).unwrap();
        let mut program = Self { stacks: Vec::new(), sums: Vec::new() };
        let mut sum = 0;
        for (frames, count) in parse_folded(&text).unwrap() {
            // Two services that run the same program were built apart: they share no stack.
            let root = std::iter::once(format!("service {service}"));
            program.stacks.push(root.chain(frames.into_iter().map(str::to_owned)).collect());
            sum += count;
            program.sums.push(sum);
        }
        program
    }

    /// Samples until so many stacks were seen, by stack.
    fn window(&self, random: &mut fastrand::Rng) -> BTreeMap<usize, u64> {
        let mut seen = BTreeMap::new();
        let all = *self.sums.last().unwrap();
        while seen.len() < ROWS {
            let drawn = random.u64(0..all);
            *seen.entry(self.sums.partition_point(|sum| *sum <= drawn)).or_insert(0) += 1;
        }
        seen
    }
}

/// Fills the dictionary of a batch, as the agent's encoder does.
#[derive(Default)]
struct Builder {
    batch: v1::Batch,
    strings: BTreeMap<String, u32>,
    frames: BTreeMap<String, u32>,
}

impl Builder {
    fn string(&mut self, text: &str) -> u32 {
        let next = self.strings.len() as u32;
        *self.strings.entry(text.to_owned()).or_insert_with(|| {
            self.batch.strings.push(text.to_owned());
            next
        })
    }

    fn stack(&mut self, names: &[String]) -> u32 {
        let module = self.string("/usr/bin/program");
        let mut frames = Vec::new();
        for name in names {
            let function = self.string(name);
            let next = self.frames.len() as u32;
            frames.push(*self.frames.entry(name.clone()).or_insert_with(|| {
                self.batch.frames.push(v1::Frame {
                    kind: 1,
                    function,
                    module,
                    ..Default::default()
                });
                next
            }));
        }
        self.batch.stacks.push(v1::Stack { frames });
        self.batch.stacks.len() as u32 - 1
    }

    fn service(&mut self, service: usize, program: &Program, random: &mut fastrand::Rng) {
        let (mut stacks, mut counts) = (Vec::new(), Vec::new());
        for (stack, count) in program.window(random) {
            stacks.push(self.stack(&program.stacks[stack]));
            counts.push(count);
        }
        let label = |key, value| v1::Label { key, value };
        let profile = v1::ServiceProfile {
            service: self.string(&format!("service-{service}")),
            version: self.string(&format!("v2.{service}.7-4f1c9e0")),
            unit: self.string(&format!("service-{service}-7c6d5b9f4b-x{service}k2p")),
            labels: vec![
                label(self.string("executable"), self.string("/usr/bin/program")),
                label(self.string("namespace"), self.string("shop")),
            ],
            period_ns: 52_631_578,
            walks: vec![v1::WalkEndCount { end: "whole".to_owned(), samples: counts.iter().sum() }],
            stacks,
            counts,
            ..Default::default()
        };
        self.batch.services.push(profile);
    }
}

fn window(sequence: u64, programs: &[Program], random: &mut fastrand::Rng) -> v1::Batch {
    let mut builder = Builder::default();
    builder.string("");
    for (service, program) in programs.iter().enumerate() {
        builder.service(service, program, random);
    }
    v1::Batch {
        protocol: 2,
        agent_id: "0123456789abcdef0123456789abcdef".to_owned(),
        epoch: 1_700_000_000_123_456_789,
        sequence,
        host: "node-7.eu-central-1.example".to_owned(),
        start_unix_ns: 1_700_000_000_123_456_789 + sequence * 10_000_012_345,
        end_unix_ns: 1_700_000_000_123_456_789 + (sequence + 1) * 10_000_012_345,
        accounting: Some(v1::Accounting { samples_taken: 9000, lost: Vec::new() }),
        ..builder.batch
    }
}

/// As gRPC sends it: its frame, and the message compressed.
fn bytes_on_the_wire(request: &v1::PushRequest) -> usize {
    5 + zstd::encode_all(&*request.encode_to_vec(), 0).unwrap().len()
}

#[test]
fn a_row_costs_at_most_four_bytes_once_the_stacks_are_told() {
    let programs: Vec<Program> = (0..SERVICES)
        .map(|service| Program::read(PROGRAMS[service % PROGRAMS.len()], service))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut dictionary = Dictionary::new(1, 2);
    let (mut whole, mut warm, mut told) = (0, 0, 0);
    for sequence in 0..WARM_UP + MEASURED {
        let batch = window(sequence as u64, &programs, &mut random);
        let request = dictionary.write(&batch);
        dictionary.acknowledge();
        if sequence >= WARM_UP {
            told += request.batch.as_ref().unwrap().stacks.len();
            warm += bytes_on_the_wire(&request);
            let request = v1::PushRequest { batch: Some(batch), ..Default::default() };
            whole += bytes_on_the_wire(&request);
        }
    }
    let rows = (SERVICES * ROWS * MEASURED) as f64;
    let bytes_a_row = warm as f64 / rows;
    let whole = whole as f64 / rows;
    println!(
        "{bytes_a_row:.2} bytes a row, {whole:.2} as whole batches; {told} of {rows} told anew"
    );
    assert!(bytes_a_row <= BYTES_A_ROW_MAX, "{bytes_a_row:.2} bytes a row");
    assert!(bytes_a_row * 2.0 < whole);
}
