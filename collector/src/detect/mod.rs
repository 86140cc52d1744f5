//! Decides which differences are regressions.
//!
//! Sampling noise is not the noise: pods and windows differ more than their samples do. So each replicate is one
//! observation, its counts are tested with a dispersion learned from the replicates themselves, against a minimum
//! effect, with the false discovery rate controlled over everything that was tested. Pure: no clock, no I/O.
//!
//! First version: unpaired comparison of two sides. It sees no seasons, pairs no hosts, and knows no renamed functions.

mod count_test;
mod discovery;
mod dispersion;
mod functions;
mod normalize;
mod policy;
mod reduce;
mod special;
mod syscalls;
mod verdict;

#[cfg(test)]
mod simulation;

pub(crate) use normalize::usable;
pub use policy::Policy;
pub use verdict::{Direction, FunctionKind, Subject, SyscallMetric, Verdict};

use crate::diff::ProfileDiff;

/// Judges every function and syscall of a difference, strongest evidence first.
///
/// A [`Verdict`] is a finding when it is significant and no other finding explains it; see [`Verdict::is_finding`].
/// With fewer than [`Policy::min_replicates`] usable replicates on a side nothing is significant and the intervals hold
/// sampling noise alone.
#[must_use]
pub fn judge(diff: &ProfileDiff, policy: &Policy) -> Vec<Verdict> {
    let mut verdicts = functions::judge(diff, policy);
    verdicts.extend(syscalls::judge(diff, policy));
    let p_values: Vec<f64> = verdicts.iter().map(|verdict| verdict.p).collect();
    for (verdict, q) in verdicts.iter_mut().zip(discovery::adjust(&p_values)) {
        verdict.q = q;
        verdict.significant = q <= policy.q;
    }
    reduce::explain(&mut verdicts, diff, policy);
    verdicts.sort_by(|left, right| {
        left.p.total_cmp(&right.p).then_with(|| left.subject.cmp(&right.subject))
    });
    verdicts
}
