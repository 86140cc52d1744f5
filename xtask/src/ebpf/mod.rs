//! Builds the kernel objects reproducibly, or checks that the committed ones are what the sources give.
//!
//! The objects lie in `profiler-ebpf/prebuilt/` beside a manifest, so that a plain `cargo build` of the agent needs
//! neither a nightly compiler nor LLVM.

mod toolchain;
mod manifest;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;
use manifest::Manifest;
use toolchain::Toolchain;

/// Arguments of `cargo xtask ebpf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rebuild into a temporary folder and fail when the committed objects differ
    #[arg(long)]
    check: bool,
}

/// Programs of `profiler-ebpf`; each gives one object of the same name.
const OBJECTS: [&str; 2] = ["flamewatch", "floor"];

const TARGET: &str = "bpfel-unknown-none";

/// Builds or checks the objects.
pub(crate) fn run(args: &Args) -> Result<()> {
    let toolchain = Toolchain::find_or_install()?;
    let built = build(&toolchain)?;
    let manifest = Manifest::of(&toolchain, &built)?;
    if args.check {
        manifest.check(&Manifest::read(&prebuilt())?)?;
        check_objects(&built)?;
        eprintln!("the committed objects are what the sources give");
        return Ok(());
    }
    for object in &built {
        let to = prebuilt().join(file_name(object.name));
        fs::write(&to, &object.bytes)
            .with_context(|| format!("failed to write `{}`", to.display()))?;
    }
    manifest.write(&prebuilt())
}

/// One object as it was built and stripped.
pub(crate) struct Object {
    name: &'static str,
    bytes: Vec<u8>,
}

fn prebuilt() -> PathBuf {
    workspace::root().join("profiler-ebpf/prebuilt")
}

fn file_name(object: &str) -> String {
    format!("{object}.bpf.o")
}

/// The manifest speaks for the files only if they are still those it was written for.
fn check_objects(built: &[Object]) -> Result<()> {
    for object in built {
        let path = prebuilt().join(file_name(object.name));
        let committed =
            fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        ensure!(
            committed == object.bytes,
            "`{}` is not what the sources give; run `cargo xtask ebpf` and commit the result",
            path.display()
        );
    }
    Ok(())
}

fn build(toolchain: &Toolchain) -> Result<Vec<Object>> {
    let folder = workspace::root().join("profiler-ebpf");
    let target = folder.join("target");
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(&folder)
        .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain).join("\x1f"))
        // What rustup and cargo set for this very program would choose the wrong compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER");
    workspace::run(&mut command)?;
    OBJECTS.into_iter().map(|name| strip(toolchain, &target, name)).collect()
}

/// Flags of the compiler. No path of this machine may get into the objects, else they could not be compared.
fn flags(toolchain: &Toolchain) -> Vec<String> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        r#"--cfg=bpf_target_arch="x86_64""#.to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
        remap(workspace::root(), "/flamewatch"),
        remap(&toolchain.cargo_home, "/cargo"),
        remap(&toolchain.sysroot, "/rust"),
    ]
}

/// Drops the debug information and keeps what the kernel reads: the types (BTF).
fn strip(toolchain: &Toolchain, target: &Path, name: &'static str) -> Result<Object> {
    let built = target.join(TARGET).join("release").join(name);
    let stripped = target.join(file_name(name));
    let mut command = Command::new(&toolchain.objcopy);
    command.arg("--strip-debug").arg(&built).arg(&stripped);
    workspace::run(&mut command)?;
    let bytes =
        fs::read(&stripped).with_context(|| format!("failed to read `{}`", stripped.display()))?;
    Ok(Object { name, bytes })
}
