//! The temporal mode on services whose truth is known: 40 functions, a day of 20 % amplitude, Poisson counts.

use super::*;
use crate::detect::{Direction, FunctionKind, Subject};
use crate::diff::{FunctionKey, StackCount, StackTable};

const DAY: u64 = 144;

/// Monday, 5 January 2026, in windows of ten minutes.
const BEGIN: u64 = 20_458 * DAY;

const FUNCTIONS: u64 = 40;

/// `SplitMix64` (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The rounded normal; every mean here is above 30.
    fn poisson(&mut self, mean: f64) -> u64 {
        let radius = (-2.0 * self.uniform().max(f64::MIN_POSITIVE).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        mean.sqrt().mul_add(normal, mean).round().max(0.0) as u64
    }
}

fn key(function: u64) -> FunctionKey {
    FunctionKey { module: "app".to_owned(), function: format!("f{function}") }
}

fn own(function: u64) -> Watched {
    Watched::Of(Subject::Function {
        module: "app".to_owned(),
        function: format!("f{function}"),
        kind: FunctionKind::SelfTime,
    })
}

/// Windows of `days`; `factor` gives what a function's cost is multiplied with, by (window, function). Each function
/// but the first is called by the first of its ten.
fn timeline(days: u64, factor: impl Fn(u64, u64) -> f64) -> Timeline {
    let mut timeline = Timeline::with_room((days * DAY) as usize, (days * 24) as usize);
    let mut random = Random(days);
    for window in 0..days * DAY {
        let hour = window as f64 / 6.0;
        let mut functions = Vec::new();
        let mut samples = 0;
        let mut groups = [0; 4];
        for function in 0..FUNCTIONS {
            let day = 0.2 * (std::f64::consts::TAU * (hour - function as f64) / 24.0).sin();
            let mean = 1_500.0 / (1.0 + (function % 10) as f64) * day.exp();
            let count = random.poisson(mean * factor(window, function));
            samples += count;
            groups[(function / 10) as usize] += count;
            functions.push((key(function), count, count));
        }
        for (group, sum) in groups.into_iter().enumerate() {
            functions[10 * group].2 = sum;
        }
        timeline.record(&WindowCounts {
            start_unix_ns: (BEGIN + window) * FINE_NS,
            total: Total { samples, cpu_ns: samples * 10_000_000, unit_seconds: 6_000 },
            functions,
        });
    }
    let names: Vec<FunctionKey> = (0..FUNCTIONS).map(key).collect();
    let count = |samples| vec![StackCount { replicate: 0, samples }];
    let stacks = (0..FUNCTIONS as u32).map(|function| {
        let root = function / 10 * 10;
        if root == function { (vec![root], count(5)) } else { (vec![root, function], count(5)) }
    });
    timeline.learn_structure(&names, &StackTable::new(stacks.collect()));
    timeline
}

fn judged(timeline: &Timeline) -> TemporalJudgement {
    judge(timeline, &Mask::default(), &TemporalOptions::default())
}

fn state(judgement: &TemporalJudgement, rung: Rung) -> RungState {
    judgement.rungs.iter().find(|(one, _)| *one == rung).map(|(_, state)| *state).unwrap()
}

#[test]
fn a_quiet_service_is_judged_on_every_rung_and_nothing_is_found() {
    let timeline = timeline(27, |_, _| 1.0);
    let judgement = judged(&timeline);
    assert_eq!(judgement.findings, []);
    for rung in Rung::ALL {
        let state = state(&judgement, rung);
        assert!(
            matches!(state, RungState::Judged { tests, .. } if tests > 40),
            "{rung:?} {state:?}"
        );
    }
}

#[test]
fn a_young_service_is_met_with_silence_and_its_reason() {
    for days in [1, 2, 3] {
        let judgement =
            judged(&timeline(days, |_, function| if function == 3 { 3.0 } else { 1.0 }));
        assert_eq!(judgement.findings, []);
        let state = state(&judgement, Rung::Hour);
        assert!(matches!(state, RungState::NotYet { have, need } if have < need), "{state:?}");
    }
    let nothing = judged(&Timeline::default());
    assert!(nothing.rungs.iter().all(|(_, state)| !matches!(state, RungState::Judged { .. })));
}

#[test]
fn a_step_is_found_once_with_its_size_its_beginning_and_its_root() {
    let begin = 24 * DAY;
    let timeline =
        timeline(25, |window, function| if window >= begin && function == 11 { 1.5 } else { 1.0 });
    let judgement = judged(&timeline);
    assert_eq!(judgement.findings.len(), 1, "{:?}", judgement.findings);
    let finding = &judgement.findings[0];
    assert_eq!((&finding.watched, finding.direction), (&own(11), Direction::Worse));
    let [low, high] = finding.interval;
    assert!(low < 0.5 && 0.5 < high && high - low < 0.2, "{finding:?}");
    let at = (BEGIN + begin) * FINE_NS;
    let within = finding.change_point.within;
    assert!(within.start_unix_ns <= at && at < within.end_unix_ns, "{:?}", finding.change_point);
    assert!(finding.baseline.windows.iter().all(|span| span.end_unix_ns <= at));
}

