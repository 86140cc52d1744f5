//! Names of kernel addresses, from `/proc/kallsyms`, and the modules they lie in, from `/proc/modules`.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolized, Symbolizer};
use profiler_common::profile::{Frame, FrameKind};

use super::demangle::demangled;

/// Module name of the kernel proper.
const KERNEL: &str = "[kernel]";

/// Most bytes read of `/proc/modules`: 10,000 modules of 100 bytes.
const MODULES_BYTES_MAX: u64 = 1 << 20;

/// Bytes of `/proc/kallsyms` that are looked at to see whether addresses are hidden.
const KALLSYMS_HEAD_BYTES: u64 = 16 << 10;

/// Largest kernel function that is believed. The table has no sizes, so an address far behind a symbol belongs to code
/// that was loaded after the table was read.
const FUNCTION_BYTES_MAX: usize = 256 << 10;

/// Names addresses of the running kernel.
#[derive(Debug)]
pub(super) struct KernelNames {
    symbols: Option<Symbolizer>,
    modules: Vec<Module>,
    modules_text: String,
}

/// Where a kernel module lies.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    start: u64,
    end: u64,
    name: String,
}

impl KernelNames {
    /// Reads the tables; without permission every address stays without a name.
    pub(super) fn new() -> Self {
        let modules_text = read_modules();
        Self {
            symbols: addresses_are_shown().then(parser),
            modules: parse_modules(&modules_text),
            modules_text,
        }
    }

    /// The frame at an address.
    pub(super) fn frame(&self, address: u64) -> Frame {
        let module = self
            .modules
            .iter()
            .find(|module| (module.start..module.end).contains(&address))
            .map_or_else(|| KERNEL.to_owned(), |module| format!("[{}]", module.name));
        Frame {
            kind: FrameKind::Kernel,
            function: self.find(address).unwrap_or_else(|| format!("{module}+{address:#x}")),
            module,
            file: String::new(),
            line: 0,
            build_id: String::new(),
        }
    }

    /// Reads the tables again if modules came or went; whether they did.
    pub(super) fn refresh(&mut self) -> bool {
        let changed = read_modules() != self.modules_text;
        if changed {
            *self = Self::new();
        }
        changed
    }

    fn find(&self, address: u64) -> Option<String> {
        let symbols = self.symbols.as_ref()?;
        let source = Kernel {
            // Images in /boot may be those of another build; the table of the running kernel never is.
            vmlinux: MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        };
        let found = catch_unwind(AssertUnwindSafe(|| {
            symbols.symbolize_single(&Source::Kernel(source), Input::AbsAddr(address))
        }));
        match found {
            Ok(Ok(Symbolized::Sym(symbol))) if symbol.offset < FUNCTION_BYTES_MAX => {
                Some(demangled(&symbol.name))
            }
            _ => None,
        }
    }
}

fn parser() -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .enable_demangling(false)
        .build()
}

/// Whether the kernel shows us its addresses; `kernel.kptr_restrict` makes all of them zero.
fn addresses_are_shown() -> bool {
    let mut head = Vec::new();
    let read = File::open("/proc/kallsyms")
        .and_then(|file| file.take(KALLSYMS_HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && shows_addresses(&head)
}

/// Whether symbols stand in the kernel's half of the address space. Per-CPU symbols are offsets and small in any case.
fn shows_addresses(table: &[u8]) -> bool {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').next())
        .any(|address| address.len() == 16 && address.starts_with(b"ffff"))
}

fn read_modules() -> String {
    let mut text = String::new();
    let read = File::open("/proc/modules")
        .and_then(|file| file.take(MODULES_BYTES_MAX).read_to_string(&mut text));
    // A kernel without modules has no such file.
    if read.is_err() {
        text.clear();
    }
    text
}

/// Parses lines of `name size users dependencies state address`.
fn parse_modules(text: &str) -> Vec<Module> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let name = fields.next()?.to_owned();
            let bytes: u64 = fields.next()?.parse().ok()?;
            let start = u64::from_str_radix(fields.nth(3)?.strip_prefix("0x")?, 16).ok()?;
            let end = start.checked_add(bytes)?;
            (start > 0).then_some(Module { start, end, name })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_function_of_this_kernel_is_named() {
        if !addresses_are_shown() {
            eprintln!("skipped: the kernel hides its addresses (kernel.kptr_restrict)");
            return;
        }
        let table = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let line = table.lines().find(|line| line.ends_with(" do_exit")).expect("all kernels exit");
        let address = u64::from_str_radix(&line[..16], 16).unwrap();
        let frame = KernelNames::new().frame(address + 1);
        assert_eq!((frame.function.as_str(), frame.module.as_str()), ("do_exit", "[kernel]"));
        assert_eq!(frame.kind, FrameKind::Kernel);
    }

    #[test]
    fn a_table_of_zeros_hides_the_addresses() {
        assert!(shows_addresses(b"0000000000000000 A fixed\nffffffff81000000 T _stext\n"));
        assert!(!shows_addresses(b"0000000000000000 A fixed\n0000000000000000 T _stext\n"));
        assert!(!shows_addresses(b""));
    }

    #[test]
    fn hidden_addresses_stay_without_a_name_but_are_kept() {
        let names = KernelNames { symbols: None, modules: Vec::new(), modules_text: String::new() };
        let frame = names.frame(0xffff_ffff_8100_0010);
        assert_eq!(frame.function, "[kernel]+0xffffffff81000010");
    }

    #[test]
    fn modules_are_found_by_address() {
        let text =
            "nf_tables 327680 1 - Live 0xffffffffc0a00000\nhidden 1 0 - Live 0x0000000000000000\n";
        let names =
            KernelNames { symbols: None, modules: parse_modules(text), modules_text: text.into() };
        assert_eq!(names.frame(0xffff_ffff_c0a0_0004).module, "[nf_tables]");
        assert_eq!(names.frame(0xffff_ffff_c0a5_0004).module, "[kernel]");
        assert_eq!(names.modules.len(), 1);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[a-z0-9 x\\n-]{0,300}") {
            let _ = parse_modules(&text);
        }
    }
}
