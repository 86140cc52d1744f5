//! The process table: who runs on this host, what is mapped where, and which service it is.
//!
//! A process is discovered when it runs a program and when it is first sampled, and is kept until the window in which
//! it ended is closed, so that its samples can still be located and named then.

mod container;
mod executable;
mod facts;
mod identity;
mod image;
mod mappings;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

pub use executable::{EXECUTABLES_MAX, Executable, FileId};
pub(crate) use executable::{open_in_root, open_regular};
pub(crate) use facts::{Status, read_status};
pub use mappings::{MAPPINGS_MAX, Mapping, MappingKind, parse_mappings};

use crate::drain::{ProcessSign, SignKind};
use crate::normalize::Located;
use executable::ExecutableCache;
use identity::Facts;
use image::Image;

/// Most processes kept. With 50 mappings of 200 bytes each, that is 160 MB on a host full of large processes.
pub const PROCESSES_MAX: usize = 16_384;

/// Most bytes of mappings kept of all processes: programs may map the same file thousands of times, under long names.
const IMAGES_BYTES_MAX: usize = 256 << 20;

/// Most processes discovered by running a program in one window, at about 0.2 ms each: 50 ms of 10 s. The others are
/// discovered by their first sample.
const EXEC_DISCOVERIES_MAX: u32 = 256;

/// Windows between two looks for processes whose end was not reported.
const SWEEP_WINDOWS: u32 = 6;

/// A process, told apart from an earlier one with the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process, as the initial pid namespace counts it.
    pub tgid: u32,
    /// Start in nanoseconds since boot (`CLOCK_BOOTTIME`); 0 where the kernel gave none.
    pub start_ns: u64,
}

/// Whether this very process, not a later one with its number, runs or waits to be reaped.
#[must_use]
pub fn is_alive(key: ProcessKey) -> bool {
    read_status(key).is_some()
}

/// Which service a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Name of the service.
    pub service: String,
    /// Its version; the build id of the executable when nothing else gives one.
    pub version: String,
    /// The unit of replication: service instance, pod, container or host, the first that is known.
    pub unit: String,
    /// Further facts, sorted by key: container, environment, executable, pod, `systemd_unit`.
    pub labels: Vec<(String, String)>,
}

impl Identity {
    /// Key of the label that names the file of the program, without its folder.
    pub const EXECUTABLE: &str = "executable";
}

/// What holds for every process of this host.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// Name of this host; the unit of processes that run in no container.
    pub host: String,
    /// Service of every process, whatever it says itself.
    pub service: Option<String>,
    /// Version of every process, whatever it says itself.
    pub version: Option<String>,
}

/// All processes that were seen.
#[derive(Debug)]
pub struct ProcessTable {
    options: TableOptions,
    // Looking an address up may read the mappings again; to the caller the table stays the same.
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    processes: HashMap<ProcessKey, Process>,
    latest: HashMap<u32, ProcessKey>,
    /// File names of the programs that were begun in this window, for processes that end before `/proc` can be read; at
    /// most [`PROCESSES_MAX`], some 3 MB.
    programs: HashMap<ProcessKey, String>,
    executables: ExecutableCache,
    /// Mappings read: those kept, and those given up since the window began.
    images_bytes: usize,
    exec_discoveries: u32,
    windows: u32,
}

/// Executable mappings of a process, and the opened files behind them.
#[derive(Debug)]
pub(crate) struct MappedImage {
    /// The process just before they were read.
    pub status: Status,
    /// The mappings, sorted by address.
    pub files: Vec<(Mapping, Option<Arc<Executable>>)>,
}

/// What was learned about one process.
#[derive(Debug)]
struct Process {
    identity: Identity,
    namespace_tgid: u32,
    /// Mappings of the program that it runs; `None` when it ended before they could be read.
    image: Option<Image>,
    /// Mappings of the program that it ran before, in the same window.
    earlier: Option<Image>,
    exited: bool,
    /// Whether the mappings were read again in this window.
    reread: bool,
    /// Whether the mappings were read just after exec, when the loader may not have been through.
    early: bool,
}

impl ProcessTable {
    /// Makes an empty table.
    #[must_use]
    pub fn new(options: TableOptions) -> Self {
        Self { options, state: RefCell::default() }
    }

