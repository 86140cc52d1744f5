//! Turns the bytes of the sample ring into raw samples, and counts equal ones together.
//!
//! It knows no process beyond its number, start and name, and resolves no address.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use indexmap::{Equivalent, IndexMap};
use profiler_common::abi::event::{EventKind, PATH_BYTES, ProcessEvent};
use profiler_common::abi::sample::{RawStack, SampleHeader, WalkEnd};

use crate::process::ProcessKey;
use crate::source::SampleSource;

/// Most unique stacks in one window. A 64-core host at 99 Hz takes 63,360 samples in 10 s, so only captures of huge
/// hosts can reach it; at about 700 bytes a stack it bounds the window at 50 MB.
pub const UNIQUE_STACKS_MAX: usize = 65_536;

/// A record of the ring that makes no sense.
pub const LOST_UNDECODABLE: &str = "undecodable";

/// The window holds [`UNIQUE_STACKS_MAX`] stacks already.
pub const LOST_WINDOW_FULL: &str = "window_full";

/// A stack of addresses of one process, and how often it was seen in the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSample {
    /// The process.
    pub process: ProcessKey,
    /// Name of the thread that was sampled first with this stack.
    pub comm: String,
    /// Cgroup (v2) of the thread.
    pub cgroup_id: u64,
    /// Kernel addresses, leaf first.
    pub kernel: Box<[u64]>,
    /// User addresses, leaf first. All but the first are return addresses.
    pub user: Box<[u64]>,
    /// How the user walk ended.
    pub walk_end: WalkEnd,
    /// Number of samples.
    pub count: u64,
}

/// Why a process is made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignKind {
    /// It runs another program now.
    Exec,
    /// Its last thread ended.
    Exit,
    /// Its first sample of this window was drained.
    Sample,
}

/// A sign of life, or of death, of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSign {
    /// The process.
    pub key: ProcessKey,
    /// What happened.
    pub kind: SignKind,
    /// Name of the thread that gave the sign.
    pub comm: String,
    /// File name of the program that it runs from now on; empty where the sign does not tell.
    pub program: String,
    /// Cgroup (v2) of that thread.
    pub cgroup_id: u64,
}

/// How the walk of one sample went.
#[derive(Debug)]
pub struct Walk<'r> {
    /// The process.
    pub process: ProcessKey,
    /// How it ended.
    pub end: WalkEnd,
    /// Monotonic time of the sample in nanoseconds.
    pub time_ns: u64,
    stack: RawStack<'r>,
}

impl Walk<'_> {
    /// The addresses whose rules the walk took: the leaf, and the call before each return address.
    pub fn rule_addresses(&self) -> impl Iterator<Item = u64> {
        self.stack
            .user()
            .enumerate()
            .map(|(index, address)| if index == 0 { address } else { address.saturating_sub(1) })
    }
}

/// What a drain comes upon.
#[derive(Debug)]
pub enum Shown<'s> {
    /// A process shows itself.
    Process(&'s ProcessSign),
    /// A sample.
    Walk(&'s Walk<'s>),
}

/// What one drain read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Sample records.
    pub samples: usize,
    /// Event records.
    pub events: usize,
}

/// What was drained since the window began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainedWindow {
    /// Unique stacks, in the order of their first sample.
    pub samples: Vec<RawSample>,
    /// Sample records drained: the counts of `samples` plus all of `lost`.
    pub taken: u64,
    /// Samples lost here, by reason; reasons without a loss are left out.
    pub lost: Vec<(&'static str, u64)>,
}

/// Decodes records and counts equal stacks together until the window is taken.
#[derive(Debug, Default)]
pub struct Drain {
    stacks: IndexMap<StackKey, StackCount>,
    seen: HashSet<ProcessKey>,
    taken: u64,
    undecodable: u64,
    window_full: u64,
}

impl Drain {
    /// Starts with an empty window.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads all that waits in the source, events first, and calls `sign` for each process that shows itself.
    pub fn drain(
        &mut self,
        source: &mut dyn SampleSource,
        sign: &mut dyn FnMut(&ProcessSign),
    ) -> DrainReport {
        self.drain_watched(source, &mut |shown| {
            if let Shown::Process(shown) = shown {
                sign(shown);
            }
        })
    }

