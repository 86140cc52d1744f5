//! Loads the real kernel program on the running kernel. Needs root; says so when it cannot run.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use flamewatch_agent::drain::{Drain, SignKind};
use flamewatch_agent::kernel::{Kernel, LoadError, LoadOptions};
use flamewatch_agent::latency::SyscallWindow;
use profiler_common::abi::settings::Scope;

fn options(scope: Scope) -> LoadOptions {
    LoadOptions {
        frequency_hz: 99,
        scope,
        targets: vec![std::process::id()],
        cgroup_id: 0,
        cpu_samples: true,
        syscalls: true,
        kernel_log: false,
    }
}

/// A child that one test starts would be a child of the target of another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Loads the program, or says why the test is skipped. The guard is held until the test ends.
fn load(scope: Scope) -> Option<(MutexGuard<'static, ()>, Kernel)> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match Kernel::load(&options(scope)) {
        Ok(kernel) => Some((guard, kernel)),
        Err(error @ LoadError::NotPermitted { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn spin_until_sampled(drain: &mut Drain, kernel: &mut Kernel) {
    let mut samples = 0;
    let mut number = 1u64;
    while samples < 20 {
        for _ in 0..10_000_000 {
            number = std::hint::black_box(number.wrapping_mul(31));
        }
        samples += drain.drain(kernel, &mut |_| {}).samples;
    }
}

#[test]
fn every_sample_the_kernel_took_is_drained_or_counted_as_lost() {
    let Some((_guard, mut kernel)) = load(Scope::All) else { return };
    assert!(kernel.degraded().is_empty(), "{:?}", kernel.degraded());
    let mut drain = Drain::new();
    spin_until_sampled(&mut drain, &mut kernel);
    kernel.stop_sampling();
    drain.drain(&mut kernel, &mut |_| {});
    let counters = kernel.counters().unwrap();
    let lost: u64 = counters.lost().map(|(_, samples)| samples).sum();
    let window = drain.take_window();
    assert_eq!(counters.taken(), window.taken + lost);
    assert!(window.lost.is_empty());
    sleep(Duration::from_millis(100));
    assert_eq!(kernel.counters().unwrap(), counters, "nothing is attached any more");
}

#[test]
fn only_targets_and_their_children_are_sampled_and_traced() {
    let Some((_guard, mut kernel)) = load(Scope::Targets) else { return };
    let mut reader = kernel.latency_reader().unwrap();
    let mut drain = Drain::new();
    let child = Command::new("sh").args(["-c", "exec true"]).spawn().unwrap();
    let child_id = child.id();
    child.wait_with_output().unwrap();
    spin_until_sampled(&mut drain, &mut kernel);
    let ours = [std::process::id(), child_id];
    let sampled = drain.take_window().samples;
    assert!(sampled.iter().all(|sample| ours.contains(&sample.process.tgid)));
    let traced = reader.take_window(&|_| true);
    assert!(traced.iter().all(|window| ours.contains(&window.process.tgid)));
    assert!(traced.iter().any(|window| window.process.tgid == child_id), "children follow");
}

#[test]
fn exec_and_exit_of_a_process_are_seen_with_its_start() {
    let Some((_guard, mut kernel)) = load(Scope::All) else { return };
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut seen = Vec::new();
    Drain::new().drain(&mut kernel, &mut |sign| {
        if sign.key.tgid == child.id() && sign.kind != SignKind::Sample {
            seen.push((sign.kind, sign.key.start_ns));
        }
    });
    let kinds: Vec<SignKind> = seen.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [SignKind::Exec, SignKind::Exit]);
    assert!(seen[0].1 > 0 && seen[0].1 == seen[1].1);
}

#[test]
fn calls_are_counted_exactly_and_timed_within_a_bucket() {
    const SLEEP: Duration = Duration::from_millis(10);
    let Some((_guard, kernel)) = load(Scope::Targets) else { return };
    let mut reader = kernel.latency_reader().unwrap();
    reader.take_window(&|_| true);
    for _ in 0..10_000 {
        std::hint::black_box(rustix::process::getppid());
    }
    for _ in 0..7 {
        sleep(SLEEP);
        // A call that fails with a known error: there is no such child.
        let _ = rustix::process::getpriority_process(rustix::process::Pid::from_raw(i32::MAX));
    }
    let windows: BTreeMap<String, SyscallWindow> = reader
        .take_window(&|_| true)
        .into_iter()
        .filter(|window| window.process.tgid == std::process::id())
        .map(|window| (window.name.clone(), window))
        .collect();
    assert_eq!(windows["getppid"].histogram.calls(), 10_000);
    let priority = &windows["getpriority"];
    assert_eq!(priority.errors, [(libc::ESRCH as u32, 7)]);
    let sleeps = &windows["clock_nanosleep"];
    assert!(sleeps.waiting && sleeps.histogram.calls() >= 7);
    let [shortest] = sleeps.histogram.quantiles_ns([0.0]);
    assert!(shortest as f64 >= SLEEP.as_nanos() as f64 * 0.93, "{shortest}");
}