    /// Learns that a process runs another program, is sampled, or ended.
    pub fn observe(&mut self, sign: &ProcessSign) {
        let Self { options, state } = self;
        let state = state.get_mut();
        match sign.kind {
            SignKind::Exec => {
                state.note_program(sign);
                // One that was sampled is discovered at once in any case: its next sample may give no sign.
                let known = state.processes.contains_key(&sign.key);
                if known || state.exec_discoveries < EXEC_DISCOVERIES_MAX {
                    state.exec_discoveries += u32::from(!known);
                    state.discover(sign.key, &sign.comm, options);
                    if let Some(process) = state.processes.get_mut(&sign.key) {
                        process.early = true;
                    }
                }
            }
            SignKind::Exit => {
                if let Some(process) = state.processes.get_mut(&sign.key) {
                    process.exited = true;
                }
            }
            SignKind::Sample => match state.processes.get_mut(&sign.key) {
                Some(process) if process.early => {
                    process.early = false;
                    state.read_image(sign.key);
                }
                Some(_) => {}
                None => state.discover(sign.key, &sign.comm, options),
            },
        }
    }

    /// Tells which service a process belongs to. One that was never seen is looked up in `/proc` now; one that is gone
    /// is known by the name of its thread, if that.
    #[must_use]
    pub fn identity(&self, key: ProcessKey) -> Identity {
        let mut state = self.state.borrow_mut();
        let key = state.resolve(key);
        if !state.processes.contains_key(&key) {
            state.discover(key, "", &self.options);
        }
        match state.processes.get(&key) {
            Some(process) => process.identity.clone(),
            None => identity::identify(&Facts::default(), &self.options),
        }
    }

    /// Finds the process that had a number last.
    #[must_use]
    pub fn find(&self, tgid: u32) -> Option<ProcessKey> {
        self.state.borrow().latest.get(&tgid).copied()
    }

    /// Reads the mappings of a process again, or for the first time, unless they are the same as before. Returns whether
    /// something is new.
    pub(crate) fn refresh(&mut self, key: ProcessKey) -> bool {
        let state = self.state.get_mut();
        match state.processes.get(&key) {
            None => state.discover(key, "", &self.options),
            Some(Process { image: Some(image), .. }) if image.is_current(key) => return false,
            Some(_) => state.read_image(key),
        }
        true
    }

    /// What a process has mapped, as far as that was read; `None` when it was gone by then.
    pub(crate) fn mapped(&mut self, key: ProcessKey) -> Option<MappedImage> {
        let State { processes, executables, .. } = self.state.get_mut();
        let image = processes.get_mut(&key)?.image.as_mut()?;
        let status = image.status()?;
        let files = image.files(&mut |mapping| executables.open(key.tgid, mapping).ok());
        Some(MappedImage { status, files })
    }

    /// Forgets processes that ended; call it after their samples were folded.
    pub fn close_window(&mut self) {
        let state = self.state.get_mut();
        state.windows = state.windows.wrapping_add(1);
        state.exec_discoveries = 0;
        state.programs.clear();
        let sweep = state.windows.is_multiple_of(SWEEP_WINDOWS);
        state.processes.retain(|key, process| {
            process.reread = false;
            process.earlier = None;
            if let Some(image) = &mut process.image {
                image.retry();
            }
            // The report of an end may have been lost; a process without an image never had more to give.
            !process.exited && process.image.is_some() && (!sweep || is_alive(*key))
        });
        let State { processes, latest, images_bytes, .. } = state;
        let images = processes.values().filter_map(|process| process.image.as_ref());
        *images_bytes = images.map(Image::bytes).sum();
        latest.retain(|_, key| processes.contains_key(key));
    }

    /// Number of processes that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.borrow().processes.len()
    }

    /// Whether no process is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locates an address of a process; reads its mappings again, once a window, when the address lies in none.
    pub(crate) fn locate(&self, key: ProcessKey, address: u64) -> Located {
        let mut state = self.state.borrow_mut();
        let key = state.resolve(key);
        state.locate(key, address)
    }
}

impl State {
    /// The key under which a process is known: one without a start time is the last one with that number.
    fn resolve(&self, key: ProcessKey) -> ProcessKey {
        if key.start_ns != 0 || self.processes.contains_key(&key) {
            return key;
        }
        self.latest.get(&key.tgid).copied().unwrap_or(key)
    }

