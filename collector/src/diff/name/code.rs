//! What compilers of native code add to names: Rust, C++, Go.

use super::text::{is_hash, is_number, is_word, replace_brackets, without_digits_after};

/// Suffixes that compilers add to a symbol they split, specialise or make local; digits and further suffixes may follow.
const CLONE_SUFFIXES: [&str; 13] = [
    "cold",
    "part",
    "constprop",
    "isra",
    "llvm",
    "lto_priv",
    "warm",
    "localalias",
    "clone",
    "ipa_cp",
    "cfi",
    "cfi_jt",
    "__uniq",
];

/// Cuts the suffixes of clones: `parse.part.0.cold`, `f() [clone .isra.0]`, `f() (.llvm.123)`.
pub(super) fn without_clone_suffix(name: &str) -> Option<String> {
    for open in [" [clone ", " (."] {
        if let Some(at) = name.find(open).filter(|at| *at > 0) {
            return Some(name[..at].to_owned());
        }
    }
    let mut cut = None;
    let mut end = name.len();
    while let Some(dot) = name[..end].rfind('.') {
        let part = &name[dot + 1..end];
        if CLONE_SUFFIXES.contains(&part) {
            cut = Some(dot);
        } else if !is_number(part) {
            break;
        }
        end = dot;
    }
    cut.filter(|at| *at > 0).map(|at| name[..at].to_owned())
}

/// Cuts `::h` and 16 hex digits, which Rust's older mangling leaves at the end; where it was not demangled, `17h…E`.
pub(super) fn without_rust_hash(name: &str) -> Option<String> {
    if let Some((front, hash)) = name.rsplit_once("::h")
        && hash.len() == 16
        && is_hash(hash, 16)
    {
        return Some(front.to_owned());
    }
    let (front, hash) = name.strip_prefix("_ZN").and(name.strip_suffix('E'))?.rsplit_once("17h")?;
    is_hash(hash, 16).then(|| format!("{front}E"))
}

/// Leaves out the disambiguators of Rust's newer mangling: `core[8787f43e282added]::ptr` is `core::ptr`.
pub(super) fn without_disambiguators(name: &str) -> Option<String> {
    let follows_crate = |before: &str, inside: &str| {
        before.bytes().next_back().is_some_and(is_word) && is_hash(inside, 8)
    };
    replace_brackets(name, "[", (follows_crate, ""))
}

/// Leaves out `[abi:cxx11]` and its like.
pub(super) fn without_abi_tags(name: &str) -> Option<String> {
    replace_brackets(name, "[abi:", (|_: &str, _: &str| true, ""))
}

/// Leaves out the numbers of closures, lambdas and nameless types, which shift when one is added before them:
/// `{closure#1}`, `{lambda(int)#2}`, `'lambda0'(int)`, `$_3`, `f._omp_fn.0`; `{{closure}}` becomes `{closure}`.
///
/// Closures of one function become one, but for those that differ in their parameters.
pub(super) fn without_closure_numbers(name: &str) -> Option<String> {
    let ends = |_: &str, rest: &str| !rest.bytes().next().is_some_and(is_word);
    let follows_word = |before: &str, rest: &str| {
        let last = before.bytes().next_back();
        last.is_some_and(|byte| is_word(byte) || byte == b')') && ends(before, rest)
    };
    without_digits_after(name, "#", follows_word)
        .map(|shorter| shorter.replace("#}", "}").replace("#::", "::"))
        .map(|shorter| shorter.strip_suffix('#').map(ToOwned::to_owned).unwrap_or(shorter))
        .or_else(|| without_digits_after(name, "'lambda", |_, rest| rest.starts_with('\'')))
        .or_else(|| without_digits_after(name, "$_", ends))
        .or_else(|| without_digits_after(name, "._omp_fn.", |_, rest| rest.is_empty()))
        .or_else(|| without_digits_after(name, ".omp_outlined.", |_, rest| rest.is_empty()))
        .or_else(|| name.contains("{{closure}}").then(|| name.replace("{{closure}}", "{closure}")))
}

/// Leaves out the numbers of Go's closures: `main.run.func1.2` is `main.run.func`, `main.run.gowrap1` is
/// `main.run.gowrap`, `main.init.0` is `main.init`.
pub(super) fn without_go_numbers(name: &str) -> Option<String> {
    const PARTS: [&str; 4] = ["func", "gowrap", "deferwrap", "init."];
    let mut parts = name.split('.');
    let mut kept = parts.next()?.to_owned();
    let mut is_closure = false;
    let mut is_changed = false;
    for part in parts {
        let plain = PARTS.iter().find(|plain| part.strip_prefix(**plain).is_some_and(is_number));
        if is_closure && is_number(part) {
            is_changed = true;
            continue;
        }
        is_closure = plain.is_some() || part == "func" || part == "init";
        is_changed |= plain.is_some();
        kept.push('.');
        kept.push_str(plain.copied().unwrap_or(part));
    }
    is_changed.then_some(kept)
}

/// Replaces the shapes of Go's generics, of which the compiler makes as many as it likes, by `...`.
pub(super) fn without_go_shapes(name: &str) -> Option<String> {
    replace_brackets(name, "[go.shape.", (|_: &str, _: &str| true, "[...]"))
}

/// Leaves out versions in paths: `registry/serde-1.0.197/src`, `github.com/a/b/v2.Parse`, `gopkg.in/yaml%2ev3.Node`,
/// `mod/x@v1.2.0/y`.
pub(super) fn without_versions(name: &str) -> Option<String> {
    if !name.contains('/') {
        return None;
    }
    let is_major = |rest: &str| rest.starts_with(['.', '/']);
    for mark in ["/v", "%2ev", ".v"] {
        let holds = |before: &str, rest: &str| {
            is_major(rest) && before.contains('/') | (mark == "/v") && !before.is_empty()
        };
        if let Some(marked) = without_digits_after(name, mark, holds) {
            // The mark itself goes where its digits went.
            let bare =
                marked.replacen(&format!("{mark}."), ".", 1).replacen(&format!("{mark}/"), "/", 1);
            return Some(bare);
        }
    }
    let mut segments: Vec<&str> = name.split('/').collect();
    let last = segments.len() - 1;
    let mut is_changed = false;
    for segment in &mut segments[..last] {
        let cut = segment.rfind(['-', '@']).filter(|at| *at > 0 && is_version(&segment[at + 1..]));
        if let Some(at) = cut {
            *segment = &segment[..at];
            is_changed = true;
        }
    }
    is_changed.then(|| segments.join("/"))
}

/// Whether a text is numbers with dots between, two at least; a `v` may stand before them.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    text.contains('.') && text.split('.').all(is_number)
}
