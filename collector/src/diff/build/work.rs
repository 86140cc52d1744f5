//! How much work a replicate did: its requests, or calls that may stand for them.

use std::collections::BTreeMap;

use super::super::Work;
use super::replicates::{Row, Rows};

/// Calls that may stand for requests, best first: connections, messages, reads. Those are taken of which every
/// replicate of both sides made some.
const PROXIES: [&[&str]; 3] =
    [&["accept4", "accept"], &["recvfrom", "recvmsg", "recvmmsg"], &["read", "readv"]];

/// Work of each replicate, the baseline's first.
///
/// Each call of the `request` syscall that succeeds is a request. Without such a syscall a proxy is sought.
pub(super) fn of(rows: &Rows<'_>, request: Option<&str>) -> Vec<Option<Work>> {
    let succeeded: Vec<BTreeMap<&str, u64>> = rows.sides.iter().flatten().map(succeeded).collect();
    let count = |names: &[&str]| -> Vec<u64> {
        let of =
            |calls: &BTreeMap<&str, u64>| names.iter().filter_map(|name| calls.get(name)).sum();
        succeeded.iter().map(of).collect()
    };
    if let Some(request) = request {
        let work = |calls: u64| Work { requests: calls as f64, is_proxy: false };
        return count(&[request])
            .into_iter()
            .map(|calls| (calls > 0).then(|| work(calls)))
            .collect();
    }
    let proxies = PROXIES.iter().map(|names| count(names));
    let is_everywhere = |counts: &Vec<u64>| counts.iter().all(|calls| *calls > 0);
    match proxies.into_iter().find(is_everywhere) {
        Some(counts) => {
            let work = |calls: u64| Work { requests: calls as f64, is_proxy: true };
            counts.into_iter().map(|calls| Some(work(calls))).collect()
        }
        None => vec![None; succeeded.len()],
    }
}

/// Calls by syscall that did not fail, whatever the errno: a call that says "later" brought no request.
fn succeeded<'w>(row: &Row<'w>) -> BTreeMap<&'w str, u64> {
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for syscall in row.windows.iter().flat_map(|window| &window.syscalls) {
        let failed: u64 = syscall.errors.iter().map(|(_, calls)| calls).sum();
        let own = calls.entry(&syscall.name).or_default();
        *own = own.saturating_add(syscall.histogram.calls().saturating_sub(failed));
    }
    calls
}