    /// Reads all that waits in the source, events first, and calls `watch` for each process that shows itself, and for
    /// each sample.
    pub fn drain_watched(
        &mut self,
        source: &mut dyn SampleSource,
        watch: &mut dyn FnMut(&Shown<'_>),
    ) -> DrainReport {
        let events = source.read_events(&mut |record| {
            if let Some(event) = decode_event(record) {
                watch(&Shown::Process(&event));
            }
        });
        let samples = source.read_samples(&mut |record| self.add(record, watch));
        DrainReport { samples, events }
    }

    /// Ends the window and starts the next one.
    pub fn take_window(&mut self) -> DrainedWindow {
        let Self { stacks, seen, taken, undecodable, window_full } = std::mem::take(self);
        drop(seen);
        let lost = [(LOST_UNDECODABLE, undecodable), (LOST_WINDOW_FULL, window_full)];
        DrainedWindow {
            samples: stacks.into_iter().map(|(key, count)| key.into_sample(count)).collect(),
            taken,
            lost: lost.into_iter().filter(|(_, samples)| *samples > 0).collect(),
        }
    }

    fn add(&mut self, record: &[u8], watch: &mut dyn FnMut(&Shown<'_>)) {
        self.taken += 1;
        let Some((header, stack)) = SampleHeader::parse(record) else {
            self.undecodable += 1;
            return;
        };
        let Ok(walk_end) = WalkEnd::try_from(header.walk_end) else {
            self.undecodable += 1;
            return;
        };
        let process = ProcessKey { tgid: header.tgid, start_ns: header.start_ns };
        if self.seen.insert(process) {
            watch(&Shown::Process(&ProcessSign {
                key: process,
                kind: SignKind::Sample,
                comm: comm_of(&header.comm),
                program: String::new(),
                cgroup_id: header.cgroup_id,
            }));
        }
        watch(&Shown::Walk(&Walk { process, end: walk_end, time_ns: header.time_ns, stack }));
        let key = StackRef { process, walk_end, stack };
        if let Some(found) = self.stacks.get_mut(&key) {
            found.count += 1;
        } else if self.stacks.len() < UNIQUE_STACKS_MAX {
            let comm = comm_of(&header.comm);
            let first = StackCount { comm, cgroup_id: header.cgroup_id, count: 1 };
            self.stacks.insert(key.to_key(), first);
        } else {
            self.window_full += 1;
        }
    }
}

fn decode_event(record: &[u8]) -> Option<ProcessSign> {
    let event = ProcessEvent::parse(record)?;
    let kind = match EventKind::try_from(event.kind).ok()? {
        EventKind::Exec => SignKind::Exec,
        EventKind::Exit => SignKind::Exit,
    };
    let key = ProcessKey { tgid: event.tgid, start_ns: event.start_ns };
    let (comm, program) = (comm_of(&event.comm), program_of(&event.path));
    Some(ProcessSign { key, kind, comm, program, cgroup_id: event.cgroup_id })
}

/// File name of a path; empty when the path was cut off, or leads to an open file, which has a number for a name.
fn program_of(path: &[u8; PATH_BYTES]) -> String {
    let length = path.iter().position(|byte| *byte == 0).unwrap_or(PATH_BYTES);
    let path = &path[..length];
    let is_cut = length >= PATH_BYTES - 1;
    if is_cut || path.starts_with(b"/proc/") || path.starts_with(b"/dev/fd/") {
        return String::new();
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The name up to its first zero. The kernel lets a thread choose any bytes.
fn comm_of(comm: &[u8; 16]) -> String {
    let length = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..length]).into_owned()
}

/// What makes two samples the same stack.
#[derive(Debug, PartialEq, Eq)]
struct StackKey {
    process: ProcessKey,
    walk_end: WalkEnd,
    kernel: Box<[u64]>,
    user: Box<[u64]>,
}

#[derive(Debug)]
struct StackCount {
    comm: String,
    cgroup_id: u64,
    count: u64,
}

/// A [`StackKey`] that borrows the record, so that a known stack costs no allocation.
struct StackRef<'r> {
    process: ProcessKey,
    walk_end: WalkEnd,
    stack: RawStack<'r>,
}

impl StackKey {
    fn into_sample(self, count: StackCount) -> RawSample {
        let Self { process, walk_end, kernel, user } = self;
        let StackCount { comm, cgroup_id, count } = count;
        RawSample { process, comm, cgroup_id, kernel, user, walk_end, count }
    }
}

impl StackRef<'_> {
    fn to_key(&self) -> StackKey {
        StackKey {
            process: self.process,
            walk_end: self.walk_end,
            kernel: self.stack.kernel().collect(),
            user: self.stack.user().collect(),
        }
    }
}

impl Hash for StackKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_stack(self.process, self.kernel.iter().chain(&self.user).copied(), state);
    }
}

impl Hash for StackRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_stack(self.process, self.stack.kernel().chain(self.stack.user()), state);
    }
}

/// Both keys must hash alike; where the kernel frames end is left to the comparison.
fn hash_stack<H: Hasher>(process: ProcessKey, frames: impl Iterator<Item = u64>, state: &mut H) {
    process.hash(state);
    for frame in frames {
        state.write_u64(frame);
    }
}

