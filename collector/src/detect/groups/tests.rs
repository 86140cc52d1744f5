//! Causes are found where they were put.

use super::super::{Judgement, Policy, judge};
use super::*;
use crate::diff::{FunctionKey, ProfileDiff, Replicate, Replication, StackCount, StackTable};
use profiler_common::profile::Quality;

/// Units a side.
const UNITS: usize = 6;
/// Samples of a unit for a weight of 1 in all.
const SAMPLES: f64 = 100_000.0;

/// Judges stacks with their shares of the CPU before and after, as they come from units that differ by some percent.
pub(in super::super) fn judged(before: &[(&str, f64)], after: &[(&str, f64)]) -> Judgement {
    let mut keys: Vec<FunctionKey> =
        before.iter().chain(after).flat_map(|(stack, _)| stack.split(';').map(key)).collect();
    keys.sort();
    keys.dedup();
    let mut replicates = [Vec::new(), Vec::new()];
    let mut stacks: Vec<(Vec<u32>, Vec<StackCount>)> = Vec::new();
    let mut random = 1u64;
    for (side, shares) in [before, after].into_iter().enumerate() {
        for unit in 0..UNITS {
            let row = side * UNITS + unit;
            let mut samples = 0;
            for (stack, share) in shares {
                let path: Vec<u32> = stack
                    .split(';')
                    .map(|name| keys.binary_search(&key(name)).expect("is known") as u32)
                    .collect();
                let mean = share * SAMPLES;
                let spread = (mean + (0.02 * mean).powi(2)).sqrt();
                let count = spread.mul_add(normal(&mut random), mean).max(0.0) as u64;
                samples += count;
                let count = StackCount { replicate: row as u32, samples: count };
                match stacks.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, counts)) => counts.push(count),
                    None => stacks.push((path, vec![count])),
                }
            }
            replicates[side].push(replicate(row, samples));
        }
    }
    let [baseline, candidate] = replicates;
    let diff = ProfileDiff {
        replication: Replication::Units,
        baseline,
        candidate,
        baseline_quality: Quality::default(),
        candidate_quality: Quality::default(),
        functions: keys,
        stacks: StackTable::new(stacks),
        syscalls: Vec::new(),
        facts: Default::default(),
    };
    judge(&diff, &Policy::default())
}

fn replicate(row: usize, samples: u64) -> Replicate {
    Replicate {
        name: format!("pod-{row}"),
        samples,
        cpu_ns: samples * 10_000_000,
        windows: 1,
        seconds: 60.0,
        work: None,
        stratum: 0,
    }
}

/// A function of the C library for its names, of the program for others.
fn key(name: &str) -> FunctionKey {
    let module = if matches!(name, "malloc" | "memcpy") { "libc.so" } else { "app" };
    FunctionKey { module: module.to_owned(), function: name.to_owned() }
}

/// About normal: the sum of twelve uniform numbers, by Knuth's generator.
fn normal(state: &mut u64) -> f64 {
    let mut sum = -6.0;
    for _ in 0..12 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sum += (*state >> 33) as f64 / f64::from(1u32 << 31);
    }
    sum
}

/// A service of three requests that share a library.
pub(in super::super) fn service() -> Vec<(&'static str, f64)> {
    vec![
        ("main;serve", 0.02),
        ("main;serve;buy", 0.05),
        ("main;serve;buy;price", 0.08),
        ("main;serve;buy;price;round", 0.07),
        ("main;serve;buy;price;tax", 0.05),
        ("main;serve;buy;store;encode", 0.09),
        ("main;serve;buy;store;malloc", 0.03),
        ("main;serve;find", 0.04),
        ("main;serve;find;index", 0.11),
        ("main;serve;find;index;decode", 0.08),
        ("main;serve;find;index;malloc", 0.04),
        ("main;serve;find;rank", 0.12),
        ("main;serve;show;render", 0.13),
        ("main;serve;show;render;encode", 0.06),
        ("main;serve;show;render;malloc", 0.03),
    ]
}

