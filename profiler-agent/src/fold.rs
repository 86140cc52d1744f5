//! Gathers named stacks and syscalls of a window by service.
//!
//! Pure: what comes out depends on what was added, never on the order in which it was.

use std::collections::BTreeMap;

use profiler_common::abi::sample::WalkEnd;
use profiler_common::profile::{Frame, LatencyHistogram, Profile, Quality};

use crate::latency::SyscallWindow;
use crate::process::Identity;

/// One window of this host, ready to be shipped or written to a file.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// Start, Unix time in nanoseconds, inclusive.
    pub start_unix_ns: u64,
    /// End, Unix time in nanoseconds, exclusive.
    pub end_unix_ns: u64,
    /// What each service did, sorted by identity.
    pub services: Vec<ServiceWindow>,
}

/// What one service did in a window.
#[derive(Debug, Clone)]
pub struct ServiceWindow {
    /// Which service.
    pub identity: Identity,
    /// CPU time that one sample stands for, in nanoseconds.
    pub period_ns: u64,
    /// On-CPU samples.
    pub profile: Profile,
    /// How the walks over the user stacks of these samples ended.
    pub walks: Quality,
    /// Syscalls, sorted by name; a name stands twice only when it both waits and does not.
    pub syscalls: Vec<ServiceSyscall>,
}

/// Calls of one syscall by one service in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSyscall {
    /// Name of the syscall.
    pub name: String,
    /// Whether the call waits by design.
    pub waiting: bool,
    /// Latencies.
    pub histogram: LatencyHistogram,
    /// (positive errno, calls), by rising errno.
    pub errors: Vec<(u32, u64)>,
}

/// Gathers one window; processes with the same identity become one service.
#[derive(Debug)]
pub struct Folder {
    period_ns: u64,
    services: BTreeMap<Identity, Gathered>,
}

/// What was added to one service so far.
#[derive(Debug, Default)]
struct Gathered {
    /// Frames are kept once: a stack of theirs would take kilobytes, and long to compare.
    profile: Profile,
    walks: Quality,
    syscalls: BTreeMap<(String, bool), Calls>,
}

/// Calls of one syscall so far.
#[derive(Debug, Default)]
struct Calls {
    histogram: LatencyHistogram,
    errors: BTreeMap<u32, u64>,
}

impl Folder {
    /// Starts an empty window in which each sample stands for `period_ns` nanoseconds of CPU time.
    #[must_use]
    pub fn new(period_ns: u64) -> Self {
        Self { period_ns, services: BTreeMap::new() }
    }

    /// Adds `count` samples of a stack given root first; the walk over its user part ended with `end`.
    pub fn add_stack(&mut self, identity: &Identity, frames: &[Frame], end: WalkEnd, count: u64) {
        let Gathered { profile, walks, .. } = self.service(identity);
        walks.add(end.name(), count);
        profile.add(frames, count);
    }

