//! Measures what one comparison of 10,000 functions on 60 replicates costs; `cargo xtask bench detect` runs it.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use flamewatch_collector::detect::{Policy, judge};
use flamewatch_collector::diff::{
    FunctionKey, ProfileDiff, Replicate, Replication, StackCount, StackTable,
};
use profiler_common::profile::Quality;

const FUNCTIONS: u32 = 10_000;
const REPLICATES_A_SIDE: u32 = 30;
const STACKS: u32 = 20_000;
const ROUNDS: usize = 15;

fn main() {
    let diff = diff();
    let policy = Policy::default();
    let (mut ours, mut floor, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    let mut peak_kb = 0;
    for _ in 0..ROUNDS {
        let before_kb = forget_peak();
        ours.push(timed(|| drop(black_box(judge(&diff, &policy)))));
        peak_kb = peak_kb.max(status_kb("VmHWM").saturating_sub(before_kb));
        floor.push(timed(|| drop(black_box(read_all(&diff)))));
        peer.push(timed(|| drop(black_box(count_by_hash(&diff)))));
    }
    let (ours, floor, peer) = (median(ours), median(floor), median(peer));
    println!(
        "{FUNCTIONS} functions on {} replicates, {} stacks, {} tests; medians of {ROUNDS} rounds",
        2 * REPLICATES_A_SIDE,
        diff.stacks.len(),
        judge(&diff, &policy).basis.tests
    );
    println!("  detector, whole                        {ours:8.1} ms   limit 50");
    println!("  floor: each count is read once         {floor:8.1} ms   {:.1} x", ours / floor);
    println!("  peer: self and total in hash maps only {peer:8.1} ms   {:.3} x", ours / peer);
    println!(
        "  memory of the detector at most         {:8.1} MB   limit 64",
        peak_kb as f64 / 1024.0
    );
}

/// Makes the kernel forget how much memory this process had at most; returns what it has now, in KB.
fn forget_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel lets a process clear its own peak");
    status_kb("VmRSS")
}

fn status_kb(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
    let digits = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
    digits.parse().expect("a number of kB")
}

fn timed(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Floor: each count is read once.
fn read_all(diff: &ProfileDiff) -> Vec<u64> {
    let mut sums = vec![0; diff.baseline.len() + diff.candidate.len()];
    for stack in 0..diff.stacks.len() {
        for count in diff.stacks.counts(stack) {
            sums[count.replicate as usize] += count.samples;
        }
    }
    sums
}

/// Peer: what a flame graph diff does, self and total of each function by replicate in hash maps, without any test.
fn count_by_hash(diff: &ProfileDiff) -> HashMap<(u32, u32), [u64; 2]> {
    let mut counts: HashMap<(u32, u32), [u64; 2]> = HashMap::new();
    for stack in 0..diff.stacks.len() {
        let mut functions = diff.stacks.functions(stack).to_vec();
        let leaf = functions.last().copied();
        functions.sort_unstable();
        functions.dedup();
        for count in diff.stacks.counts(stack) {
            for function in &functions {
                counts.entry((*function, count.replicate)).or_default()[1] += count.samples;
            }
            if let Some(leaf) = leaf {
                counts.entry((leaf, count.replicate)).or_default()[0] += count.samples;
            }
        }
    }
    counts
}

/// A service with a call tree of 8 to 40 levels, stacks falling like 1/rank, every function on some stack.
fn diff() -> ProfileDiff {
    let mut random = Random(7);
    let replicates = 2 * REPLICATES_A_SIDE;
    let mut stacks: HashMap<Vec<u32>, Vec<StackCount>> = HashMap::new();
    for rank in 0..STACKS {
        let leaf = rank % FUNCTIONS;
        let mut path = vec![leaf];
        // Most functions have one caller, so paths share their beginnings: 6 nodes of the call tree for each stack, three
        // times as many as in recorded profiles.
        while path[path.len() - 1] > 0 && path.len() < 40 {
            let at = path[path.len() - 1];
            path.push(if random.below(128) == 0 { at / 3 } else { at - at.min(1 + at / 6) });
        }
        path.reverse();
        let weight = 4e5 / f64::from(rank + 10);
        let counts = (0..replicates)
            .map(|replicate| {
                let samples = (weight * (0.8 + 0.4 * random.uniform())) as u64 + random.below(3);
                StackCount { replicate, samples }
            })
            .filter(|count| count.samples > 0)
            .collect();
        stacks.insert(path, counts);
    }
    let mut samples = vec![0; replicates as usize];
    for counts in stacks.values() {
        for count in counts {
            samples[count.replicate as usize] += count.samples;
        }
    }
    let replicate = |index: usize| Replicate {
        name: format!("host-{index}"),
        samples: samples[index],
        cpu_ns: samples[index] * 10_000_000,
        windows: 1,
        seconds: 60.0,
        work: None,
        stratum: 0,
    };
    let half = REPLICATES_A_SIDE as usize;
    ProfileDiff {
        replication: Replication::Units,
        baseline: (0..half).map(replicate).collect(),
        candidate: (half..2 * half).map(replicate).collect(),
        baseline_quality: Quality::default(),
        candidate_quality: Quality::default(),
        functions: (0..FUNCTIONS)
            .map(|index| FunctionKey {
                module: "app".to_owned(),
                function: format!("function_{index:05}"),
            })
            .collect(),
        stacks: StackTable::new(stacks.into_iter().collect()),
        syscalls: Vec::new(),
        facts: Default::default(),
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