    /// Notes which program a process runs now.
    fn note_program(&mut self, sign: &ProcessSign) {
        let ProcessSign { key, program, .. } = sign;
        if program.is_empty() {
            self.programs.remove(key);
        } else if self.programs.len() < PROCESSES_MAX {
            self.programs.insert(*key, program.clone());
        }
    }

    /// Reads all about a process; its earlier program is kept for samples of this window.
    fn discover(&mut self, key: ProcessKey, comm: &str, options: &TableOptions) {
        let known = self.processes.remove(&key);
        if known.is_none() && self.processes.len() >= PROCESSES_MAX {
            tracing::debug!(key.tgid, "the process table is full");
            return;
        }
        let exited = known.as_ref().is_some_and(|process| process.exited);
        let begun = self.programs.get(&key).cloned();
        let (comm, executable) = (comm.to_owned(), begun.clone());
        let mut process = Process {
            identity: identity::identify(&Facts { comm, executable, ..Facts::default() }, options),
            namespace_tgid: key.tgid,
            image: None,
            earlier: known.and_then(|process| process.image),
            exited,
            reread: false,
            early: false,
        };
        if let Some(status) = read_status(key) {
            let mut facts = facts::read_facts(key.tgid, status);
            let image = self.open_image(key);
            // One that ended and was not waited for has a status, and no program any more.
            if facts.executable.is_none() && facts.kernel_thread.is_none() {
                facts.executable = begun;
            }
            facts.build_id = build_id(key.tgid, &image);
            process.namespace_tgid = facts::read_namespace_tgid(key.tgid);
            // Whoever ended or ran another program meanwhile is not described by what was read.
            if is_alive(key) {
                process.identity = identity::identify(&facts, options);
                process.image = Some(image);
            }
        }
        self.latest.insert(key.tgid, key);
        self.processes.insert(key, process);
    }

    fn open_image(&mut self, key: ProcessKey) -> Image {
        let room = IMAGES_BYTES_MAX.saturating_sub(self.images_bytes);
        let image = Image::read(key, &mut self.executables, room);
        self.images_bytes += image.bytes();
        image
    }

    /// Reads the mappings of a process again if it still runs.
    fn read_image(&mut self, key: ProcessKey) {
        if !self.processes.contains_key(&key) || !is_alive(key) {
            return;
        }
        let image = self.open_image(key);
        // An ending process has no mappings any more; the old ones are right then.
        if let Some(process) = self.processes.get_mut(&key).filter(|_| !image.is_empty()) {
            process.image = Some(image);
        }
    }

    fn locate(&mut self, key: ProcessKey, address: u64) -> Located {
        let Some(process) = self.processes.get_mut(&key) else { return Located::Exited };
        let known = process.image.as_ref().is_some_and(|image| image.find(address).is_some());
        if !known && !process.reread && process.image.is_some() {
            process.reread = true;
            self.read_image(key);
        }
        let Self { processes, executables, .. } = self;
        let Some(process) = processes.get_mut(&key) else { return Located::Exited };
        let namespace_tgid = process.namespace_tgid;
        let no_image = process.image.is_none() && process.earlier.is_none();
        let images = [&mut process.image, &mut process.earlier].into_iter().flatten();
        let found = images.filter_map(|image| Some((image.find(address)?, image))).next();
        match found {
            Some((index, image)) => image
                .locate(index, address, &mut |mapping| executables.open(key.tgid, mapping).ok()),
            None if no_image => Located::Exited,
            None => Located::Unmapped,
        }
        .in_namespace(namespace_tgid)
    }
}

/// The build id of the program itself, not of a library.
fn build_id(tgid: u32, image: &Image) -> Option<String> {
    let executable = image.find_file(&facts::read_executable_path(tgid)?)?;
    (!executable.build_id.is_empty()).then(|| executable.build_id.clone())
}

impl Located {
    /// Fills in the number by which a perf map is named.
    fn in_namespace(mut self, tgid: u32) -> Self {
        if let Self::Anonymous { namespace_tgid, .. } = &mut self {
            *namespace_tgid = tgid;
        }
        self
    }
}

#[cfg(test)]
mod tests;