/// The service with all stacks that begin with `path` `factor` times as large.
fn scaled(path: &str, factor: f64) -> Vec<(&'static str, f64)> {
    let scale = |stack: &str| if stack.starts_with(path) { factor } else { 1.0 };
    service().into_iter().map(|(stack, share)| (stack, share * scale(stack))).collect()
}

fn only(judgement: &Judgement) -> &Group {
    assert_eq!(judgement.groups.len(), 1, "{:#?}", judgement.groups);
    &judgement.groups[0]
}

fn root(group: &Group) -> String {
    group.root.subject.to_string()
}

#[test]
fn equals_make_no_group() {
    assert_eq!(judged(&service(), &service()).groups, []);
}

#[test]
fn own_code_that_grows_is_one_group_and_names_its_callers() {
    let judgement = judged(&service(), &scaled("main;serve;find;rank", 1.6));
    let group = only(&judgement);
    assert_eq!((root(group).as_str(), group.seen_as), ("rank (self)", SeenAs::SelfTime));
    assert_eq!((group.direction, &group.cause), (Direction::Worse, &Cause::Change));
    assert_eq!(group.caller.as_deref(), Some("find"));
    assert_eq!(group.path, ["main", "serve", "find", "rank"]);
    assert!(group.also_visible_in.contains(&"find".to_owned()), "{group:?}");
    assert!(group.is_regression());
}

#[test]
fn a_call_made_more_often_is_one_group_at_the_call_and_not_below_it() {
    let judgement = judged(&service(), &scaled("main;serve;buy;price", 1.8));
    let group = only(&judgement);
    assert_eq!(root(group), "price (total)");
    assert_eq!(group.suspects[0], "price");
    assert!(group.also_visible_in.contains(&"round".to_owned()), "{group:?}");
}

#[test]
fn one_path_of_a_shared_function_is_told_with_its_caller() {
    let judgement = judged(&service(), &scaled("main;serve;show;render;encode", 2.0));
    let group = only(&judgement);
    assert_eq!(root(group), "encode (total)");
    assert_eq!(group.seen_as, SeenAs::Edge);
    assert_eq!(group.caller.as_deref(), Some("render"));
}

#[test]
fn a_library_under_one_caller_is_told_as_its_caller() {
    let mut before = service();
    before.push(("main;serve;load;parse;memcpy", 0.06));
    let mut after = service();
    after.push(("main;serve;load;parse;memcpy", 0.12));
    let judgement = judged(&before, &after);
    let group = only(&judgement);
    assert_eq!(group.suspects[0], "parse", "{group:?}");
    assert!(group.chain.contains(&"memcpy".to_owned()), "{group:?}");
}

#[test]
fn two_causes_are_two_groups() {
    let after: Vec<(&str, f64)> = scaled("main;serve;find;rank", 1.6)
        .into_iter()
        .map(|(stack, share)| (stack, if stack.ends_with("tax") { 2.0 * share } else { share }))
        .collect();
    let judgement = judged(&service(), &after);
    let mut roots: Vec<String> = judgement.groups.iter().map(root).collect();
    roots.sort();
    assert_eq!(roots, ["rank (self)", "tax (self)"]);
}

#[test]
fn an_improvement_is_a_group_of_its_own_direction() {
    let judgement = judged(&service(), &scaled("main;serve;find;index", 0.4));
    let group = only(&judgement);
    assert_eq!((root(group).as_str(), group.direction), ("index (total)", Direction::Better));
}

#[test]
fn every_significant_verdict_but_the_root_is_explained() {
    let judgement = judged(&service(), &scaled("main;serve;find;index", 1.8));
    let group = only(&judgement);
    let significant: Vec<&Verdict> =
        judgement.verdicts.iter().filter(|verdict| verdict.significant).collect();
    assert!(significant.len() > 2, "{significant:?}");
    for verdict in significant {
        let is_root = verdict.subject == group.root.subject;
        assert_eq!(verdict.explained_by.is_none(), is_root, "{verdict:?}");
    }
}
