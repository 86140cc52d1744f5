//! A small file system that fills up, and is gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

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
