//! File names of executables and libraries without versions.

use std::borrow::Cow;

use super::text::is_number;

/// What stands behind the name of a file that was replaced while it ran.
const DELETED: &str = " (deleted)";

/// The file name, for shared libraries without version and hash: `libssl.so.1.1` is `libssl.so`, `libc-2.31.so` is
/// `libc.so`. Executables keep their names: `python3.11` and `python3.12` may both run in one service.
pub(super) fn stable(module: &str) -> Cow<'_, str> {
    let bare = module.trim_end_matches(DELETED);
    let module = if bare.is_empty() { module } else { bare };
    let Some(end) = library_end(module) else { return Cow::Borrowed(module) };
    let stem = stem(&module[..end]);
    if stem.len() == end && end + ".so".len() == module.len() {
        return Cow::Borrowed(module);
    }
    Cow::Owned(format!("{stem}.so"))
}

/// Where `.so` begins, if that is what the name or its version follows.
fn library_end(module: &str) -> Option<usize> {
    module.match_indices(".so").map(|(at, _)| at).find(|at| {
        let version = &module[at + ".so".len()..];
        *at > 0
            && (version.is_empty()
                || version.starts_with('.') && version[1..].split('.').all(is_number))
    })
}

/// The name of a library before `.so`, without version, hash and platform.
fn stem(name: &str) -> &str {
    let mut name = name;
    if let Some(at) = name.find(".cpython-").filter(|at| *at > 0) {
        name = &name[..at];
    }
    while let Some(at) = name
        .rfind('-')
        .filter(|at| *at > 0 && is_build(&name[at + 1..]) && !name.ends_with("x86-64"))
    {
        name = &name[..at];
    }
    // A version with a dot may follow without a dash: `libpython3.11`. One without, as in `libsqlite3`, is the name.
    let letters = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let version = &name[letters.len()..];
    if version.contains('.') && !letters.is_empty() && !version.starts_with('.') {
        letters
    } else {
        name
    }
}

/// Whether what follows a dash is a version or a hash: `2.31`, `17`, `8389830094602f5a`, `2f7c42d4.3.18`, `r0`.
fn is_build(text: &str) -> bool {
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('r').filter(|rest| is_number(rest)).unwrap_or(text);
    has_digit
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
