//! Windows in, replicates out.

use profiler_common::profile::{Frame, FrameKind, LatencyHistogram, Profile};
use proptest::prelude::*;

use super::super::{AHEAD_NS_MAX, Grouping, ProfileDiff, Replicate, Replication, SideFacts};
use crate::store::{LostSamples, UnitSyscall, UnitWindow};

fn window(unit: &str, start_unix_ns: u64, stacks: &[(&str, u64)]) -> UnitWindow {
    let mut profile = Profile::default();
    for (stack, count) in stacks {
        let frames: Vec<Frame> = stack
            .split(';')
            .map(|name| {
                let mut frame = Frame::marker(name);
                if name.starts_with("asm_") {
                    frame.kind = FrameKind::Kernel;
                } else if !name.starts_with('[') {
                    frame.kind = FrameKind::Native;
                }
                frame
            })
            .collect();
        profile.add(&frames, *count);
    }
    UnitWindow {
        host: "host".to_owned(),
        unit: unit.to_owned(),
        version: "1".to_owned(),
        start_unix_ns,
        cpu_ns: 0,
        profile: profile.into(),
        ..UnitWindow::default()
    }
}

fn diff(baseline: &[UnitWindow], candidate: &[UnitWindow]) -> ProfileDiff {
    ProfileDiff::new(baseline, candidate, &Grouping::default())
}

/// Samples of each replicate of a stack given by name.
fn stack(diff: &ProfileDiff, names: &str) -> Vec<u64> {
    let wanted: Vec<&str> = names.split(';').collect();
    let name = |index: &u32| diff.functions[*index as usize].function.as_str();
    let is_it = |at: &usize| diff.stacks.functions(*at).iter().map(name).eq(wanted.clone());
    let at = (0..diff.stacks.len()).find(is_it).expect("is there");
    let mut samples = vec![0; diff.baseline.len() + diff.candidate.len()];
    for count in diff.stacks.counts(at) {
        samples[count.replicate as usize] = count.samples;
    }
    samples
}

#[test]
fn a_marker_is_no_function_but_its_samples_count() {
    let diff = diff(&[window("a", 0, &[("[truncated];f", 3), ("[idle]", 2)])], &[]);
    assert_eq!(diff.functions.len(), 1);
    assert_eq!(stack(&diff, "f"), [3]);
    assert_eq!(diff.baseline_samples(), 5);
}

#[test]
fn an_interrupt_counts_for_the_function_it_hits_and_a_page_fault_for_itself() {
    let stacks = [("main;f;asm_sysvec_apic_timer_interrupt;irq", 3), ("f;asm_exc_page_fault", 2)];
    let diff = diff(&[window("a", 0, &stacks)], &[]);
    assert_eq!(stack(&diff, "main;f"), [3]);
    assert_eq!(stack(&diff, "f;asm_exc_page_fault"), [2]);
}

#[test]
fn two_units_a_side_are_replicates_and_one_unit_gives_its_windows() {
    let windows =
        [window("a", 0, &[("f", 1)]), window("a", 60, &[("f", 2)]), window("b", 0, &[("f", 4)])];
    let units = diff(&windows, &windows);
    assert_eq!(units.replication, Replication::Units);
    assert_eq!(stack(&units, "f"), [3, 4, 3, 4]);
    let mixed = diff(&windows, &windows[..2]);
    assert_eq!(mixed.replication, Replication::Windows);
    assert_eq!(mixed.baseline.len(), 3);
    assert_eq!(stack(&mixed, "f"), [1, 2, 4, 1, 2]);
}

/// A window of a host with one unit.
fn on(host: &str, start_unix_ns: u64) -> UnitWindow {
    UnitWindow { host: host.to_owned(), ..window("a", start_unix_ns, &[("f", 1)]) }
}

fn grouped(
    baseline: &[UnitWindow],
    candidate: &[UnitWindow],
    change: fn(&mut Grouping),
) -> ProfileDiff {
    let mut grouping = Grouping { window_ns: 60, ..Grouping::default() };
    change(&mut grouping);
    ProfileDiff::new(baseline, candidate, &grouping)
}

#[test]
fn hosts_that_ran_one_version_after_the_other_are_pairs() {
    let hosts = ["h1", "h2", "h3"];
    let before = hosts.map(|host| on(host, 0));
    let after = hosts.map(|host| on(host, 60));
    let pairs = diff(&before, &after);
    assert_eq!(pairs.replication, Replication::Pairs);
    let names = |side: &[Replicate]| side.iter().map(|own| own.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&pairs.baseline), hosts);
    assert_eq!(names(&pairs.candidate), hosts);
    // At the same time on the same hosts: a canary, whose hosts are shared by chance.
    assert_eq!(diff(&after, &before).replication, Replication::Units);
    assert_eq!(diff(&before[..2], &after[..2]).replication, Replication::Units);
    // A third of the hosts is not most of them.
    let more: Vec<UnitWindow> = (0..6).map(|host| on(&format!("new{host}"), 60)).collect();
    assert_eq!(diff(&before, &[&after[..], &more].concat()).replication, Replication::Units);
    let forced = grouped(&before, &[&after[..], &more].concat(), |grouping| {
        grouping.replication = Some(Replication::Pairs);
    });
    assert_eq!((forced.baseline.len(), forced.candidate.len()), (3, 3));
}

