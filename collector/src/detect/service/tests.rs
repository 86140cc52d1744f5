//! Costs against scipy, and what they promise. The numbers come from `tests/reference/service.py`.

use profiler_common::profile::Quality;

use super::*;
use crate::diff::{Replication, StackTable, Work};

/// Replicates with a CPU time in milliseconds over ten seconds; so many samples that counting adds nothing.
fn side(costs: &[(u32, f64)]) -> Vec<Replicate> {
    let replicate = |(index, (stratum, cpu_ms)): (usize, &(u32, f64))| Replicate {
        name: index.to_string(),
        samples: 1_000_000_000,
        cpu_ns: (cpu_ms * 1e6) as u64,
        windows: 1,
        seconds: 10.0,
        work: None,
        stratum: *stratum,
    };
    costs.iter().enumerate().map(replicate).collect()
}

fn diff(
    replication: Replication,
    baseline: &[(u32, f64)],
    candidate: &[(u32, f64)],
) -> ProfileDiff {
    ProfileDiff {
        replication,
        baseline: side(baseline),
        candidate: side(candidate),
        baseline_quality: Quality::default(),
        candidate_quality: Quality::default(),
        functions: Vec::new(),
        stacks: StackTable::default(),
        syscalls: Vec::new(),
        facts: Default::default(),
    }
}

fn cpu_of(diff: &ProfileDiff) -> ServiceCost {
    let costs = costs(diff, &Policy::default());
    costs.into_iter().find(|cost| cost.metric == CostMetric::Cpu).expect("CPU time is known")
}

fn plain(costs: &[f64]) -> Vec<(u32, f64)> {
    costs.iter().map(|cost| (0, *cost)).collect()
}

fn check(cost: &ServiceCost, [value, error, degrees]: [f64; 3]) {
    let found = cost.log_ratio;
    assert!((found.value - value).abs() < 1e-7, "{found:?}");
    assert!((found.error - error).abs() < 1e-7, "{found:?}");
    assert!((found.degrees - degrees).abs() < 1e-12, "{found:?}");
}

#[test]
fn groups_agree_with_scipy() {
    let (before, after) = (plain(&[100.0, 104.0, 97.0]), plain(&[112.0, 118.0, 109.0, 115.0]));
    let cost = cpu_of(&diff(Replication::Units, &before, &after));
    check(&cost, [0.123_275_188_711, 0.026_319_234_223, 5.0]);
    assert!((cost.p - 0.008_100_781_146).abs() < 1e-7, "{}", cost.p);
    assert!((cost.interval[0].ln() - 0.055_619_443_288).abs() < 1e-7, "{:?}", cost.interval);
    assert!((cost.interval[1].ln() - 0.190_930_934_133).abs() < 1e-7, "{:?}", cost.interval);
    assert_eq!(cost.basis, CostBasis::UnitSecond);
}

#[test]
fn pairs_agree_with_scipy() {
    let (before, after) = (plain(&[100.0, 80.0, 130.0, 95.0]), plain(&[108.0, 85.0, 141.0, 101.0]));
    let cost = cpu_of(&diff(Replication::Pairs, &before, &after));
    check(&cost, [0.070_013_682_029, 0.005_315_368_138, 3.0]);
    assert!((cost.p - 0.002_353_830_518).abs() < 1e-7, "{}", cost.p);
}

#[test]
fn strata_agree_with_least_squares() {
    let before = [(0, 100.0), (0, 104.0), (1, 50.0), (1, 52.0)];
    let after = [(0, 111.0), (1, 55.0), (1, 57.0)];
    let cost = cpu_of(&diff(Replication::Units, &before, &after));
    check(&cost, [0.090_035_182_216, 0.020_862_190_933, 3.0]);
}

#[test]
fn two_and_two_replicates_have_two_degrees_of_freedom_and_one_and_one_no_test() {
    let pair = plain(&[100.0, 101.0]);
    let cost = cpu_of(&diff(Replication::Units, &pair, &plain(&[150.0, 151.0])));
    assert!((cost.log_ratio.degrees - 2.0).abs() < 1e-12);
    let cost = cpu_of(&diff(Replication::Units, &pair[..1], &plain(&[150.0])));
    assert!(!cost.is_replicated && cost.log_ratio.degrees.is_infinite());
    assert_eq!((cost.p, cost.p_above(1.0), cost.p_below(9.0)), (1.0, 1.0, 1.0));
}

#[test]
fn replicates_that_are_equal_by_chance_still_have_the_noise_of_counting() {
    let mut diff = diff(Replication::Units, &plain(&[100.0, 100.0]), &plain(&[100.0, 100.0]));
    for replicate in diff.baseline.iter_mut().chain(&mut diff.candidate) {
        replicate.samples = 400;
    }
    // Each logarithm has variance 1/400, so the difference of two means of two has 2/2/400.
    assert!((cpu_of(&diff).log_ratio.error - 0.05).abs() < 1e-12);
}

#[test]
fn twice_the_requests_at_twice_the_time_cost_the_same() {
    let mut diff =
        diff(Replication::Units, &plain(&[100.0, 104.0, 97.0]), &plain(&[200.0, 208.0, 194.0]));
    let work = |requests, is_proxy| Some(Work { requests, is_proxy });
    for replicate in &mut diff.baseline {
        replicate.work = work(1_000.0, false);
    }
    for replicate in &mut diff.candidate {
        replicate.work = work(2_000.0, false);
    }
    let cost = cpu_of(&diff);
    assert_eq!(cost.basis, CostBasis::Request);
    assert!(cost.log_ratio.value.abs() < 1e-12, "{cost:?}");
    assert!((cost.baseline_value - 100_288.0).abs() < 50.0, "nanoseconds a request: {cost:?}");
    diff.candidate[0].work = work(2_000.0, true);
    assert_eq!(cpu_of(&diff).basis, CostBasis::ProxyRequest);
    diff.candidate[0].work = None;
    assert_eq!(cpu_of(&diff).basis, CostBasis::UnitSecond);
}

#[test]
fn a_cost_survives_json() {
    let one = cpu_of(&diff(Replication::Units, &plain(&[100.0]), &plain(&[150.0])));
    let text = serde_json::to_string(&one).unwrap();
    let back: ServiceCost = serde_json::from_str(&text).unwrap();
    assert!(back.log_ratio.degrees.is_infinite(), "JSON has no infinity: {text}");
    assert!((back.ratio - one.ratio).abs() < 1e-12);
}