    /// Adds the calls of one syscall of one process.
    pub fn add_syscall(&mut self, identity: &Identity, window: SyscallWindow) {
        let SyscallWindow { process: _, name, waiting, histogram, errors } = window;
        let calls = self.service(identity).syscalls.entry((name, waiting)).or_default();
        calls.histogram.merge(&histogram);
        for (errno, count) in errors {
            let known = calls.errors.entry(errno).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Ends the window: services sorted by identity, stacks by frames, syscalls by name.
    #[must_use]
    pub fn finish(self, start_unix_ns: u64, end_unix_ns: u64) -> Window {
        let period_ns = self.period_ns;
        let services = self
            .services
            .into_iter()
            .map(|(identity, gathered)| gathered.into_window(identity, period_ns))
            .collect();
        Window { start_unix_ns, end_unix_ns, services }
    }

    fn service(&mut self, identity: &Identity) -> &mut Gathered {
        // Looked up first: most calls meet a known service, and an identity is dear to clone.
        if !self.services.contains_key(identity) {
            self.services.insert(identity.clone(), Gathered::default());
        }
        self.services.get_mut(identity).expect("it was inserted above if it was missing")
    }
}

impl Gathered {
    fn into_window(self, identity: Identity, period_ns: u64) -> ServiceWindow {
        let syscalls = self
            .syscalls
            .into_iter()
            .map(|((name, waiting), Calls { histogram, errors })| ServiceSyscall {
                name,
                waiting,
                histogram,
                errors: errors.into_iter().collect(),
            })
            .collect();
        let profile = self.profile.into_sorted();
        ServiceWindow { identity, period_ns, profile, walks: self.walks, syscalls }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::ProcessKey;

    /// One call of the folder; small numbers so that equal services, stacks and syscalls meet.
    #[derive(Debug, Clone)]
    enum Add {
        Stack { service: u8, frames: Vec<u8>, end: WalkEnd, count: u64 },
        Syscall { service: u8, name: u8, bucket: u32, errno: u32 },
    }

    fn add() -> impl Strategy<Value = Add> {
        prop_oneof![
            (
                0u8..3,
                proptest::collection::vec(0u8..3, 0..3),
                proptest::sample::select(WalkEnd::ALL),
                1u64..9
            )
                .prop_map(|(service, frames, end, count)| Add::Stack {
                    service,
                    frames,
                    end,
                    count
                }),
            (0u8..3, 0u8..4, 0u32..4, 0u32..3).prop_map(|(service, name, bucket, errno)| {
                Add::Syscall { service, name, bucket, errno }
            }),
        ]
    }

    fn identity(service: u8) -> Identity {
        let (version, unit) = ("v1".to_owned(), "box".to_owned());
        Identity { service: format!("s{service}"), version, unit, labels: Vec::new() }
    }

    fn folded(adds: &[Add]) -> Window {
        let mut folder = Folder::new(1000);
        for add in adds {
            match add {
                Add::Stack { service, frames, end, count } => {
                    let frames: Vec<_> =
                        frames.iter().map(|frame| Frame::marker(&frame.to_string())).collect();
                    folder.add_stack(&identity(*service), &frames, *end, *count);
                }
                Add::Syscall { service, name, bucket, errno } => {
                    folder.add_syscall(&identity(*service), syscall(*name, *bucket, *errno));
                }
            }
        }
        folder.finish(5, 15)
    }

    fn syscall(name: u8, bucket: u32, errno: u32) -> SyscallWindow {
        let mut histogram = LatencyHistogram::default();
        histogram.add(bucket, 1);
        histogram.sum_ns = u64::from(bucket);
        SyscallWindow {
            process: ProcessKey { tgid: 1, start_ns: 1 },
            name: format!("call{}", name / 2),
            waiting: name % 2 == 1,
            histogram,
            errors: if errno > 0 { vec![(errno, 1)] } else { Vec::new() },
        }
    }

    /// Everything in a window, with the order in which it stands there.
    fn content(window: &Window) -> String {
        let services = window.services.iter().map(|service| {
            let ServiceWindow { identity, period_ns, profile, walks, syscalls } = service;
            let stacks: Vec<_> = profile.named_stacks().collect();
            format!("{identity:?} {period_ns} {stacks:?} {walks:?} {syscalls:?}\n")
        });
        services.collect()
    }

    #[test]
    fn an_empty_window_keeps_its_times() {
        let window = Folder::new(1).finish(3, 4);
        assert_eq!((window.start_unix_ns, window.end_unix_ns, window.services.len()), (3, 4, 0));
    }

    #[test]
    fn waiting_calls_and_others_of_one_name_stay_apart() {
        let mut folder = Folder::new(1);
        for name in [0, 1, 1] {
            folder.add_syscall(&identity(0), syscall(name, 3, 2));
        }
        let window = folder.finish(0, 1);
        let calls: Vec<_> = window.services[0]
            .syscalls
            .iter()
            .map(|call| (call.waiting, call.histogram.calls(), call.errors.clone()))
            .collect();
        assert_eq!(calls, [(false, 1, vec![(2, 1)]), (true, 2, vec![(2, 2)])]);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_same_window(
            (adds, shuffled) in proptest::collection::vec(add(), 0..30)
                .prop_flat_map(|adds| (Just(adds.clone()), Just(adds).prop_shuffle()))
        ) {
            prop_assert_eq!(content(&folded(&adds)), content(&folded(&shuffled)));
        }

        #[test]
        fn the_walks_of_a_service_are_those_of_its_samples(
            adds in proptest::collection::vec(add(), 0..30)
        ) {
            for service in folded(&adds).services {
                let walked: u64 = service.walks.ends().map(|(_, samples)| samples).sum();
                prop_assert_eq!(walked, service.profile.total());
            }
        }

        #[test]
        fn no_sample_and_no_call_is_lost(adds in proptest::collection::vec(add(), 0..30)) {
            let window = folded(&adds);
            let (mut samples, mut calls) = (0, 0);
            for add in &adds {
                match add {
                    Add::Stack { count, .. } => samples += count,
                    Add::Syscall { .. } => calls += 1,
                }
            }
            let folded_samples: u64 = window.services.iter().map(|s| s.profile.total()).sum();
            let syscalls = window.services.iter().flat_map(|service| &service.syscalls);
            let folded_calls: u64 = syscalls.map(|syscall| syscall.histogram.calls()).sum();
            prop_assert_eq!((folded_samples, folded_calls), (samples, calls));
        }
    }
}