#[test]
fn a_unit_that_warms_up_is_left_out_unless_nothing_else_is_there() {
    let warm_up = |grouping: &mut Grouping| grouping.warm_up_ns = 100;
    let mut windows = vec![on("h1", 0), on("h1", 60), on("h1", 120), on("h2", 120)];
    windows[3].since_unix_ns = 120;
    let warm = grouped(&windows, &windows[..2], warm_up);
    assert_eq!(warm.baseline_samples(), 1);
    assert_eq!((warm.facts[0].warm_up_windows, warm.facts[0].is_cold), (3, false));
    assert_eq!((warm.facts[1].warm_up_windows, warm.facts[1].is_cold), (0, true));
    assert_eq!(warm.candidate_samples(), 2);
}

#[test]
fn a_window_of_the_future_is_left_out() {
    let windows = [on("h1", 0), on("h2", AHEAD_NS_MAX + 1)];
    let now = grouped(&windows, &[], |grouping| grouping.now_unix_ns = 0);
    assert_eq!((now.baseline_samples(), now.facts[0].future_windows), (1, 1));
}

#[test]
fn machines_are_strata_where_both_sides_have_several() {
    let on = |host: &str, machine: &str| UnitWindow { machine: machine.to_owned(), ..on(host, 0) };
    let before = [on("h1", "old"), on("h2", "new"), on("h3", "new")];
    let mixed = diff(&before, &[on("h4", "new"), on("h5", "old")]);
    let strata = |side: &[Replicate]| side.iter().map(|own| own.stratum).collect::<Vec<_>>();
    assert_eq!((strata(&mixed.baseline), strata(&mixed.candidate)), (vec![1, 0, 0], vec![0, 1]));
    assert_eq!(mixed.facts[0].machines(), [("new", 2), ("old", 1)].into());
    let one_kind = diff(&before, &[on("h4", "new"), on("h5", "new")]);
    assert_eq!(strata(&one_kind.baseline), [0, 0, 0]);
}

#[test]
fn calls_that_succeed_are_requests() {
    let calling = |host: &str, name: &str, calls: u64, errors: &[(u32, u64)]| {
        let mut histogram = LatencyHistogram::default();
        histogram.add(100, calls);
        let syscall = UnitSyscall {
            name: name.to_owned(),
            waiting: false,
            histogram,
            errors: errors.to_vec(),
        };
        UnitWindow { syscalls: vec![syscall], ..on(host, 0) }
    };
    let accept = [calling("h1", "accept4", 9, &[(11, 4)]), calling("h2", "accept4", 3, &[])];
    let works = |diff: &ProfileDiff| {
        let all = diff.baseline.iter().chain(&diff.candidate);
        all.map(|own| own.work.map(|work| (work.requests, work.is_proxy))).collect::<Vec<_>>()
    };
    assert_eq!(works(&diff(&accept, &accept[..1])), [5.0, 3.0, 5.0].map(|n| Some((n, true))));
    let chosen = grouped(&accept, &accept[..1], |grouping| {
        grouping.request_syscall = Some("accept4".to_owned());
    });
    assert_eq!(works(&chosen), [5.0, 3.0, 5.0].map(|n| Some((n, false))));
    // Nothing that all of them did stands for the requests of all.
    assert_eq!(works(&diff(&accept, &[calling("h3", "recvfrom", 7, &[])])), [None; 3]);
}

#[test]
fn what_a_gate_looks_at_first_is_counted() {
    let mut windows = vec![on("h1", 0), on("h1", 240), on("h2", 0), on("h3", 180), on("h3", 240)];
    for window in &mut windows {
        window.cpu_ns = 500_000_000;
        window.lost = LostSamples { taken: 10, lost: 1 };
    }
    windows[3].since_unix_ns = 170;
    windows[4].since_unix_ns = 170;
    windows[4].profile = window("a", 0, &[("f", 1), ("f;lib.so+0x12", 3)]).profile;
    let diff = grouped(&windows, &[], |_| {});
    let facts = &diff.facts[0];
    assert_eq!(facts.samples_per_cpu_second, Some(8.0 / 2.5));
    assert_eq!((facts.lost_share, facts.named_share), (Some(0.1), Some(5.0 / 8.0)));
    assert_eq!((facts.first_unix_ns, facts.last_unix_ns), (0, 300));
    assert_eq!((facts.appeared, facts.vanished, facts.interrupted), (1, 1, 1));
    let ages: Vec<f64> = facts.units.iter().map(|unit| unit.age_seconds() * 1e9).collect();
    assert_eq!(ages.iter().map(|age| age.round()).collect::<Vec<_>>(), [300.0, 60.0, 130.0]);
    assert_eq!(diff.facts[1], SideFacts::default());
}

#[test]
fn stacks_that_differ_only_by_build_are_one() {
    let stacks = [("main;f.part.0", 1), ("main;f", 2), ("main;f;asm_sysvec_reboot", 4)];
    let one = diff(&[window("a", 0, &stacks)], &[window("a", 0, &[("main;f.cold", 8)])]);
    assert_eq!(one.stacks.len(), 1);
    assert_eq!(stack(&one, "main;f"), [7, 8]);
}

proptest! {
    #[test]
    fn the_order_of_windows_does_not_matter(
        counts in proptest::collection::vec((0u64..3, 0usize..4, 1u64..50), 1..20)
    ) {
        const STACKS: [&str; 4] = ["main;f", "main;g", "main;g;f", "main;g;g;h"];
        let windows: Vec<UnitWindow> = counts
            .iter()
            .map(|(start, stack, count)| window("a", *start, &[(STACKS[*stack], *count)]))
            .collect();
        let mut reversed = windows.clone();
        reversed.reverse();
        let left = diff(&windows, &reversed);
        let right = diff(&reversed, &windows);
        prop_assert_eq!(&left.functions, &right.functions);
        prop_assert_eq!(&left.stacks, &right.stacks);
        prop_assert_eq!(&left.baseline, &left.candidate);
    }
}
