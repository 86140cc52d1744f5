//! Tests what the whole service costs: shares of CPU cannot see that everything became slower.
//!
//! Nothing is normalised here. A cost is CPU time, or time in system calls, for each request where requests are counted,
//! else for each second of a unit; then it says as much about the load as about the code.

mod estimate;
mod ratio;

pub use estimate::Estimate;

use serde::{Deserialize, Serialize};

use super::Policy;
use super::design::Design;
use crate::diff::{ProfileDiff, Replicate, SyscallDiff};

use ratio::{Costs, log_ratio};

/// Tail of the two-sided 95 % interval.
const INTERVAL_TAIL: f64 = 0.025;

/// What is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostMetric {
    /// CPU time.
    Cpu,
    /// Time in system calls that do work: those that wait by design are left out.
    SyscallTime,
}

/// What it is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBasis {
    /// One request.
    Request,
    /// One of what stands for requests and need not be one, such as an accepted connection.
    ProxyRequest,
    /// One second of one unit. Half of the load costs half as much, so the sides must get the same load.
    UnitSecond,
}

/// What the service costs on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceCost {
    /// What is spent.
    pub metric: CostMetric,
    /// What it is spent on.
    pub basis: CostBasis,
    /// Geometric mean over the replicates of the baseline: nanoseconds for each request, or for each second.
    pub baseline_value: f64,
    /// The same of the candidate.
    pub candidate_value: f64,
    /// Natural logarithm of the candidate's cost over the baseline's.
    pub log_ratio: Estimate,
    /// The candidate's cost over the baseline's.
    pub ratio: f64,
    /// Ends of the 95 % interval of `ratio`.
    pub interval: [f64; 2],
    /// P of such a ratio or a larger one if the true one is at most 1 + [`Policy::service_rel_min`]; 1 without
    /// replicates.
    pub p: f64,
    /// Replicates of the baseline that were used.
    pub replicates_baseline: usize,
    /// Replicates of the candidate that were used.
    pub replicates_candidate: usize,
    /// Whether both sides have replicates; where not, the interval holds sampling noise alone and nothing is tested.
    pub is_replicated: bool,
}

impl ServiceCost {
    /// P of such a ratio or a larger one if the true one is at most `ratio`; 1 without replicates.
    #[must_use]
    pub fn p_above(&self, ratio: f64) -> f64 {
        if self.is_replicated { self.log_ratio.p_above(ratio.ln()) } else { 1.0 }
    }

    /// P of such a ratio or a smaller one if the true one is at least `ratio`; 1 without replicates.
    #[must_use]
    pub fn p_below(&self, ratio: f64) -> f64 {
        if self.is_replicated { self.log_ratio.p_below(ratio.ln()) } else { 1.0 }
    }

    /// Ends of the interval of the ratio that leaves out `tail` on each side.
    #[must_use]
    pub fn ratio_interval(&self, tail: f64) -> [f64; 2] {
        self.log_ratio.interval(tail).map(f64::exp)
    }
}

/// Every cost that both sides tell; [`judge`](super::judge) tells them too.
#[must_use]
pub fn costs(diff: &ProfileDiff, policy: &Policy) -> Vec<ServiceCost> {
    let design = Design::of(diff, policy);
    let cpu = |at: usize| {
        let replicate = replicate(diff, at);
        (replicate.cpu_ns as f64, replicate.samples as f64)
    };
    let syscalls = |at: usize| syscall_time(&diff.syscalls, at, diff.baseline.len());
    [
        cost(diff, policy, &design, (CostMetric::Cpu, &cpu)),
        cost(diff, policy, &design, (CostMetric::SyscallTime, &syscalls)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A replicate by its row: those of the baseline first.
fn replicate(diff: &ProfileDiff, at: usize) -> &Replicate {
    at.checked_sub(diff.baseline.len()).map_or_else(|| &diff.baseline[at], |at| &diff.candidate[at])
}

/// (nanoseconds, calls) of a row in system calls that do work.
fn syscall_time(syscalls: &[SyscallDiff], at: usize, baselines: usize) -> (f64, f64) {
    let working = syscalls.iter().filter(|syscall| !syscall.waiting);
    working.fold((0.0, 0.0), |(sum, calls), syscall| {
        let counts = at
            .checked_sub(baselines)
            .map_or_else(|| syscall.baseline.get(at), |at| syscall.candidate.get(at));
        counts.map_or((sum, calls), |counts| {
            (sum + counts.histogram.sum_ns as f64, calls + counts.histogram.calls() as f64)
        })
    })
}

/// One cost; `spent` gives nanoseconds and observations of a row. `None` where a row that is used has none of it.
fn cost(
    diff: &ProfileDiff,
    policy: &Policy,
    design: &Design,
    (metric, spent): (CostMetric, &dyn Fn(usize) -> (f64, f64)),
) -> Option<ServiceCost> {
    let rows: Vec<usize> = design
        .strata
        .iter()
        .flat_map(|stratum| stratum.baseline.iter().chain(&stratum.candidate))
        .copied()
        .collect();
    let basis = basis(diff, &rows);
    let mut costs = Costs { log: Vec::new(), variance: Vec::new() };
    let all = diff.baseline.len() + diff.candidate.len();
    costs.log.resize(all, 0.0);
    costs.variance.resize(all, 0.0);
    for row in &rows {
        let (ns, observations) = spent(*row);
        let replicate = replicate(diff, *row);
        let per = match (basis, replicate.work) {
            (CostBasis::Request | CostBasis::ProxyRequest, Some(work)) => work.requests,
            _ => replicate.seconds,
        };
        if !(ns > 0.0 && per > 0.0 && observations > 0.0) {
            return None;
        }
        costs.log[*row] = (ns / per).ln();
        costs.variance[*row] = 1.0 / observations;
    }
    let is_replicated = design.is_replicated(policy);
    let found = log_ratio(&costs, design, is_replicated)?;
    let [replicates_baseline, replicates_candidate] = design.replicates();
    let mut cost = ServiceCost {
        metric,
        basis,
        baseline_value: found.means[0].exp(),
        candidate_value: found.means[1].exp(),
        log_ratio: found.difference,
        ratio: found.difference.value.exp(),
        interval: [0.0; 2],
        p: 1.0,
        replicates_baseline,
        replicates_candidate,
        is_replicated,
    };
    cost.interval = cost.ratio_interval(INTERVAL_TAIL);
    cost.p = cost.p_above(1.0 + policy.service_rel_min);
    Some(cost)
}

/// Requests where every row counts them, the weakest kind of them deciding; else time.
fn basis(diff: &ProfileDiff, rows: &[usize]) -> CostBasis {
    let mut basis = CostBasis::Request;
    for row in rows {
        match replicate(diff, *row).work {
            Some(work) if work.requests > 0.0 => {
                if work.is_proxy {
                    basis = CostBasis::ProxyRequest;
                }
            }
            _ => return CostBasis::UnitSecond,
        }
    }
    basis
}

#[cfg(test)]
mod tests;
