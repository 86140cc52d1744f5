//! Gathers what an alert on a release rests on. Pure.

use std::collections::BTreeSet;

use crate::detect::{Cause, FunctionKind, Group, Subject, Verdict};
use crate::diff::{FunctionKey, ProfileDiff, Replicate};

use super::{ChangedPath, Evidence, Measured, PerRequest};

/// Most changed stacks that an alert carries.
const CHANGED_PATHS_MAX: usize = 5;

/// The evidence for a group.
pub(super) fn evidence(diff: &ProfileDiff, group: &Group) -> Evidence {
    let root = &group.root;
    let is_function = matches!(root.subject, Subject::Function { .. });
    // Plain shares: the corrected ones of the verdict are for comparing, not for adding up to the service's cores.
    let sides =
        [(&diff.baseline, root.samples_baseline), (&diff.candidate, root.samples_candidate)];
    let [baseline_cores, candidate_cores] =
        sides.map(|(side, samples)| is_function.then(|| cores_of_unit(side, samples)).flatten());
    Evidence {
        measured: Measured::from(root),
        seen_as: Some(group.seen_as),
        chain: group.chain.clone(),
        caller: group.caller.clone(),
        also_visible_in: group.also_visible_in.clone(),
        cost_shift: match &group.cause {
            Cause::CostShift(shift) => Some(shift.clone()),
            Cause::Change => None,
        },
        changed_paths: changed_paths(diff, root),
        baseline_cores,
        candidate_cores,
        delta_cores: candidate_cores.zip(baseline_cores).map(|(after, before)| after - before),
        per_request: is_function.then(|| per_request(sides)).flatten(),
        samples_baseline: diff.baseline_samples(),
        samples_candidate: diff.candidate_samples(),
        hosts: [hosts(&diff.baseline), hosts(&diff.candidate)],
        // A syscall is measured without stacks.
        caveats: if is_function { diff.caveats() } else { Vec::new() },
    }
}

/// CPU time of a side that falls on so many of its samples, nanoseconds.
fn cpu_ns_of(side: &[Replicate], samples: u64) -> f64 {
    let all: u64 = side.iter().map(|replicate| replicate.samples).sum();
    let cpu_ns: f64 = side.iter().map(|replicate| replicate.cpu_ns as f64).sum();
    samples as f64 / all.max(1) as f64 * cpu_ns
}

/// Cores of a unit that fall on so many samples, averaged over the time that was seen.
fn cores_of_unit(side: &[Replicate], samples: u64) -> Option<f64> {
    let seconds: f64 = side.iter().map(|replicate| replicate.seconds).sum();
    (seconds > 0.0).then(|| cpu_ns_of(side, samples) / 1e9 / seconds)
}

/// CPU time of each request that falls on so many samples; only where all replicates count requests.
fn per_request(sides: [(&Vec<Replicate>, u64); 2]) -> Option<PerRequest> {
    let cost = |(side, samples): (&Vec<Replicate>, u64)| {
        let work = side.iter().map(|replicate| replicate.work).collect::<Option<Vec<_>>>()?;
        let requests: f64 = work.iter().map(|work| work.requests).sum();
        let is_proxy = work.iter().any(|work| work.is_proxy);
        (requests > 0.0).then(|| (cpu_ns_of(side, samples) / requests, is_proxy))
    };
    let [(baseline_ns, is_proxy), (candidate_ns, is_proxy_too)] =
        [cost(sides[0])?, cost(sides[1])?];
    Some(PerRequest { baseline_ns, candidate_ns, is_proxy: is_proxy || is_proxy_too })
}

/// Hosts of a side; the name of a replicate begins with that of its host.
pub(super) fn hosts(side: &[Replicate]) -> usize {
    let host = |replicate: &Replicate| replicate.name.split('/').next().map(str::to_owned);
    side.iter().filter_map(host).collect::<BTreeSet<_>>().len()
}

/// Stacks through the subject whose share of the samples grew most.
fn changed_paths(diff: &ProfileDiff, root: &Verdict) -> Vec<ChangedPath> {
    let before = diff.baseline_samples().max(1) as f64;
    let after = diff.candidate_samples().max(1) as f64;
    let wanted = wanted(diff, &root.subject);
    let is_self = matches!(root.subject, Subject::Function { kind: FunctionKind::SelfTime, .. });
    let mut all = 0.0;
    let mut grown: Vec<(f64, usize)> = Vec::new();
    for stack in 0..diff.stacks.len() {
        let functions = diff.stacks.functions(stack);
        let counted =
            if is_self { &functions[functions.len().saturating_sub(1)..] } else { functions };
        if !counted.iter().any(|function| wanted[*function as usize]) {
            continue;
        }
        let [baseline, candidate] = diff.pooled(stack);
        let growth = candidate as f64 / after - baseline as f64 / before;
        all += growth;
        if growth > 0.0 {
            grown.push((growth, stack));
        }
    }
    grown.sort_by(|left, right| right.0.total_cmp(&left.0));
    grown
        .into_iter()
        .take(CHANGED_PATHS_MAX)
        .map(|(growth, stack)| {
            let [baseline, candidate] = diff.pooled(stack);
            let name = |index: &u32| diff.functions[*index as usize].function.clone();
            ChangedPath {
                functions: diff.stacks.functions(stack).iter().map(name).collect(),
                baseline_share: baseline as f64 / before,
                candidate_share: candidate as f64 / after,
                part: if all > 0.0 { growth / all } else { 0.0 },
            }
        })
        .collect()
}

/// Which functions make a stack count for a subject: the function itself, or those of the kernel named after a syscall.
fn wanted(diff: &ProfileDiff, subject: &Subject) -> Vec<bool> {
    let is_wanted = |key: &FunctionKey| match subject {
        Subject::Function { module, function, .. } => {
            key.function == *function && key.module == *module
        }
        Subject::Syscall { name, .. } => {
            key.function.strip_suffix(name.as_str()).is_some_and(|before| before.ends_with("_sys_"))
        }
    };
    diff.functions.iter().map(is_wanted).collect()
}
