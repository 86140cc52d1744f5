//! Makes the name of a function comparable between builds.

use profiler_common::profile::{Frame, FrameKind};

use super::FunctionKey;

/// Function under which all code of a module without names is counted: its offsets differ from build to build, so
/// comparing them would make every one of them new.
const UNNAMED: &str = "[unnamed]";

/// Suffixes that compilers add to a symbol they split or specialise; digits and further parts may follow.
const CLONE_SUFFIXES: [&str; 8] =
    [".cold", ".part.", ".constprop.", ".isra.", ".llvm.", ".lto_priv.", ".warm", ".localalias"];

/// The key of a frame.
pub(super) fn key_of(frame: &Frame) -> FunctionKey {
    FunctionKey { module: frame.module.clone(), function: stable_name(&frame.function).to_owned() }
}

/// Whether nothing is known of a function but its module.
pub(super) fn is_unnamed(key: &FunctionKey) -> bool {
    key.function == UNNAMED
}

/// Whether the kernel enters a device, timer or inter-processor interrupt here. What follows is not the work of the
/// service that it happened to hit. Page faults are exceptions, not interrupts: they are the service's own.
pub(super) fn is_interrupt_entry(frame: &Frame) -> bool {
    frame.kind == FrameKind::Kernel
        && (frame.function.starts_with("asm_sysvec_")
            || matches!(
                frame.function.as_str(),
                "asm_common_interrupt"
                    | "asm_spurious_interrupt"
                    | "el0_interrupt"
                    | "el1_interrupt"
            ))
}

/// The name without hash, clone suffix and offset.
fn stable_name(name: &str) -> &str {
    if is_offset(name) {
        return UNNAMED;
    }
    let mut name = name.split(" [clone ").next().unwrap_or(name);
    for suffix in CLONE_SUFFIXES {
        if let Some(at) = name.find(suffix).filter(|at| *at > 0) {
            name = &name[..at];
        }
    }
    without_rust_hash(name)
}

/// Whether the name is `module+0xoffset` or a bare address.
fn is_offset(name: &str) -> bool {
    let digits = match name.rsplit_once("+0x") {
        Some((_module, digits)) => digits,
        None => match name.strip_prefix("0x") {
            Some(digits) => digits,
            None => return false,
        },
    };
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Cuts `::h` and 16 hex digits, which Rust's older mangling leaves at the end.
fn without_rust_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((front, hash))
            if hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            front
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_do_not_rename_functions() {
        for (name, stable) in [
            ("app::work::h0123456789abcdef", "app::work"),
            ("app::work::helper", "app::work::helper"),
            ("parse.constprop.0", "parse"),
            ("parse.part.0.cold", "parse"),
            ("f() [clone .isra.0]", "f()"),
            ("app+0x12ab", UNNAMED),
            ("libc.so.6+0x9c1", UNNAMED),
            ("0xffffffff81000000", UNNAMED),
            ("operator+0xyz", "operator+0xyz"),
            (".cold", ".cold"),
        ] {
            assert_eq!(stable_name(name), stable, "{name}");
        }
    }
}
