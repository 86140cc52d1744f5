//! Names of addresses in executables and libraries, from their symbol tables and debug information.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use profiler_common::profile::{Frame, FrameKind};

use super::Options;
use super::debug_file::DebugFile;
use super::demangle::demangled;
use super::layout::Layout;
use crate::process::Executable;

/// Most files parsed at once; each takes a few open files and the memory of its indices.
const FILES_MAX: usize = 96;

/// Most bytes of files parsed at once. They are mapped, and their indices take about a tenth.
const FILES_BYTES_MAX: u64 = 4 << 30;

/// Names addresses of ELF files.
#[derive(Debug)]
pub(super) struct NativeNames {
    options: Options,
    parser: Symbolizer,
    files: HashMap<u64, Known>,
    bytes: u64,
}

/// A file that was met, held open while the parser may come back to it.
#[derive(Debug)]
struct Known {
    executable: Arc<Executable>,
    debug_file: Option<DebugFile>,
    layout: Layout,
}

impl NativeNames {
    pub(super) fn new(options: Options) -> Self {
        Self { options, parser: parser(options), files: HashMap::new(), bytes: 0 }
    }

    /// Finds the functions at an offset of a file, outermost first; empty when there is no name.
    pub(super) fn find(&mut self, executable: &Arc<Executable>, offset: u64) -> Vec<Frame> {
        if !self.files.contains_key(&executable.serial) {
            self.learn(executable);
        }
        let Some(known) = self.files.get(&executable.serial) else { return Vec::new() };
        if !known.layout.symbols || !known.is_whole() {
            return Vec::new();
        }
        // The parser is careful, but the file may come from anybody: what it trips over loses its names, not the agent.
        let found = catch_unwind(AssertUnwindSafe(|| known.look_up(&self.parser, offset)));
        match found {
            Ok(symbol) => symbol.map(|symbol| self.frames(executable, &symbol)).unwrap_or_default(),
            Err(_panic) => {
                tracing::warn!(module = &*executable.module, "an executable cannot be parsed");
                self.parser = parser(self.options);
                if let Some(known) = self.files.get_mut(&executable.serial) {
                    known.layout.symbols = false;
                }
                Vec::new()
            }
        }
    }

    /// Decides how a file is read.
    fn learn(&mut self, executable: &Arc<Executable>) {
        if self.files.len() >= FILES_MAX || self.bytes > FILES_BYTES_MAX {
            self.parser = parser(self.options);
            self.files.clear();
            self.bytes = 0;
        }
        let layout = Layout::read(executable);
        let debug_file = if layout.symbols { DebugFile::find(executable, &layout) } else { None };
        self.bytes = self.bytes.saturating_add(executable.id.size);
        self.files.insert(
            executable.serial,
            Known { executable: Arc::clone(executable), debug_file, layout },
        );
    }

    /// The function and what is inlined into it, outermost first.
    fn frames(&self, executable: &Executable, symbol: &Sym<'static>) -> Vec<Frame> {
        let frame = |kind, name: &str, code: Option<&CodeInfo<'_>>| {
            let code = code.filter(|_| self.options.lines);
            Frame {
                kind,
                function: demangled(name),
                module: executable.module.as_ref().to_owned(),
                file: code.map(|code| code.to_path().to_string_lossy().into()).unwrap_or_default(),
                line: code.and_then(|code| code.line).unwrap_or(0),
                build_id: String::new(),
            }
        };
        let outer = frame(FrameKind::Native, &symbol.name, symbol.code_info.as_deref());
        let inlined = symbol
            .inlined
            .iter()
            .map(|inlined| frame(FrameKind::Inlined, &inlined.name, inlined.code_info.as_ref()));
        std::iter::once(outer).chain(inlined).collect()
    }
}

impl Known {
    /// Whether the parser may read the files, which it maps into memory. A library that is overwritten in place has no
    /// bytes for a moment.
    fn is_whole(&self) -> bool {
        self.executable.is_whole()
            && self.debug_file.as_ref().is_none_or(|debug_file| debug_file.file.is_whole())
    }

    fn look_up(&self, parser: &Symbolizer, offset: u64) -> Option<Sym<'static>> {
        let separate = self.debug_file.as_ref().zip(self.layout.address_of(offset));
        let separate = separate.and_then(|(debug_file, address)| {
            let DebugFile { file, debug } = debug_file;
            look_up_both(parser, &file.path(), *debug, Input::VirtOffset(address))
        });
        separate.or_else(|| {
            let path = self.executable.path();
            look_up_both(parser, &path, self.layout.debug, Input::FileOffset(offset))
        })
    }
}

/// Looks into the debug information if that is allowed, and into the symbol tables.
fn look_up_both(
    parser: &Symbolizer,
    path: &Path,
    debug: bool,
    input: Input<u64>,
) -> Option<Sym<'static>> {
    let with_debug = debug.then(|| named(parser, path, true, input)).flatten();
    if with_debug.as_ref().is_some_and(|symbol| is_mangled(&symbol.name)) {
        return with_debug;
    }
    // Damaged debug information must not cost the symbols. And where it has lines only, it has plain names, without
    // the namespace or type of a function.
    let symbol = named(parser, path, false, input);
    match (with_debug, symbol) {
        (Some(known), Some(symbol)) if is_mangled(&symbol.name) => {
            Some(Sym { name: symbol.name, ..known })
        }
        (Some(known), _) => Some(known),
        (None, symbol) => symbol,
    }
}

fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R")
}

fn named(parser: &Symbolizer, path: &Path, debug: bool, input: Input<u64>) -> Option<Sym<'static>> {
    let mut elf = Elf::new(path);
    elf.debug_syms = debug;
    match parser.symbolize_single(&Source::Elf(elf), input) {
        Ok(Symbolized::Sym(symbol)) => Some(symbol.into_owned()),
        Ok(Symbolized::Unknown(_)) | Err(_) => None,
    }
}

fn parser(options: Options) -> Symbolizer {
    // Names are demangled here, with a limit on their length.
    Symbolizer::builder()
        .enable_code_info(options.lines || options.inlined)
        .enable_inlined_fns(options.inlined)
        .enable_demangling(false)
        .build()
}
