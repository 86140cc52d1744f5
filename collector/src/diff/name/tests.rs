//! Names of many compilers and runtimes, and what stays of them from build to build.

use super::*;
use proptest::prelude::*;

fn check(cases: &[(&str, &str)]) {
    for (name, stable) in cases {
        assert_eq!(stable_name(name), *stable, "{name}");
    }
}

#[test]
fn builds_do_not_rename_functions() {
    check(&[
        ("app::work::h0123456789abcdef", "app::work"),
        ("app::work::helper", "app::work::helper"),
        ("_ZN3app4work17h0123456789abcdefE", "_ZN3app4workE"),
        ("parse.constprop.0", "parse"),
        ("parse.part.0.cold", "parse"),
        ("parse.isra.0.part.1.constprop.2", "parse"),
        ("app::run.llvm.11872639126321", "app::run"),
        ("app::run::h0123456789abcdef.llvm.11872639126321", "app::run"),
        ("app::run (.llvm.11872639126321)", "app::run"),
        ("hash.lto_priv.12", "hash"),
        ("inode_init.cold.7", "inode_init"),
        ("step.__uniq.231927839172391732.llvm.93", "step"),
        ("f() [clone .isra.0]", "f()"),
        ("f(int) [clone .constprop.0] [clone .cold]", "f(int)"),
        ("app+0x12ab", UNNAMED),
        ("libc.so.6+0x9c1", UNNAMED),
        ("0xffffffff81000000", UNNAMED),
        ("*0xa", UNNAMED),
        ("operator+0xyz", "operator+0xyz"),
        (".cold", ".cold"),
        ("main.coldStart", "main.coldStart"),
        ("main.part", "main"),
        ("buf.0", "buf.0"),
    ]);
}

#[test]
fn a_closure_added_before_renames_none() {
    check(&[
        ("app::run::{closure#0}", "app::run::{closure}"),
        ("app::run::{closure#12}::{closure#3}", "app::run::{closure}::{closure}"),
        ("app::run::{{closure}}::h0123456789abcdef", "app::run::{closure}"),
        ("<app::Pool>::with::{async_block#1}", "<app::Pool>::with::{async_block}"),
        ("app::{impl#4}::next", "app::{impl}::next"),
        (
            "core::ops::FnOnce::call_once{{vtable.shim}}",
            "core::ops::FnOnce::call_once{{vtable.shim}}",
        ),
        (
            "render(Page const&)::{lambda(int)#2}::operator()(int) const",
            "render(Page const&)::{lambda(int)}::operator()(int) const",
        ),
        (
            "render()::'lambda0'(int)::operator()(int) const",
            "render()::'lambda'(int)::operator()(int) const",
        ),
        ("render()::$_3::operator()() const", "render()::$_::operator()() const"),
        ("sum._omp_fn.0", "sum._omp_fn."),
        ("Parser::lambda#1", "Parser::lambda"),
        ("Set#add", "Set#add"),
        ("main.run.func1", "main.run.func"),
        ("main.run.func1.2", "main.run.func"),
        ("main.run.func2.1.3", "main.run.func"),
        ("main.(*Server).Serve.gowrap3", "main.(*Server).Serve.gowrap"),
        ("main.(*Server).Serve.func4.deferwrap1", "main.(*Server).Serve.func.deferwrap"),
        ("main.init.0", "main.init"),
        ("main.init.0.func1", "main.init.func"),
        ("main.glob..func7", "main.glob..func"),
        ("main.function1", "main.function1"),
        ("func1", "func1"),
    ]);
}

#[test]
fn hashes_tags_shapes_and_versions_go() {
    check(&[
        (
            "core[8787f43e282added]::ptr::drop_in_place::<app[1f2e3d4c5b6a7988]::State>",
            "core::ptr::drop_in_place::<app::State>",
        ),
        ("<[u8]>::iter", "<[u8]>::iter"),
        ("app::Ring<[deadbeef; 4]>::push", "app::Ring<[deadbeef; 4]>::push"),
        ("Url::host[abi:cxx11]() const", "Url::host() const"),
        ("std::basic_string::str[abi:v15006][abi:cxx11]()", "std::basic_string::str()"),
        ("operator[](int)", "operator[](int)"),
        ("slices.SortFunc[go.shape.[]int,go.shape.int]", "slices.SortFunc[...]"),
        ("main.Map[go.shape.string_0].func1", "main.Map[...].func"),
        ("slices.SortFunc[...]", "slices.SortFunc[...]"),
        ("github.com/jackc/pgx/v5.(*Conn).Query", "github.com/jackc/pgx.(*Conn).Query"),
        ("github.com/jackc/pgx/v5/pgconn.Connect", "github.com/jackc/pgx/pgconn.Connect"),
        ("gopkg.in/yaml%2ev3.(*Decoder).Decode", "gopkg.in/yaml.(*Decoder).Decode"),
        ("gopkg.in/yaml.v3.(*Decoder).Decode", "gopkg.in/yaml.(*Decoder).Decode"),
        ("registry/serde-1.0.197/src/de.rs", "registry/serde/src/de.rs"),
        ("pkg/mod/github.com/x/y@v1.2.3/z.run", "pkg/mod/github.com/x/y/z.run"),
        ("net/http.(*conn).serve", "net/http.(*conn).serve"),
        ("operator/", "operator/"),
        ("v8::internal::Run", "v8::internal::Run"),
    ]);
}