impl Equivalent<StackKey> for StackRef<'_> {
    fn equivalent(&self, key: &StackKey) -> bool {
        self.process == key.process
            && self.walk_end == key.walk_end
            && self.stack.kernel().eq(key.kernel.iter().copied())
            && self.stack.user().eq(key.user.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Recording;
    use proptest::prelude::*;

    fn sample(tgid: u32, kernel: &[u64], user: &[u64]) -> Vec<u8> {
        SampleHeader {
            time_ns: 1,
            start_ns: 5,
            cgroup_id: 9,
            tgid,
            tid: tgid,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            kernel_frames: kernel.len() as u16,
            user_frames: user.len() as u16,
            walk_end: WalkEnd::Root as u32,
        }
        .to_record(kernel, user)
    }

    fn drain(samples: Vec<Vec<u8>>, events: Vec<Vec<u8>>) -> (Vec<ProcessSign>, DrainedWindow) {
        let mut drain = Drain::new();
        let mut signs = Vec::new();
        let mut source = Recording { samples: samples.into(), events: events.into() };
        drain.drain(&mut source, &mut |sign| signs.push(sign.clone()));
        (signs, drain.take_window())
    }

    #[test]
    fn equal_stacks_are_counted_together_and_others_apart() {
        let (signs, window) = drain(
            vec![sample(7, &[1], &[2, 3]), sample(7, &[1], &[2, 3]), sample(7, &[1, 2], &[3])],
            Vec::new(),
        );
        assert_eq!(window.samples.iter().map(|sample| sample.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(&*window.samples[0].user, [2, 3]);
        assert_eq!(&*window.samples[1].kernel, [1, 2]);
        assert_eq!(window.samples[0].comm, "worker");
        assert_eq!(signs.len(), 1, "one sign for the first sample of a process");
        assert_eq!((window.taken, window.lost), (3, Vec::new()));
    }

    #[test]
    fn a_record_that_makes_no_sense_is_counted_as_lost() {
        let mut short = sample(7, &[1], &[2]);
        short.pop();
        let mut unknown_end = sample(7, &[1], &[2]);
        unknown_end[52] = 99;
        let (_, window) = drain(vec![short, unknown_end], Vec::new());
        assert_eq!((window.taken, window.lost), (2, vec![(LOST_UNDECODABLE, 2)]));
    }

    #[test]
    fn a_full_window_loses_new_stacks_and_says_so() {
        let samples = (0..UNIQUE_STACKS_MAX as u64 + 3).map(|at| sample(1, &[], &[at])).collect();
        let (_, window) = drain(samples, Vec::new());
        assert_eq!(window.samples.len(), UNIQUE_STACKS_MAX);
        assert_eq!(window.lost, [(LOST_WINDOW_FULL, 3)]);
    }

    #[test]
    fn events_come_before_the_samples_of_the_same_drain() {
        let event = ProcessEvent {
            start_ns: 5,
            cgroup_id: 3,
            tgid: 7,
            kind: EventKind::Exec as u32,
            comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            path: [0; PATH_BYTES],
        };
        let (signs, _) = drain(vec![sample(7, &[], &[2])], vec![event.to_record()]);
        let kinds: Vec<SignKind> = signs.iter().map(|sign| sign.kind).collect();
        assert_eq!(kinds, [SignKind::Exec, SignKind::Sample]);
        assert_eq!((signs[0].comm.as_str(), signs[0].cgroup_id), ("sh", 3));
    }

    proptest! {
        #[test]
        fn any_bytes_are_either_counted_or_lost(
            records in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..300), 0..20),
        ) {
            let (_, window) = drain(records.clone(), records.clone());
            let counted: u64 = window.samples.iter().map(|sample| sample.count).sum();
            let lost: u64 = window.lost.iter().map(|(_, samples)| samples).sum();
            prop_assert_eq!(window.taken, records.len() as u64);
            prop_assert_eq!(counted + lost, window.taken);
        }

        #[test]
        fn what_goes_in_comes_out(
            kernel in proptest::collection::vec(any::<u64>(), 0..10),
            user in proptest::collection::vec(any::<u64>(), 0..10),
        ) {
            let (_, window) = drain(vec![sample(3, &kernel, &user)], Vec::new());
            prop_assert_eq!(&*window.samples[0].kernel, kernel.as_slice());
            prop_assert_eq!(&*window.samples[0].user, user.as_slice());
        }
    }

    #[test]
    fn a_program_is_named_by_the_end_of_its_path() {
        let program = |text: &str| {
            let mut path = [0; PATH_BYTES];
            path[..text.len()].copy_from_slice(text.as_bytes());
            program_of(&path)
        };
        assert_eq!(program("/usr/bin/cc1"), "cc1");
        assert_eq!(program("./build.sh"), "build.sh");
        assert_eq!(program("make"), "make");
        for nameless in ["", "/", "/dev/fd/3", "/proc/self/exe"] {
            assert_eq!(program(nameless), "", "{nameless}");
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES - 3));
        assert_eq!(program(&long), long[1..]);
        assert_eq!(program(&format!("{long}y")), "", "the rest of the name is missing");
    }
}
