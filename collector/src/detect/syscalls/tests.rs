//! Tests of syscalls on replicates drawn from a known truth: hosts that differ in speed, errors and calls.

use profiler_common::abi::latency::bucket_of;
use profiler_common::profile::Quality;

use super::super::simulation::Random;
use super::super::{Direction, Policy, Subject, SyscallMetric, Verdict};
use super::*;
use crate::diff::{Replicate, Replication, StackTable, SyscallCounts, SyscallDiff, Work};

/// What one side of a syscall is like, and how much its hosts differ (standard deviations of logarithms).
#[derive(Debug, Clone, Copy)]
struct Truth {
    calls: f64,
    /// Median of the fast calls in nanoseconds.
    fast_ns: f64,
    /// Part of the calls that take ten times as long.
    slow_share: f64,
    spread: f64,
    errors: [f64; 2],
    hosts_differ: f64,
}

const TYPICAL: Truth = Truth {
    calls: 1_500.0,
    fast_ns: 2e6,
    slow_share: 0.02,
    spread: 0.4,
    errors: [0.03, 0.0],
    hosts_differ: 0.1,
};

impl Truth {
    fn draw(&self, random: &mut Random, hosts: usize) -> Vec<SyscallCounts> {
        (0..hosts).map(|_| self.draw_host(random)).collect()
    }

    fn draw_host(&self, random: &mut Random) -> SyscallCounts {
        let mut own = |size: f64| (size * self.hosts_differ * random.normal()).exp();
        let (load, speed, slow, failing) = (own(2.0), own(1.0), own(3.0), own(3.0));
        let calls = random.poisson(self.calls * load).max(1);
        let mut counts = SyscallCounts::default();
        for _ in 0..calls {
            let slow = if random.uniform() < self.slow_share * slow { 10.0 } else { 1.0 };
            let factor = speed * slow * (self.spread * random.normal()).exp();
            let latency_ns = (self.fast_ns * factor) as u64;
            counts.histogram.add(bucket_of(latency_ns), 1);
            counts.histogram.sum_ns += latency_ns;
            counts.histogram.max_ns = counts.histogram.max_ns.max(latency_ns);
        }
        for (errno, rate) in [2, 5].into_iter().zip(self.errors) {
            let failed = random.poisson(calls as f64 * rate * failing);
            if failed > 0 {
                counts.errors.push((errno, failed));
            }
        }
        counts
    }
}

fn compare(sides: [Vec<SyscallCounts>; 2], change: impl Fn(&mut ProfileDiff)) -> ProfileDiff {
    let replicate = |_: &SyscallCounts| Replicate {
        name: String::new(),
        samples: 1_000,
        cpu_ns: 10_000_000_000,
        windows: 1,
        seconds: 60.0,
        work: Some(Work { requests: 500.0, is_proxy: false }),
        stratum: 0,
    };
    let [baseline, candidate] = sides;
    let mut diff = ProfileDiff {
        replication: Replication::Units,
        baseline: baseline.iter().map(replicate).collect(),
        candidate: candidate.iter().map(replicate).collect(),
        baseline_quality: Quality::default(),
        candidate_quality: Quality::default(),
        functions: Vec::new(),
        stacks: StackTable::default(),
        syscalls: vec![SyscallDiff {
            name: "write".to_owned(),
            waiting: false,
            baseline,
            candidate,
        }],
        facts: Default::default(),
    };
    change(&mut diff);
    diff
}

fn judged(diff: &ProfileDiff, policy: &Policy) -> Vec<Verdict> {
    judge(diff, policy, &Scale::flat(diff.baseline.len() + diff.candidate.len()))
}

fn metric_of(verdict: &Verdict) -> SyscallMetric {
    match &verdict.subject {
        Subject::Syscall { metric, .. } => *metric,
        Subject::Function { .. } => panic!("a syscall is judged: {verdict:?}"),
    }
}

fn find(verdicts: &[Verdict], metric: SyscallMetric) -> Option<&Verdict> {
    verdicts.iter().find(|verdict| metric_of(verdict) == metric)
}