#[test]
fn a_large_step_in_a_calm_service_is_found_in_one_window() {
    let begin = 24 * DAY;
    let timeline =
        timeline(26, |window, function| if window >= begin && function == 2 { 2.0 } else { 1.0 });
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    let first = judge.at((BEGIN + begin + 1) * FINE_NS);
    assert!(
        matches!(&first.findings[..], [one] if one.pace == Pace::Fast && one.watched == own(2)),
        "{first:?}"
    );
    assert_eq!(judge.at((BEGIN + begin) * FINE_NS).findings, []);
}

#[test]
fn what_goes_away_within_six_hours_is_outlasted_once_the_service_is_known_for_it() {
    let bursts = [10 * DAY, 14 * DAY + 42, 20 * DAY];
    let timeline = timeline(22, |window, function| {
        let burst = bursts.iter().any(|begin| (*begin..begin + 30).contains(&window));
        if burst && function == 5 { 1.6 } else { 1.0 }
    });
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    for window in (15 * DAY..22 * DAY).step_by(6) {
        let judgement = judge.at((BEGIN + window) * FINE_NS);
        assert_eq!(judgement.findings, [], "window {window}");
        assert_eq!(judgement.longest_disturbance_hours, 5);
    }
    let state = state(&judge.at((BEGIN + 21 * DAY) * FINE_NS), Rung::TenMinutes);
    assert_eq!(state, RungState::Restless { hours: 5 });
}

#[test]
fn one_function_that_shrinks_makes_no_other_grow() {
    let begin = 24 * DAY;
    let timeline =
        timeline(25, |window, function| if window >= begin && function == 0 { 0.2 } else { 1.0 });
    let judgement = judged(&timeline);
    assert!(!judgement.findings.is_empty());
    for finding in &judgement.findings {
        assert_eq!(finding.direction, Direction::Better, "{finding:?}");
    }
}

#[test]
fn slow_growth_is_found_by_its_trend() {
    let begin = 12 * DAY;
    let timeline = timeline(28, |window, function| {
        let grown = window.saturating_sub(begin) as f64 / (16 * DAY) as f64;
        if function == 21 { 1.0 + 0.4 * grown } else { 1.0 }
    });
    let judgement = judged(&timeline);
    let slow: Vec<&TemporalFinding> =
        judgement.findings.iter().filter(|finding| finding.pace == Pace::Slow).collect();
    assert!(slow.iter().any(|finding| finding.watched == own(21)), "{judgement:?}");
}

#[test]
fn a_change_that_stays_never_becomes_its_own_baseline() {
    let begin = 15 * DAY;
    let timeline =
        timeline(35, |window, function| if window >= begin && function == 11 { 1.5 } else { 1.0 });
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    let found = judge.at((BEGIN + begin + DAY) * FINE_NS).findings;
    let [finding] = &found[..] else { panic!("{found:?}") };
    // Weeks later, when the history holds nothing from before, as it is stored with the alert.
    let text = serde_json::to_string(finding).unwrap();
    let stored: TemporalFinding = serde_json::from_str(&text).unwrap();
    for day in 17..=35 {
        let end = (BEGIN + day * DAY) * FINE_NS;
        let again = judge.remeasure(&stored.watched, &stored.baseline, end);
        let Remeasured::Change { delta_rel, interval } = again else { panic!("{again:?}") };
        assert!((0.4..0.6).contains(&delta_rel), "day {day}: {delta_rel}");
        assert!(interval[0] > 0.3);
    }
}

#[test]
fn a_change_that_was_taken_back_is_measured_as_gone() {
    let change = 20 * DAY..22 * DAY;
    let timeline = timeline(
        24,
        |window, function| {
            if change.contains(&window) && function == 11 { 1.5 } else { 1.0 }
        },
    );
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    let found = judge.at((BEGIN + 21 * DAY) * FINE_NS).findings;
    let [finding] = &found[..] else { panic!("{found:?}") };
    let end = (BEGIN + 24 * DAY) * FINE_NS;
    let again = judge.remeasure(&finding.watched, &finding.baseline, end);
    let Remeasured::Change { interval, .. } = again else { panic!("{again:?}") };
    assert!(interval[1] < 0.1, "{interval:?}");
}

