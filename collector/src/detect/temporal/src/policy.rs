//! What counts as a regression.

use serde::{Deserialize, Serialize};

/// What counts as a regression. Every field has a safe default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// False discovery rate over all functions and syscalls of a comparison.
    pub q: f64,
    /// Growth of a function, relative to its baseline, that is of no interest.
    pub rel_min: f64,
    /// Growth of a function, as a share of the service's CPU, that is of no interest.
    pub abs_min: f64,
    /// Growth of what the whole service costs that is of no interest, relative.
    pub service_rel_min: f64,
    /// Fewest usable replicates (units or windows) a side.
    pub min_replicates: usize,
    /// Fewest samples of a replicate; replicates with fewer are left out.
    pub min_replicate_samples: u64,
    /// Fewest samples of a function, both sides together.
    pub min_function_samples: u64,
    /// Smallest share of all samples of a call path that is tested by itself.
    pub min_path_share: f64,
    /// Fewest calls of a syscall that the baseline has none of.
    pub min_new_calls: u64,
    /// Fewest calls expected above the quantile, a side.
    pub min_exceedances: f64,
    /// Least time in a syscall that is of interest, as a share of the service's CPU time.
    pub syscall_time_min: f64,
    /// Growth of a syscall's median that is of no interest, relative.
    pub p50_rel_min: f64,
    /// Growth of a syscall's median that is of no interest, nanoseconds.
    pub p50_abs_min_ns: u64,
    /// Growth of a syscall's 95th percentile that is of no interest, relative.
    pub p95_rel_min: f64,
    /// Growth of a syscall's 95th percentile that is of no interest, nanoseconds.
    pub p95_abs_min_ns: u64,
    /// Growth of a syscall's 99th percentile that is of no interest, relative.
    pub p99_rel_min: f64,
    /// Growth of a syscall's 99th percentile that is of no interest, nanoseconds.
    pub p99_abs_min_ns: u64,
    /// Growth of an error rate that is of no interest, relative.
    pub error_rel_min: f64,
    /// Growth of an error rate that is of no interest, share of calls.
    pub error_abs_min: f64,
    /// Growth of the number of calls for each CPU-second or request that is of no interest, relative.
    pub calls_rel_min: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            q: 0.01,
            rel_min: 0.05,
            abs_min: 0.005,
            service_rel_min: 0.03,
            min_replicates: 2,
            min_replicate_samples: 50,
            min_function_samples: 30,
            min_path_share: 2e-4,
            min_new_calls: 30,
            min_exceedances: 30.0,
            syscall_time_min: 0.005,
            p50_rel_min: 0.10,
            p50_abs_min_ns: 50_000,
            p95_rel_min: 0.15,
            p95_abs_min_ns: 200_000,
            p99_rel_min: 0.20,
            p99_abs_min_ns: 1_000_000,
            error_rel_min: 0.20,
            error_abs_min: 0.001,
            calls_rel_min: 0.20,
        }
    }
}
