//! Functions that do what others ask of them: seldom the ones that a release changed.

use crate::diff::FunctionKey;

/// File names of libraries that come with the system or the language, up to the first dot or dash.
const MODULES: [&str; 12] = [
    "libc",
    "libm",
    "libpthread",
    "ld",
    "ld-linux-x86-64",
    "libstdc++",
    "libgcc_s",
    "libjemalloc",
    "libtcmalloc",
    "libjvm",
    "[vdso]",
    "[kernel]",
];

/// Beginnings of names in languages' standard libraries and runtimes.
const PREFIXES: [&str; 10] = [
    "std::",
    "core::",
    "alloc::",
    "__rust_",
    "runtime.",
    "operator new",
    "operator delete",
    "__GI_",
    "__libc_",
    "_dl_",
];

/// Functions of the C library by name, wherever they are linked in.
const FUNCTIONS: [&str; 16] = [
    "malloc",
    "free",
    "calloc",
    "realloc",
    "memcpy",
    "memmove",
    "memset",
    "memcmp",
    "memchr",
    "strlen",
    "strcmp",
    "_int_malloc",
    "_int_free",
    "malloc_consolidate",
    "unlink_chunk",
    "syscall",
];

/// Whether a function belongs to a library that everyone calls.
pub(super) fn is_library(key: &FunctionKey) -> bool {
    let stem = |module: &str| module.find(".so").map_or(module.len(), |at| at);
    let module = &key.module[..stem(&key.module)];
    // Vector variants: `__memcpy_avx_unaligned_erms`.
    let plain = key.function.trim_start_matches('_');
    let base =
        plain.split("_avx").next().and_then(|name| name.split("_sse").next()).unwrap_or(plain);
    // A Rust impl: `<alloc::vec::Vec<T> as …>`.
    let path = key.function.trim_start_matches('<');
    MODULES.contains(&module)
        || PREFIXES.iter().any(|prefix| path.starts_with(prefix))
        || FUNCTIONS.iter().any(|name| key.function == *name || base == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocator_and_the_runtime_are_libraries_and_the_service_is_not() {
        for (module, function, expected) in [
            ("libc.so.6", "qsort_r", true),
            ("app", "malloc", true),
            ("app", "__memcpy_avx_unaligned_erms", true),
            ("app", "runtime.mallocgc", true),
            ("app", "<alloc::vec::Vec<T> as core::clone::Clone>::clone", true),
            ("[kernel]", "vfs_read", true),
            ("app", "checkout::price", false),
            ("libcheckout.so", "price", false),
            ("app", "memory_pool", false),
        ] {
            let key = FunctionKey { module: module.to_owned(), function: function.to_owned() };
            assert_eq!(is_library(&key), expected, "{module} {function}");
        }
    }
}
