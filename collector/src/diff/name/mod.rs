//! Makes the name of a function comparable between builds: what compilers, linkers and runtimes number anew each time is
//! left out, what tells functions apart stays.

mod code;
mod managed;
mod module;
mod text;

use std::borrow::Cow;

use profiler_common::profile::{Frame, FrameKind};

use super::FunctionKey;

/// Function under which all code of a module without names is counted: its offsets differ from build to build, so
/// comparing them would make every one of them new.
const UNNAMED: &str = "[unnamed]";

/// Most times that the rules are applied to a name: what one leaves out may end in what another looks for. Names of
/// compilers need two.
const PASSES_MAX: usize = 32;

/// The key of a frame.
pub(super) fn key_of(frame: &Frame) -> FunctionKey {
    FunctionKey {
        module: module::stable(&frame.module).into_owned(),
        function: stable_name(&frame.function).into_owned(),
    }
}

/// The frame by its key: the same in every build, and in the answer of the detector.
pub(crate) fn comparable(frame: &Frame) -> Frame {
    let FunctionKey { module, function } = key_of(frame);
    Frame { kind: frame.kind, module, ..Frame::marker(&function) }
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

/// The name without hash, clone suffix, offset, and the numbers of closures and of code made at run time.
fn stable_name(name: &str) -> Cow<'_, str> {
    let mut name = Cow::Borrowed(name);
    for _ in 0..PASSES_MAX {
        if is_offset(&name) {
            return Cow::Borrowed(UNNAMED);
        }
        let Some(shorter) = shorter(&name) else { break };
        name = Cow::Owned(shorter);
    }
    name
}

/// The name after the first rule that leaves out something, if one does. What is left is never empty.
fn shorter(name: &str) -> Option<String> {
    /// Native code first; each takes out all that it finds.
    const RULES: [fn(&str) -> Option<String>; 11] = [
        code::without_clone_suffix,
        code::without_rust_hash,
        code::without_disambiguators,
        code::without_abi_tags,
        code::without_closure_numbers,
        code::without_go_numbers,
        code::without_go_shapes,
        code::without_versions,
        managed::without_script_tier,
        managed::without_tier,
        managed::without_java_numbers,
    ];
    RULES.iter().find_map(|rule| rule(name).filter(|shorter| !shorter.is_empty()))
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

#[cfg(test)]
mod tests;
