//! Names of addresses in executables and libraries, from their symbol tables and debug information.
//!
//! The names of functions come from our own index of the symbol table, which is small and never maps the file. Debug
//! information, where a file has some, tells what is inlined and the lines; a parser that maps the files reads it, and
//! is dropped at the end of each window with all it holds.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use profiler_common::profile::{Frame, FrameKind};

use super::Options;
use super::debug_file::DebugFile;
use super::demangle::demangled;
use super::layout::Layout;
use super::symbols::Symbols;
use crate::process::Executable;

/// Most files known at once; each takes an open file or two.
const FILES_MAX: usize = 256;

/// Most bytes of symbol tables kept after a window. Those of a compiler take 2 MB, those of most files some kilobytes.
const SYMBOLS_BYTES_MAX: usize = 8 << 20;

/// Names addresses of ELF files.
#[derive(Debug)]
pub(super) struct NativeNames {
    options: Options,
    parser: Parser,
    files: HashMap<u64, Known>,
    /// Counts look-ups, to tell which file was not used for longest.
    clock: u64,
}

/// A file that was met, held open while its symbols may be asked for again.
#[derive(Debug)]
struct Known {
    executable: Arc<Executable>,
    layout: Layout,
    debug_file: Option<DebugFile>,
    symbols: Symbols,
    /// Those of the file with its debug information.
    debug_symbols: Symbols,
    used: u64,
}

impl NativeNames {
    pub(super) fn new(options: Options) -> Self {
        Self { options, parser: Parser::new(options), files: HashMap::new(), clock: 0 }
    }

    /// Finds the functions at an offset of a file, outermost first; empty when there is no name.
    pub(super) fn find(&mut self, executable: &Arc<Executable>, offset: u64) -> Vec<Frame> {
        self.clock += 1;
        if !self.files.contains_key(&executable.serial) {
            self.learn(executable);
        }
        let Some(known) = self.files.get_mut(&executable.serial) else { return Vec::new() };
        known.used = self.clock;
        let Some(address) = known.layout.address_of(offset).filter(|_| known.is_whole()) else {
            return Vec::new();
        };
        let found = known.debug_path().map(|path| self.parser.find(&path, address));
        let found = match found.transpose() {
            Ok(found) => found.flatten(),
            Err(Panicked) => {
                tracing::warn!(module = &*executable.module, "debug information cannot be parsed");
                known.forget_debug_information();
                None
            }
        };
        let symbol = match &found {
            Some(found) if is_mangled(&found.name) => None,
            _ => known.symbol(address),
        };
        self.frames(executable, found, symbol)
    }

    /// Ends a window: what takes much memory is dropped. The names that were found are kept elsewhere.
    pub(super) fn close_window(&mut self) {
        self.parser.close();
        while self.files.values().map(Known::memory_bytes).sum::<usize>() > SYMBOLS_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// Reads what a file says about itself.
    fn learn(&mut self, executable: &Arc<Executable>) {
        if self.files.len() >= FILES_MAX {
            self.forget_oldest();
        }
        let layout = Layout::read(executable, self.options);
        let debug_file = DebugFile::find(executable, &layout, self.options);
        let debug_symbols = debug_file
            .as_ref()
            .map(|debug_file| Symbols::read(&debug_file.file, &debug_file.layout.table));
        let known = Known {
            symbols: Symbols::read(executable, &layout.table),
            executable: Arc::clone(executable),
            layout,
            debug_file,
            debug_symbols: debug_symbols.unwrap_or_default(),
            used: self.clock,
        };
        self.files.insert(executable.serial, known);
    }

    fn forget_oldest(&mut self) {
        let oldest = self.files.iter().min_by_key(|(_, known)| known.used);
        if let Some(serial) = oldest.map(|(serial, _)| *serial) {
            self.files.remove(&serial);
        }
    }

    /// The function and what is inlined into it, outermost first.
    fn frames(
        &self,
        executable: &Executable,
        found: Option<Sym<'static>>,
        symbol: Option<String>,
    ) -> Vec<Frame> {
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
        let Some(found) = found else {
            return symbol.map(|name| frame(FrameKind::Native, &name, None)).into_iter().collect();
        };
        // Where debug information has lines only, it has plain names, without the namespace or type of a function.
        let name = symbol.filter(|name| is_mangled(name));
        let name = name.as_deref().unwrap_or(&found.name);
        let outer = frame(FrameKind::Native, name, found.code_info.as_deref());
        let inlined = found
            .inlined
            .iter()
            .map(|inlined| frame(FrameKind::Inlined, &inlined.name, inlined.code_info.as_ref()));
        std::iter::once(outer).chain(inlined).collect()
    }
}

impl Known {
    /// Whether the files may be read. A library that is overwritten in place has no bytes for a moment, and the parser
    /// maps what it reads.
    fn is_whole(&self) -> bool {
        self.executable.is_whole()
            && self.debug_file.as_ref().is_none_or(|debug_file| debug_file.file.is_whole())
    }

    /// The file with debug information that may be read, if there is one.
    fn debug_path(&self) -> Option<PathBuf> {
        if let Some(debug_file) = &self.debug_file {
            return debug_file.layout.has_debug_information().then(|| debug_file.file.path());
        }
        self.layout.has_debug_information().then(|| self.executable.path())
    }

    fn forget_debug_information(&mut self) {
        self.layout.debug = false;
        if let Some(debug_file) = &mut self.debug_file {
            debug_file.layout.debug = false;
        }
    }

    fn symbol(&self, address: u64) -> Option<String> {
        let split = self.debug_file.as_ref();
        let split = split.and_then(|split| self.debug_symbols.find(&split.file, address));
        split.or_else(|| self.symbols.find(&self.executable, address))
    }

    fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.debug_symbols.memory_bytes()
    }
}

fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R")
}

/// What reads debug information.
#[derive(Debug)]
struct Parser {
    options: Options,
    symbolizer: Option<Symbolizer>,
}

/// The parser tripped over a file.
#[derive(Debug)]
struct Panicked;

impl Parser {
    fn new(options: Options) -> Self {
        Self { options, symbolizer: None }
    }

    /// Finds an address that the linker gave.
    fn find(
        &mut self,
        path: &std::path::Path,
        address: u64,
    ) -> Result<Option<Sym<'static>>, Panicked> {
        let options = self.options;
        if !options.lines && !options.inlined {
            return Ok(None);
        }
        let symbolizer = self.symbolizer.get_or_insert_with(|| symbolizer(options));
        // The parser is careful, but the file may come from anybody: what it trips over loses its names, not the agent.
        let found = catch_unwind(AssertUnwindSafe(|| {
            let source = Source::Elf(Elf::new(path));
            match symbolizer.symbolize_single(&source, Input::VirtOffset(address)) {
                Ok(Symbolized::Sym(symbol)) => Some(symbol.into_owned()),
                Ok(Symbolized::Unknown(_)) | Err(_) => None,
            }
        }));
        found.map_err(|_panic| {
            self.symbolizer = None;
            Panicked
        })
    }

    /// Drops what was parsed, and the memory maps of the files.
    fn close(&mut self) {
        self.symbolizer = None;
    }
}

fn symbolizer(options: Options) -> Symbolizer {
    // Names are demangled here, with a limit on their length.
    Symbolizer::builder()
        .enable_code_info(true)
        .enable_inlined_fns(options.inlined)
        .enable_demangling(false)
        .build()
}
