//! Syscalls of hosts that differ: draws their latencies and errors.

use flamewatch_collector::diff::{SyscallCounts, SyscallDiff};
use profiler_common::abi::latency::bucket_of;
use profiler_common::profile::LatencyHistogram;

use crate::random::Random;

/// A syscall of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// Calls of a host.
    pub(crate) calls: f64,
    /// Median of the fast calls, nanoseconds.
    pub(crate) median_ns: f64,
    /// Standard deviation of the logarithm of a latency.
    pub(crate) spread: f64,
    /// Part of the calls that are slow.
    pub(crate) slow: f64,
    /// How many times slower these are.
    pub(crate) slower: f64,
    /// Part of the calls that fail.
    pub(crate) failed: f64,
}

/// What a service calls: a cache that mostly hits, a network, a disk, and files.
pub(crate) const CALLS: [Call; 4] = [
    Call {
        name: "pread64",
        calls: 8e3,
        median_ns: 2e6,
        spread: 0.6,
        slow: 0.03,
        slower: 12.0,
        failed: 0.001,
    },
    Call {
        name: "sendto",
        calls: 1.2e4,
        median_ns: 1.5e6,
        spread: 0.4,
        slow: 0.01,
        slower: 8.0,
        failed: 0.002,
    },
    Call {
        name: "fdatasync",
        calls: 3e3,
        median_ns: 6e6,
        spread: 0.8,
        slow: 0.05,
        slower: 4.0,
        failed: 0.0005,
    },
    Call {
        name: "openat",
        calls: 5e3,
        median_ns: 1e6,
        spread: 0.5,
        slow: 0.02,
        slower: 20.0,
        failed: 0.03,
    },
];

/// How a syscall changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Every call takes 40 % longer.
    Scale,
    /// Slow calls are three times as many.
    Tail,
    /// A tenth of the calls takes six times as long.
    SecondMode,
    /// Two more of a hundred calls fail.
    Errors,
    /// There are twice as many calls.
    Chattier,
}

/// All of them, by name.
pub(crate) const CHANGES: [(&str, Change); 5] = [
    ("all calls 40 % slower", Change::Scale),
    ("three times as many slow calls", Change::Tail),
    ("a tenth of the calls 6 times slower", Change::SecondMode),
    ("2 % more calls fail", Change::Errors),
    ("twice as many calls", Change::Chattier),
];

impl Change {
    fn of(self, call: Call) -> (Call, f64) {
        match self {
            Self::Scale => (Call { median_ns: 1.4 * call.median_ns, ..call }, 0.0),
            Self::Tail => (Call { slow: 3.0 * call.slow, ..call }, 0.0),
            Self::SecondMode => (call, 0.1),
            Self::Errors => (Call { failed: call.failed + 0.02, ..call }, 0.0),
            Self::Chattier => (Call { calls: 2.0 * call.calls, ..call }, 0.0),
        }
    }
}

/// Coefficients of variation between hosts: of the latency, of the part of slow or failed calls, of the calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) latency: f64,
    pub(crate) part: f64,
    pub(crate) calls: f64,
}

/// Draws every syscall on hosts of both sides; on the candidate one of them changes, when one is given.
pub(crate) fn draw(
    hosts: [usize; 2],
    spread: Spread,
    change: Option<(usize, Change)>,
    name: &[u64],
) -> Vec<SyscallDiff> {
    let mut diffs: Vec<SyscallDiff> = (0..CALLS.len())
        .map(|number| {
            let side = |side: usize| -> Vec<SyscallCounts> {
                let of_this = change.filter(|(changed, _)| side == 1 && *changed == number);
                let (call, second) =
                    of_this.map_or((CALLS[number], 0.0), |(_, change)| change.of(CALLS[number]));
                let host = |host: usize| {
                    let stream = [number as u64, side as u64, host as u64];
                    count(call, second, spread, &mut Random::of(&[name, &stream].concat()))
                };
                (0..hosts[side]).map(host).collect()
            };
            let (baseline, candidate) = (side(0), side(1));
            SyscallDiff { name: CALLS[number].name.to_owned(), waiting: false, baseline, candidate }
        })
        .collect();
    diffs.sort_by(|left, right| left.name.cmp(&right.name));
    diffs
}

fn count(call: Call, second: f64, spread: Spread, random: &mut Random) -> SyscallCounts {
    let median = call.median_ns * random.factor(spread.latency);
    let slow = call.slow * random.factor(spread.part);
    let failed = call.failed * random.factor(spread.part);
    let mean = call.calls * random.factor(spread.calls);
    let calls = random.poisson(mean);
    let mut histogram = LatencyHistogram::default();
    for _ in 0..calls {
        let mut latency = median * (call.spread * random.normal()).exp();
        if random.uniform() < slow {
            latency *= call.slower;
        } else if random.uniform() < second {
            latency *= 6.0;
        }
        let latency = latency as u64;
        histogram.add(bucket_of(latency), 1);
        histogram.sum_ns += latency;
        histogram.max_ns = histogram.max_ns.max(latency);
    }
    const EIO: u32 = 5;
    let failures = random.poisson(failed * calls as f64);
    let errors = if failures > 0 { vec![(EIO, failures)] } else { Vec::new() };
    SyscallCounts { histogram, errors }
}
