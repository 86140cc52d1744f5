//! Makes the first file system of the virtual machines: busybox, our programs, and the libraries they need.

use std::{
    collections::BTreeSet,
    fs,
    fs::{File, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::guest::{GUEST, Guest};
use crate::workspace::find_program;

/// Where our programs lie in the image.
const PROGRAMS: &str = "programs";

/// The first process: mounts what a host has, tries everything, and ends the machine.
///
/// What the guest prints goes to the second serial line, so that no message of the kernel gets between.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t securityfs none /sys/kernel/security
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /tmp
stty -F /dev/ttyS1 raw
/PROGRAMS/GUEST /PROGRAMS --degrade > /dev/ttyS1
echo "the guest ended with $?"
poweroff -f
"#;

/// Builds the image below `folder` and returns its file.
pub(super) fn make(guest: &Guest, folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).context("failed to remove the old image")?;
    }
    let mut all = Vec::new();
    for name in ["proc", "sys", "dev", "tmp", "bin", "etc", PROGRAMS] {
        fs::create_dir_all(root.join(name)).context("failed to create a folder of the image")?;
    }
    let busybox = find_program("busybox").context("`busybox` is not installed")?;
    copy(&busybox, &root.join("bin/busybox"))?;
    let mut libraries = BTreeSet::new();
    for program in guest.programs()? {
        libraries.extend(libraries_of(&program)?);
        let name = program.file_name().context("a program has a name")?;
        copy(&program, &root.join(PROGRAMS).join(name))?;
    }
    for library in libraries {
        let inside = library.strip_prefix("/").context("a library has a whole path")?;
        copy(&library, &root.join(inside))?;
    }
    let init = root.join("init");
    fs::write(&init, INIT.replace("PROGRAMS", PROGRAMS).replace("GUEST", GUEST))
        .context("failed to write the first program")?;
    fs::set_permissions(&init, Permissions::from_mode(0o755)).context("failed to write init")?;
    list(&root, Path::new(""), &mut all)?;
    let image = folder.join("image.cpio");
    pack(&busybox, &root, &all, &image)?;
    Ok(image)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, to))
        .map(drop)
        .with_context(|| format!("failed to copy `{}` to `{}`", from.display(), to.display()))
}

/// Paths of the libraries of a program, its loader included, as the loader itself tells.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("failed to run `ldd`")?;
    ensure!(output.status.success(), "`ldd {}` ended with {}", program.display(), output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Lists a folder's files below `root`, each after its folder.
fn list(root: &Path, folder: &Path, all: &mut Vec<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    let shown = path.display();
    for entry in fs::read_dir(&path).with_context(|| format!("failed to list `{shown}`"))? {
        let entry = entry.with_context(|| format!("failed to list `{shown}`"))?;
        let inside = folder.join(entry.file_name());
        all.push(inside.clone());
        if entry.path().is_dir() {
            list(root, &inside, all)?;
        }
    }
    Ok(())
}

/// Packs the files in the form that kernels unpack. It is not compressed: an emulated processor is slower than a copy.
fn pack(busybox: &Path, root: &Path, all: &[PathBuf], image: &Path) -> Result<()> {
    let out =
        File::create(image).with_context(|| format!("failed to create `{}`", image.display()))?;
    let mut cpio = Command::new(busybox)
        .args(["cpio", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .context("failed to run busybox's `cpio`")?;
    let mut names = cpio.stdin.take().context("`cpio` has no input")?;
    for path in all {
        writeln!(names, "{}", path.display()).context("failed to name the image's files")?;
    }
    drop(names);
    let status = cpio.wait().context("failed to wait for `cpio`")?;
    ensure!(status.success(), "`cpio` ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_its_loader_and_its_libraries() {
        let libraries = libraries_of(&std::env::current_exe().unwrap()).unwrap();
        assert!(libraries.iter().all(|library| library.is_file()));
        let has = |name: &str| libraries.iter().any(|path| path.to_string_lossy().contains(name));
        assert!(has("libc.so") && has("ld-linux"), "{libraries:?}");
    }

    #[test]
    fn a_folder_stands_before_what_it_holds() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/c"), "").unwrap();
        let mut all = Vec::new();
        list(root.path(), Path::new(""), &mut all).unwrap();
        assert_eq!(all, ["a", "a/b", "a/b/c"].map(PathBuf::from));
    }
}