/// What the candidate is told for at a level of one in a hundred.
fn found(baseline: Truth, candidate: Truth, hosts: usize) -> Vec<SyscallMetric> {
    let mut random = Random(11);
    let sides = [baseline, candidate].map(|truth| truth.draw(&mut random, hosts));
    let verdicts = judged(&compare(sides, |_| {}), &Policy::default());
    let worse = verdicts.iter().filter(|own| own.p < 0.01 && own.delta_abs > 0.0);
    worse.map(metric_of).collect()
}

/// A policy that finds any change at all worth a word: the hardest for the rate of false alarms.
fn any_change() -> Policy {
    Policy {
        p50_rel_min: 0.0,
        p50_abs_min_ns: 0,
        p95_rel_min: 0.0,
        p95_abs_min_ns: 0,
        p99_rel_min: 0.0,
        p99_abs_min_ns: 0,
        error_rel_min: 0.0,
        error_abs_min: 0.0,
        calls_rel_min: 0.0,
        ..Policy::default()
    }
}

#[test]
fn equals_differ_no_more_often_than_p_says_and_the_intervals_hold_the_truth() {
    const ROUNDS: usize = 150;
    for replication in [Replication::Units, Replication::Pairs] {
        let mut random = Random(12);
        let mut tally: std::collections::BTreeMap<SyscallMetric, [usize; 3]> = Default::default();
        for _ in 0..ROUNDS {
            let sides = [(); 2].map(|()| TYPICAL.draw(&mut random, 4));
            let diff = compare(sides, |diff| diff.replication = replication);
            for verdict in judged(&diff, &any_change()) {
                let [all, alarms, covered] = tally.entry(metric_of(&verdict)).or_default();
                *all += 1;
                *alarms += usize::from(verdict.p < 0.05);
                *covered += usize::from(verdict.ci_low <= 0.0 && verdict.ci_high >= 0.0);
            }
        }
        for (metric, [all, alarms, covered]) in tally {
            if metric == SyscallMetric::LatencyShape {
                assert!(alarms <= 1, "{metric:?} {replication:?}: {alarms} alarms");
                continue;
            }
            assert!(all == ROUNDS, "{metric:?} was judged in {all} rounds");
            // 7.5 are expected of 150; sixteen or more have a chance of 0.4 %, ten or more misses of an interval too.
            assert!(alarms <= 15, "{metric:?} {replication:?}: {alarms} alarms");
            assert!(covered >= ROUNDS - 15, "{metric:?} {replication:?}: held {covered}");
        }
    }
}

#[test]
fn equals_raise_nothing_beyond_the_least_effects() {
    let mut random = Random(13);
    for round in 0..150 {
        let hosts = [2, 3, 6][round % 3];
        let sides = [(); 2].map(|()| TYPICAL.draw(&mut random, hosts));
        for verdict in judged(&compare(sides, |_| {}), &Policy::default()) {
            assert!(verdict.p > 1e-4, "{verdict:?}");
        }
    }
}

#[test]
fn each_change_is_found_by_its_own_number() {
    use SyscallMetric::{CallRate, CallsPerRequest, Errno, ErrorRate, LatencyShape, P50, P95, P99};
    let slower = Truth { fast_ns: 4e6, ..TYPICAL };
    assert_eq!(found(TYPICAL, slower, 4), [P50, P95]);
    // One call in fifty takes ten times as long, on one host more of them than on another: p99 needs more hosts.
    assert_eq!(found(TYPICAL, slower, 10), [P50, P95, P99]);
    assert_eq!(found(slower, TYPICAL, 4), []);
    let tail = Truth { slow_share: 0.2, ..TYPICAL };
    assert_eq!(found(TYPICAL, tail, 4), [P95, P99]);
    let failing = Truth { errors: [0.12, 0.0], ..TYPICAL };
    assert_eq!(found(TYPICAL, failing, 4), [ErrorRate]);
    let new = Truth { errors: [0.03, 0.02], ..TYPICAL };
    assert_eq!(found(TYPICAL, new, 4), [Errno(5)]);
    let chatty = Truth { calls: 6_000.0, ..TYPICAL };
    assert_eq!(found(TYPICAL, chatty, 6), [CallRate, CallsPerRequest]);
    // Of two kinds of calls the slow one is more frequent, but neither is slower.
    let two_kinds = Truth { spread: 0.05, slow_share: 0.3, hosts_differ: 0.002, ..TYPICAL };
    let moved = Truth { slow_share: 0.4, ..two_kinds };
    assert_eq!(found(two_kinds, moved, 8), [LatencyShape]);
}

