//! Small file systems that fill up or turn read-only, and are gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{Scenario, command, report};

/// Bytes written at a time while filling.
const BLOCK_BYTES: usize = 4096;

/// A file system in memory with a size limit.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many KiB at a new folder.
    ///
    /// # Errors
    ///
    /// When mounting is not allowed.
    pub fn mount(path: PathBuf, kib: u32) -> Result<Self> {
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create `{}`", path.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "flamewatch-e2e"]).arg(&path);
        command::finish(&mut mount)?.expect_code(0).context("failed to mount a small disk")?;
        Ok(Self { path })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all that is free.
    ///
    /// # Errors
    ///
    /// When the filling file cannot be made.
    pub fn fill(&self) -> Result<()> {
        use std::io::Write as _;
        let mut file = fs::File::create(self.filling()).context("failed to create the filling")?;
        // The disk is small, so this ends with the error that is wanted: no space left.
        while file.write_all(&[0; BLOCK_BYTES]).is_ok() {}
        Ok(())
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Errors
    ///
    /// When it was not filled.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.filling()).context("failed to remove the filling")
    }

    fn filling(&self) -> PathBuf {
        self.path.join("filling")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, so that a program which still holds a file does not keep the mount.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// A file system on a file, which can fail as one on a device does.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    path: PathBuf,
}

impl LoopDisk {
    /// Makes and mounts one of so many bytes; says why where the machine cannot.
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn mount(scenario: &Scenario, bytes: u64) -> Result<Option<Self>> {
        let disk = Self { image: scenario.path("disk.img"), path: scenario.path("loop") };
        fs::create_dir_all(&disk.path).context("failed to create the mount's folder")?;
        fs::File::create(&disk.image)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("failed to create `{}`", disk.image.display()))?;
        let mut format = Command::new("mkfs.ext4");
        format.arg("-q").arg(&disk.image);
        let formatted = command::finish(&mut format).and_then(|ended| ended.expect_code(0));
        let mounted = formatted.and_then(|_output| disk.mount_again());
        match mounted {
            Ok(()) => Ok(Some(disk)),
            Err(why) => {
                report(&format!("skipped: no file system on a loop device here: {why:#}"));
                Ok(None)
            }
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the file system find an error, after which the kernel writes to it no more.
    ///
    /// # Errors
    ///
    /// When the kernel takes no orders for it.
    pub fn turn_read_only(&self) -> Result<()> {
        let mut find = Command::new("findmnt");
        find.args(["--noheadings", "--output", "SOURCE", "--mountpoint"]).arg(&self.path);
        let found = command::finish(&mut find)?.expect_code(0)?;
        let device = found.stdout.trim().trim_start_matches("/dev/").to_owned();
        let order = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(&order, "1").with_context(|| format!("failed to write `{order}`"))
    }

    /// Mounts it, or unmounts it first, so that its journal is replayed.
    ///
    /// # Errors
    ///
    /// When it is still in use, or cannot be mounted.
    pub fn mount_again(&self) -> Result<()> {
        let _ = Command::new("umount").arg("--quiet").arg(&self.path).status();
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.path);
        command::finish(&mut mount)?.expect_code(0).context("failed to mount a loop device")?;
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Lazily, as above; the loop device goes with the mount.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