#[test]
fn masked_windows_are_no_baseline() {
    let change = 20 * DAY..23 * DAY;
    let timeline = timeline(
        24,
        |window, function| {
            if change.contains(&window) && function == 11 { 1.5 } else { 1.0 }
        },
    );
    let span = Span {
        start_unix_ns: (BEGIN + change.start) * FINE_NS,
        end_unix_ns: (BEGIN + change.end) * FINE_NS,
    };
    let mut mask = Mask::default();
    mask.leave_out_of(&own(11), span);
    let options = TemporalOptions::default();
    let end = (BEGIN + change.end) * FINE_NS;
    let masked = Judge::new(&timeline, &mask, &options).at(end);
    // After three days the trailing baseline alone would have learned the change.
    let finding = masked.findings.iter().find(|finding| finding.watched == own(11)).unwrap();
    assert!((0.4..0.6).contains(&finding.delta_rel), "{finding:?}");
    assert!(finding.baseline.windows.iter().all(|one| one.end_unix_ns <= span.start_unix_ns));
}

#[test]
fn windows_count_once_and_may_come_late() {
    let window = |number: u64| WindowCounts {
        start_unix_ns: (BEGIN + number) * FINE_NS,
        total: Total { samples: 100, cpu_ns: 1, unit_seconds: 600 },
        functions: vec![(key(1), 40, 100)],
    };
    let mut timeline = Timeline::default();
    assert_eq!(timeline.record(&window(5)), Recorded::Added);
    assert_eq!(timeline.record(&window(5)), Recorded::Repeated);
    assert_eq!(timeline.record(&window(3)), Recorded::Added);
    assert_eq!(timeline.record(&window(3)), Recorded::Repeated);
    let hours: Vec<[u64; 3]> = timeline.hourly(0).collect();
    assert_eq!(hours, [[80, 200, 200]]);
    assert_eq!(
        timeline.record(&WindowCounts { start_unix_ns: 7, ..WindowCounts::default() }),
        Recorded::Empty
    );
    assert_eq!(timeline.record(&window(5 + 40 * DAY)), Recorded::Added);
    assert_eq!(timeline.record(&window(6)), Recorded::TooLate);
}

#[test]
fn much_larger_functions_take_the_places_of_the_smallest() {
    let all = HISTORY_FUNCTIONS_MAX as u64;
    let window = |number: u64, fresh: &[(u64, u64)]| {
        let old = (0..all).map(|function| (function, 1_000 + function));
        let functions: Vec<_> = old
            .chain(fresh.iter().copied())
            .map(|(function, samples)| (key(function), samples, samples))
            .collect();
        let samples = functions.iter().map(|(_, own, _)| own).sum();
        let total = Total { samples, cpu_ns: 1, unit_seconds: 600 };
        WindowCounts { start_unix_ns: (BEGIN + number) * FINE_NS, total, functions }
    };
    let mut timeline = Timeline::default();
    timeline.record(&window(0, &[]));
    assert_eq!(timeline.functions().len() as u64, all);
    timeline.record(&window(1, &[(1_000, 9_000), (1_001, 4_000), (1_002, 2_003)]));
    let followed: Vec<&FunctionKey> =
        timeline.functions().iter().map(|followed| &followed.key).collect();
    assert_eq!(followed.len() as u64, all);
    for (function, is_followed) in [(0, false), (1, false), (2, true), (3, true)] {
        assert_eq!(followed.contains(&&key(function)), is_followed, "function {function}");
    }
    for (function, is_followed) in [(1_000, true), (1_001, true), (1_002, false)] {
        assert_eq!(followed.contains(&&key(function)), is_followed, "function {function}");
    }
    // What stays keeps its counts, in its own row.
    let place = followed.iter().position(|followed| **followed == key(2)).expect("it is there");
    assert_eq!(timeline.hourly(place).next().expect("one hour")[0], 2 * 1_002);
}

#[test]
fn a_function_that_chance_brought_to_notice_has_not_grown() {
    let mut timeline = Timeline::with_room((25 * DAY) as usize, 25 * 24);
    let mut random = Random(3);
    for window in 0..25 * DAY {
        let large = random.poisson(1_300.0);
        // About half a percent, far below what is followed, but for one window.
        let small = if window == 20 * DAY { 25 } else { random.poisson(36.0) / 6 };
        let functions = vec![(key(0), large, large), (key(1), small, small)];
        let total = Total { samples: large + small, cpu_ns: 10_000_000_000, unit_seconds: 600 };
        let start_unix_ns = (BEGIN + window) * FINE_NS;
        timeline.record(&WindowCounts { start_unix_ns, total, functions });
    }
    assert_eq!(timeline.functions().len(), 2, "it is followed from then on");
    let options = TemporalOptions::default();
    let judge = Judge::new(&timeline, &Mask::default(), &options);
    for window in (20 * DAY..=25 * DAY).step_by(36) {
        let findings = judge.at((BEGIN + window) * FINE_NS).findings;
        assert!(findings.is_empty(), "{findings:?}");
    }
}