#[test]
fn hosts_that_never_call_have_no_latency_but_a_rate() {
    let mut random = Random(14);
    let mut sides = [(); 2].map(|()| TYPICAL.draw(&mut random, 4));
    sides[1][0] = SyscallCounts::default();
    let diff = compare(sides, |diff| {
        // Something else was traced there, so that host is known to make no such call.
        let mut other = diff.syscalls[0].clone();
        other.name = "close".to_owned();
        other.candidate[0] = other.candidate[1].clone();
        diff.syscalls.push(other);
    });
    let verdicts: Vec<Verdict> = judged(&diff, &Policy::default())
        .into_iter()
        .filter(|verdict| verdict.subject.to_string().starts_with("write"))
        .collect();
    let hosts = |metric| find(&verdicts, metric).map(|own| own.replicates_candidate);
    assert_eq!(hosts(SyscallMetric::P50), Some(3));
    assert_eq!(hosts(SyscallMetric::CallRate), Some(4));
    assert!(verdicts.iter().all(|verdict| verdict.p > 1e-3), "{verdicts:?}");
}

#[test]
fn cheaper_functions_do_not_make_a_service_look_chatty() {
    let mut random = Random(15);
    let sides = [(); 2].map(|()| TYPICAL.draw(&mut random, 6));
    let diff = compare(sides, |diff| {
        for replicate in &mut diff.candidate {
            replicate.cpu_ns /= 2;
        }
    });
    let rate = |value| {
        let rows = [[1.0; 6], [value; 6]].concat();
        let scale = Scale { rows, factor: value, log_variance: 1e-4 };
        let verdicts = judge(&diff, &Policy::default(), &scale);
        find(&verdicts, SyscallMetric::CallRate).map(|verdict| verdict.p)
    };
    assert!(rate(1.0).is_some_and(|p| p < 0.01), "{:?}", rate(1.0));
    assert!(rate(2.0).is_some_and(|p| p > 0.1), "{:?}", rate(2.0));
}

#[test]
fn kinds_of_machines_are_compared_with_themselves() {
    let mut random = Random(16);
    let fast = Truth { hosts_differ: 0.02, ..TYPICAL };
    let slow = Truth { fast_ns: 8e6, ..fast };
    // The baseline has more of the slow machines; the candidate is slower on both.
    let mut side = |counts: [usize; 2], factor: f64| -> Vec<SyscallCounts> {
        let worse = |truth: Truth| Truth { fast_ns: truth.fast_ns * factor, ..truth };
        let mut all = worse(fast).draw(&mut random, counts[0]);
        all.extend(worse(slow).draw(&mut random, counts[1]));
        all
    };
    let sides = [side([2, 4], 1.0), side([4, 2], 1.5)];
    let diff = compare(sides, |diff| {
        for (index, replicate) in diff.baseline.iter_mut().enumerate() {
            replicate.stratum = u32::from(index >= 2);
        }
        for (index, replicate) in diff.candidate.iter_mut().enumerate() {
            replicate.stratum = u32::from(index >= 4);
        }
    });
    let verdicts = judged(&diff, &Policy::default());
    let p50 = find(&verdicts, SyscallMetric::P50).expect("is judged");
    assert!(p50.p < 1e-3 && p50.direction == Direction::Worse, "{p50:?}");
}