#[test]
fn how_far_a_function_was_compiled_is_not_its_name() {
    check(&[
        ("LazyCompile:*render /app/page.js:10:5", "JS:render /app/page.js"),
        ("LazyCompile:~render /app/page.js:10", "JS:render /app/page.js"),
        ("JS:^render /app/page.js:10:5", "JS:render /app/page.js"),
        ("Function:render /app/page.js:1:1", "JS:render /app/page.js"),
        ("JS:render /app/page.js", "JS:render /app/page.js"),
        ("*render", "render"),
        ("~render", "render"),
        ("Page::~Page()", "Page::~Page()"),
        ("operator*", "operator*"),
        ("render:tier1", "render"),
        ("render:interpreter", "render"),
        ("render::baseline", "render::baseline"),
        ("void [app] App::Run()[OptimizedTier1]", "void [app] App::Run()"),
        ("void [app] App::Run()[PreJIT]", "void [app] App::Run()"),
        ("App$$Lambda$14/0x0000000800c9f840.run", "App$$Lambda$.run"),
        ("App$$Lambda/0x00007f1234567890.run", "App$$Lambda.run"),
        ("App.lambda$main$0", "App.lambda$main"),
        ("App.lambda$null$12", "App.lambda$null"),
        (
            "jdk.internal.reflect.GeneratedMethodAccessor12.invoke",
            "jdk.internal.reflect.GeneratedMethodAccessor.invoke",
        ),
        ("com.sun.proxy.$Proxy33.find", "com.sun.proxy.$Proxy.find"),
        (
            "java.lang.invoke.LambdaForm$MH.1834/0x0000000800c9.invoke",
            "java.lang.invoke.LambdaForm$MH..invoke",
        ),
        ("Orders$$EnhancerBySpringCGLIB$$1a2b3c4d.find", "Orders$$EnhancerBySpringCGLIB.find"),
        ("Orders$1.run", "Orders$1.run"),
    ]);
}

#[test]
fn a_library_that_was_updated_is_the_same_library() {
    for (name, stable) in [
        ("libssl.so.3", "libssl.so"),
        ("libssl.so.1.1", "libssl.so"),
        ("libfoo-1.2.3.so", "libfoo.so"),
        ("libc-2.31.so", "libc.so"),
        ("libc.so.6", "libc.so"),
        ("libstdc++.so.6.0.30", "libstdc++.so"),
        ("ld-linux-x86-64.so.2", "ld-linux-x86-64.so"),
        ("libpython3.11.so.1.0", "libpython.so"),
        ("libsqlite3.so.0", "libsqlite3.so"),
        ("libLLVM-17.so.1", "libLLVM.so"),
        ("libstd-8389830094602f5a.so", "libstd.so"),
        ("libopenblas64_p-r0-2f7c42d4.3.18.so", "libopenblas64_p.so"),
        ("_ssl.cpython-311-x86_64-linux-gnu.so", "_ssl.so"),
        ("libnss_files.so.2 (deleted)", "libnss_files.so"),
        ("lib.something", "lib.something"),
        ("app (deleted)", "app"),
        ("python3.11", "python3.11"),
        ("app-1.2.3", "app-1.2.3"),
        ("[kernel]", "[kernel]"),
        ("", ""),
        (".so", ".so"),
    ] {
        assert_eq!(module::stable(name), stable, "{name}");
    }
}

proptest! {
    #[test]
    fn a_stable_name_stays_and_is_not_empty(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(vec![
                    "app", "::", ".", "h0123456789abcdef", "17h0123456789abcdefE", "_ZN", "func", "init", "1", "23", "cold",
                    "llvm", "[", "]", "[abi:x", "go.shape.", "{closure#0}", "{{closure}}", "#", "$_", "'lambda", "'", "$",
                    "lambda$", "$$Lambda$", "/0x", "ab12", "/v", "%2ev", "/", "-", "@", "*", "~", "JS:", "Script:", ":",
                    "tier1", " [clone ", " (.", "CGLIB$$", "_omp_fn", "$Proxy", "é", ".so", "-r0", " (deleted)", "+0x",
                ]).prop_map(str::to_owned),
                ".{0,3}",
            ],
            0..12,
        )
    ) {
        let name = parts.concat();
        let once = stable_name(&name).into_owned();
        prop_assert_eq!(&stable_name(&once), &once);
        prop_assert_eq!(once.is_empty(), name.is_empty());
        let module = module::stable(&name).into_owned();
        prop_assert_eq!(&module::stable(&module), &module);
    }
}
