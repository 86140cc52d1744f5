//! What makes two alerts the same one.

use sha2::{Digest, Sha256};

use super::{Topic, Whole};
use crate::detect::Subject;

/// SHA-256 over service, environment, metric, direction and root, first 16 hex digits.
///
/// Version, host, caller and time are not in it: a regression that a second release still has is the same alert.
#[must_use]
pub fn fingerprint(service: &str, environment: &str, topic: &Topic) -> String {
    // Only regressions become alerts, so the direction is one word.
    let metric = match topic {
        // Self and total of one function are one problem.
        Topic::Of(Subject::Function { .. }) => "cpu",
        // All quantiles of a syscall are one problem; its errors are another, and how often it is called a third.
        Topic::Of(Subject::Syscall { metric, .. }) => metric.family(),
        Topic::Whole(Whole::Service) => "service_cpu",
        Topic::Whole(Whole::Request) => "request_cpu",
        Topic::Whole(Whole::Digest) => "digest",
    };
    let root = match topic {
        Topic::Of(Subject::Function { module, function, .. }) => [module.as_str(), function],
        Topic::Of(Subject::Syscall { name, .. }) => ["syscall", name],
        Topic::Whole(_) => ["", ""],
    };
    let mut hash = Sha256::new();
    for part in [service, environment, metric, "worse"].into_iter().chain(root) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
