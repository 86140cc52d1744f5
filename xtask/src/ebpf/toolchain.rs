//! Finds the compiler and the linker of the kernel side, and installs what is missing where it can.
//!
//! Stable Rust has no `core` for BPF, so it is built from source. On Debian that is done with the distribution's own
//! compiler, elsewhere with a nightly of rustup. The linker is built against the same LLVM as the compiler.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::workspace;

/// Packages of Debian that hold compiler, its sources, and LLVM.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"];

/// Where Debian keeps the LLVM of that compiler.
const LLVM: &str = "/usr/lib/llvm-22";

/// Version of the linker; another one may give other bytes.
const LINKER_VERSION: &str = "0.13.0";

/// The programs that build the objects.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    pub(crate) cargo: PathBuf,
    pub(crate) linker: PathBuf,
    pub(crate) objcopy: PathBuf,
    /// Root of the compiler's own sources.
    pub(crate) sysroot: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub(crate) cargo_home: PathBuf,
    /// What the compiler says of itself.
    pub(crate) rustc_version: String,
    /// What the linker says of itself.
    pub(crate) linker_version: String,
}

impl Toolchain {
    /// Finds all programs, or installs them.
    pub(crate) fn find_or_install() -> Result<Self> {
        let on_debian = Path::new("/etc/debian_version").exists() && debian_has_packages()?;
        let (rustc, cargo, objcopy) = if on_debian { debian()? } else { nightly()? };
        let linker = linker(on_debian)?;
        Ok(Self {
            sysroot: PathBuf::from(output(&rustc, &["--print", "sysroot"])?),
            rustc_version: output(&rustc, &["--version"])?,
            linker_version: output(&linker, &["--version"])?,
            cargo_home: cargo_home()?,
            rustc,
            cargo,
            linker,
            objcopy,
        })
    }
}

/// Whether the packages are installed or can be.
fn debian_has_packages() -> Result<bool> {
    if packages_are_installed() {
        return Ok(true);
    }
    if !workspace::is_root() {
        return Ok(false);
    }
    let mut update = Command::new("apt-get");
    workspace::run(update.args(["update", "--quiet"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(PACKAGES);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    // Older and newer releases lack these packages: then a nightly does the same.
    Ok(workspace::run(&mut install).is_ok() && packages_are_installed())
}

fn packages_are_installed() -> bool {
    ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/lib/llvm-22/bin/llvm-objcopy"]
        .iter()
        .all(|file| Path::new(file).exists())
        && Path::new("/usr/lib/llvm-22/include/llvm-c").exists()
        && llvm_of(Path::new("/usr/bin/rustc")).is_ok_and(|version| version.starts_with("22."))
}

fn debian() -> Result<(PathBuf, PathBuf, PathBuf)> {
    Ok(("/usr/bin/rustc".into(), "/usr/bin/cargo".into(), Path::new(LLVM).join("bin/llvm-objcopy")))
}

/// A nightly of rustup with the sources of `core`.
fn nightly() -> Result<(PathBuf, PathBuf, PathBuf)> {
    let rustup = workspace::find_program("rustup").with_context(|| {
        format!(
            "failed to find a compiler for the kernel side: on Debian 12 install the packages `{}`, elsewhere rustup",
            PACKAGES.join(" ")
        )
    })?;
    let mut install = Command::new(&rustup);
    install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    install.args(["--component", "rust-src", "--component", "llvm-tools"]);
    workspace::run(&mut install)?;
    let which = |program| output(&rustup, &["which", "--toolchain", "nightly", program]);
    let (rustc, cargo) = (PathBuf::from(which("rustc")?), PathBuf::from(which("cargo")?));
    let libraries = PathBuf::from(output(&rustc, &["--print", "target-libdir"])?);
    let tools = libraries.parent().context("the nightly has no folder for its tools")?.join("bin");
    Ok((rustc, cargo, tools.join("llvm-objcopy")))
}

/// The linker of this version: on the search path, or built into our own folder.
fn linker(on_debian: bool) -> Result<PathBuf> {
    let root = workspace::root().join("profiler-ebpf/target/tools");
    let own = root.join("bin/bpf-linker");
    let fits = |linker: &Path| {
        output(linker, &["--version"]).is_ok_and(|found| found.ends_with(LINKER_VERSION))
    };
    let found = workspace::find_program("bpf-linker").into_iter().chain([own.clone()]);
    if let Some(linker) = found.into_iter().find(|linker| linker.exists() && fits(linker)) {
        return Ok(linker);
    }
    let mut install = workspace::cargo(&["install", "bpf-linker", "--version", LINKER_VERSION]);
    install.args(["--locked", "--no-default-features", "--features", "llvm-22", "--root"]);
    install.arg(&root);
    if on_debian {
        install.env("LLVM_PREFIX", LLVM);
    }
    workspace::run(&mut install).context(
        "failed to build the linker `bpf-linker`; it needs LLVM 22, and LLVM_PREFIX where that is not found",
    )?;
    ensure!(fits(&own), "`{}` is not version {LINKER_VERSION}", own.display());
    Ok(own)
}

fn cargo_home() -> Result<PathBuf> {
    let home = match (env::var_os("CARGO_HOME"), env::var_os("HOME")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, Some(home)) => Path::new(&home).join(".cargo"),
        (None, None) => bail!("failed to find cargo's folder: neither CARGO_HOME nor HOME is set"),
    };
    fs::create_dir_all(&home).with_context(|| format!("failed to make `{}`", home.display()))?;
    Ok(home)
}

/// Version of LLVM that a compiler was built with.
fn llvm_of(rustc: &Path) -> Result<String> {
    let about = output(rustc, &["--version", "--verbose"])?;
    let version = about.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    Ok(version.context("the compiler does not name its LLVM")?.to_owned())
}

/// What a program prints, without the end of the line.
fn output(program: &Path, arguments: &[&str]) -> Result<String> {
    let name = program.display();
    let output = Command::new(program)
        .args(arguments)
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .with_context(|| format!("failed to run `{name}`"))?;
    ensure!(
        output.status.success(),
        "`{name} {}` ended with {}",
        arguments.join(" "),
        output.status
    );
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed bytes"))?;
    Ok(text.trim_end().to_owned())
}
