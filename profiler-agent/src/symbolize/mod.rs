//! Turns located addresses into frames with names.
//!
//! An address without a name becomes `module+0xoffset` with the build id, so that it can be named later.

mod cache;
mod debug_file;
mod demangle;
mod kernel;
mod layout;
mod native;
mod perf_map;
mod symbols;
mod vdso;

use std::sync::Arc;

use profiler_common::abi::sample::WalkEnd;
use profiler_common::profile::{Frame, FrameKind};
use profiler_common::wire::STACK_FRAMES_MAX;

use crate::normalize::{Located, LocatedSample};
use crate::process::{Executable, ProcessKey};
use cache::{NameCache, NameKey};
use kernel::KernelNames;
use native::NativeNames;
use perf_map::PerfMaps;
pub use perf_map::function_in_perf_map;
pub(crate) use vdso::open_vdso;

/// Stands at the root of a stack of which the wire format takes only the frames nearest the leaf.
pub const TRUNCATED: &str = "[truncated]";

/// What the markers of all stacks that are not whole begin with.
pub const TRUNCATED_PREFIX: &str = "[truncated";

/// Stands for addresses that lie in no mapping of the process.
pub const UNMAPPED: &str = "[unmapped]";

/// Stands for the user stack of a process that ended before its mappings could be read.
pub const EXITED: &str = "[exited]";

/// Module name of code made at run time.
const JIT: &str = "[jit]";

/// What to find out about an address besides the name of its function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether to fill source file and line; without them equal functions become equal frames.
    pub lines: bool,
    /// Whether to expand inlined functions; needs debug information.
    pub inlined: bool,
    /// Most bytes of debug information of one file. Of more than that only the symbols are read.
    pub debug_bytes_max: u64,
    /// Whether to unpack debug information that is packed, in memory, each time it is needed again.
    pub packed_debug: bool,
}

impl Options {
    /// For an agent that stays. Lines would split functions into more frames than a comparison of releases wants, and
    /// debug information takes about its own size in memory while a window is named.
    /// Unpacking that of the C library, which distributions pack, took half of the agent's time.
    pub const RESIDENT: Self =
        Self { lines: false, inlined: true, debug_bytes_max: 24 << 20, packed_debug: false };

    /// For one capture, which may take more.
    pub const CAPTURE: Self =
        Self { lines: true, inlined: true, debug_bytes_max: 512 << 20, packed_debug: true };
}

/// Names frames, each unique address once.
///
/// It is not `Send`: make it on the thread that uses it.
#[derive(Debug)]
pub struct Symbolizer {
    native: NativeNames,
    kernel: Option<KernelNames>,
    perf_maps: PerfMaps,
    vdso: Option<Arc<Executable>>,
    cache: NameCache,
}

impl Symbolizer {
    /// Makes a symbolizer with empty caches; files are read when an address needs them.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let vdso = open_vdso();
        if let Err(error) = &vdso {
            tracing::debug!(%error, "failed to copy the vdso; its frames stay without names");
        }
        Self {
            native: NativeNames::new(options),
            kernel: None,
            perf_maps: PerfMaps::default(),
            vdso: vdso.ok(),
            cache: NameCache::default(),
        }
    }

    /// Names the frames of a sample, root first: user frames, then kernel frames.
    ///
    /// At most [`STACK_FRAMES_MAX`] frames; of a longer stack those nearest the root are dropped and it is marked.
    pub fn name(&mut self, sample: &LocatedSample) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(sample.user.len() + sample.kernel.len() + 8);
        frames.extend(root_marker(sample.walk_end));
        for located in sample.user.iter().rev() {
            self.add_user(sample.process, located, &mut frames);
        }
        for address in sample.kernel.iter().rev() {
            self.add_kernel(*address, &mut frames);
        }
        if frames.len() > STACK_FRAMES_MAX {
            frames.drain(..frames.len() - STACK_FRAMES_MAX);
            frames[0] = Frame::marker(TRUNCATED);
        }
        frames
    }

    /// Ends a window: drops what was read to name it. The names stay.
    pub fn close_window(&mut self) {
        self.native.close_window();
    }

    fn add_user(&mut self, process: ProcessKey, located: &Located, frames: &mut Vec<Frame>) {
        match located {
            Located::File { executable, offset } => self.add_native(executable, *offset, frames),
            Located::Vdso { offset } => match self.vdso.clone() {
                Some(vdso) => self.add_native(&vdso, *offset, frames),
                None => frames.push(unnamed(FrameKind::Native, vdso::MODULE, *offset, "")),
            },
            Located::Unopened { module, offset } => {
                frames.push(unnamed(FrameKind::Native, module, *offset, ""));
            }
            Located::Anonymous { address, offset, namespace_tgid } => {
                let mut frame = unnamed(FrameKind::Jit, JIT, *offset, "");
                if let Some(name) = self.perf_maps.find(process, *namespace_tgid, *address) {
                    frame.function = demangle::demangled(&name);
                }
                frames.push(frame);
            }
            Located::Unmapped => add_marker(UNMAPPED, frames),
            Located::Exited => add_marker(EXITED, frames),
        }
    }

    fn add_native(&mut self, executable: &Arc<Executable>, offset: u64, frames: &mut Vec<Frame>) {
        let key = NameKey::File(executable.serial, offset);
        if let Some(names) = self.cache.get(key) {
            frames.extend_from_slice(&names);
            return;
        }
        let mut names = self.native.find(executable, offset);
        if names.is_empty() {
            let Executable { module, build_id, .. } = &**executable;
            names.push(unnamed(FrameKind::Native, module, offset, build_id));
        }
        let names = self.cache.insert(key, names.into());
        frames.extend_from_slice(&names);
    }

    fn add_kernel(&mut self, address: u64, frames: &mut Vec<Frame>) {
        let key = NameKey::Kernel(address);
        if let Some(names) = self.cache.get(key) {
            frames.extend_from_slice(&names);
            return;
        }
        let kernel = self.kernel.get_or_insert_with(KernelNames::new);
        let mut frame = kernel.frame(address);
        // No name: the code may have been loaded since the table was read.
        if frame.function.contains("+0x") && kernel.refresh() {
            self.cache.forget_kernel();
            frame = kernel.frame(address);
        }
        self.cache.insert(key, Arc::new([frame.clone()]));
        frames.push(frame);
    }
}

/// Stands at the root of a stack that is not whole, so that it never merges with one that is.
fn root_marker(walk_end: WalkEnd) -> Option<Frame> {
    match walk_end {
        WalkEnd::Root | WalkEnd::NoUserStack => None,
        end => Some(Frame::marker(&format!("{TRUNCATED_PREFIX}: {}]", end.name()))),
    }
}

/// A frame without a name, which names the place instead.
fn unnamed(kind: FrameKind, module: &str, offset: u64, build_id: &str) -> Frame {
    Frame {
        kind,
        function: format!("{module}+{offset:#x}"),
        module: module.to_owned(),
        file: String::new(),
        line: 0,
        build_id: build_id.to_owned(),
    }
}

/// Adds a marker once for a run of equal ones.
fn add_marker(name: &str, frames: &mut Vec<Frame>) {
    let repeated = frames
        .last()
        .is_some_and(|frame| frame.kind == FrameKind::Marker && frame.function == name);
    if !repeated {
        frames.push(Frame::marker(name));
    }
}

#[cfg(test)]
mod tests;
