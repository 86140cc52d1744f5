//! Says what the committed objects were made of, so that anyone can make them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::toolchain::Toolchain;
use super::{Object, file_name};
use crate::workspace;

const FILE: &str = "manifest.toml";

/// Everything that is compiled into the objects.
const SOURCES: [&str; 6] = [
    "profiler-common/src/abi",
    "profiler-common/src/lib.rs",
    "profiler-common/src/unwind.rs",
    "profiler-ebpf/Cargo.lock",
    "profiler-ebpf/Cargo.toml",
    "profiler-ebpf/src",
];

/// What the objects were made of, and what came out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    rustc: String,
    linker: String,
    /// Digest over the names and contents of all sources.
    sources_sha256: String,
    /// Digest of each object.
    objects_sha256: BTreeMap<String, String>,
}

impl Manifest {
    /// Describes what was just built.
    pub(super) fn of(toolchain: &Toolchain, built: &[Object]) -> Result<Self> {
        let objects = built
            .iter()
            .map(|object| (file_name(object.name), hex(Sha256::digest(&object.bytes).as_slice())));
        Ok(Self {
            rustc: toolchain.rustc_version.clone(),
            linker: toolchain.linker_version.clone(),
            sources_sha256: digest_of(workspace::root(), &SOURCES)?,
            objects_sha256: objects.collect(),
        })
    }

    /// Reads the committed one.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("failed to parse `{}`", path.display()))
    }

    /// Writes it beside the objects.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let text = toml::to_string(self).context("failed to write the manifest as TOML")?;
        let text = format!(
            "# Written by `cargo xtask ebpf`; `cargo xtask ebpf --check` compares.\n{text}"
        );
        fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
    }

    /// Compares what was just built with the committed manifest.
    pub(super) fn check(&self, committed: &Self) -> Result<()> {
        ensure!(
            self.sources_sha256 == committed.sources_sha256,
            "the sources of the kernel side changed since the objects were built; run `cargo xtask ebpf` and commit \
             the result"
        );
        ensure!(
            (&self.rustc, &self.linker) == (&committed.rustc, &committed.linker),
            "failed to compare the objects: they were built with `{}` and `{}`, here are `{}` and `{}`",
            committed.rustc,
            committed.linker,
            self.rustc,
            self.linker
        );
        ensure!(
            self.objects_sha256 == committed.objects_sha256,
            "the committed objects are not what the sources give; run `cargo xtask ebpf` and commit the result"
        );
        Ok(())
    }
}

/// Digest over the names and contents of all files below the given paths.
fn digest_of(root: &Path, paths: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    for path in paths {
        collect(&root.join(path), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let bytes =
            fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        // Lengths keep a name apart from what follows it.
        for part in [name.as_bytes(), &bytes] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    Ok(hex(digest.finalize().as_slice()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries =
        fs::read_dir(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    entries.into_iter().try_for_each(|entry| collect(&entry?.path(), files))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_changes_with_any_name_and_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let digest = || digest_of(folder.path(), &["a"]).unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/x"), "1").unwrap();
        let first = digest();
        assert_eq!(first, digest());
        fs::write(folder.path().join("a/x"), "2").unwrap();
        let second = digest();
        fs::rename(folder.path().join("a/x"), folder.path().join("a/y")).unwrap();
        let third = digest();
        assert!(first != second && second != third && first != third);
    }

    #[test]
    fn the_committed_manifest_speaks_for_the_committed_sources() {
        let committed = Manifest::read(&super::super::prebuilt()).unwrap();
        assert_eq!(committed.sources_sha256, digest_of(workspace::root(), &SOURCES).unwrap());
        for (file, digest) in committed.objects_sha256 {
            let bytes = fs::read(super::super::prebuilt().join(&file)).unwrap();
            assert_eq!(hex(Sha256::digest(&bytes).as_slice()), digest, "{file}");
        }
    }
}
