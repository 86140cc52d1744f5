//! Makes readable, stable names of symbols: demangled, without hashes that change with every build, and bounded.

use std::fmt::{self, Write};

use profiler_common::wire::STRING_BYTES_MAX;

/// What ends a name that was cut.
const CUT: &str = "…";

/// Demangles a Rust or C++ symbol; other symbols stay as they are.
pub(super) fn demangled(symbol: &str) -> String {
    let mut name = BoundedName::default();
    // A name that hits the limit ends with an error by design, and what was written until then is kept.
    if let Ok(rust) = rustc_demangle::try_demangle(symbol) {
        let _cut = write!(name, "{rust:#}");
    } else if let Some(cpp) = parse_cpp(without_clone_suffix(symbol)) {
        let options = cpp_demangle::DemangleOptions::default();
        let failed = cpp.structured_demangle(&mut name, &options).is_err();
        if failed && !name.full {
            name = BoundedName::default();
            let _cut = name.write_str(symbol);
        }
    } else {
        let _cut = name.write_str(without_clone_suffix(symbol));
    }
    name.text
}

/// Parses a C++ symbol. Other names may be mangled types: `c` stands for `char`, and is a function of C here.
fn parse_cpp(symbol: &str) -> Option<cpp_demangle::Symbol<&str>> {
    if !symbol.starts_with("_Z") {
        return None;
    }
    cpp_demangle::Symbol::new(symbol).ok()
}

/// Drops `.llvm.HASH`, which link-time optimisation appends and every build changes.
fn without_clone_suffix(symbol: &str) -> &str {
    match symbol.find(".llvm.") {
        Some(start) if start > 0 => &symbol[..start],
        Some(_) | None => symbol,
    }
}

/// Text that stops growing at the limit: back references let a short symbol stand for gigabytes of name.
#[derive(Debug, Default)]
struct BoundedName {
    text: String,
    full: bool,
}

impl Write for BoundedName {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        let room = STRING_BYTES_MAX - CUT.len() - self.text.len();
        if part.len() <= room {
            self.text.push_str(part);
            return Ok(());
        }
        self.text.push_str(&part[..part.floor_char_boundary(room)]);
        self.text.push_str(CUT);
        self.full = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_carry_no_hash_that_a_build_changes() {
        let check = |symbol: &str, name: &str| assert_eq!(demangled(symbol), name);
        check("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write");
        check("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123456", "core::fmt::write");
        check("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example");
        check("_ZN5space3fooEibc", "space::foo(int, bool, char)");
        check("helper.llvm.8023471", "helper");
        check("helper.cold", "helper.cold");
        check(".llvm.8023471", ".llvm.8023471");
        check("main", "main");
        check("c", "c");
        check("_c", "_c");
        check("runtime.mallocgc", "runtime.mallocgc");
    }

    #[test]
    fn a_symbol_that_stands_for_a_huge_name_is_cut() {
        // Each template argument doubles the one before by a back reference.
        let mut symbol = "_Z1fI1AIiEE".to_owned();
        symbol.clear();
        symbol.push_str("_Z1f1AIiiE");
        for number in 0..40 {
            let previous =
                if number == 0 { "S0_".to_owned() } else { format!("S{}_", base36(number)) };
            symbol.push_str(&format!("1AI{previous}{previous}E"));
        }
        assert!(demangled(&symbol).len() <= STRING_BYTES_MAX);
        let long = "x".repeat(3 * STRING_BYTES_MAX);
        assert!(demangled(&long).len() <= STRING_BYTES_MAX && demangled(&long).ends_with(CUT));
    }

    fn base36(number: usize) -> String {
        char::from_digit(number as u32 % 36, 36).unwrap().to_ascii_uppercase().to_string()
    }

    proptest! {
        #[test]
        fn arbitrary_symbols_never_panic(symbol in "\\PC{0,80}", tail in "[NISTaAE0-9_a-z]{0,60}") {
            for symbol in [symbol, format!("_Z{tail}"), format!("_R{tail}"), format!("_ZN{tail}E")] {
                prop_assert!(demangled(&symbol).len() <= STRING_BYTES_MAX);
            }
        }
    }
}
