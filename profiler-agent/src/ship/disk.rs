//! The changes that the outbox makes to its folder, step by step, so that each step can be made to fail.
//!
//! A simulation says which steps fail; everywhere else the disk alone decides.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// One step of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Makes an empty file beside the one to be replaced.
    Create,
    /// Fills it.
    Write,
    /// Waits until its content is durable.
    Sync,
    /// Gives it the name, or moves a file.
    Rename,
    /// Waits until the name is durable.
    SyncFolder,
    /// Deletes a file.
    Remove,
    /// Overwrites a few bytes of an open file.
    Note,
}

/// Decides whether a step is done.
pub trait Faults: std::fmt::Debug + Send + Sync {
    /// Called before each step on a path.
    ///
    /// # Errors
    ///
    /// What the disk is to say instead of doing the step.
    fn before(&self, step: Step, path: &Path) -> io::Result<()>;
}

/// The disk under a state folder.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

impl Disk {
    /// A disk whose steps fail as told.
    #[must_use]
    pub fn failing(faults: Arc<dyn Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    /// Replaces a file whole: writes beside it, syncs, renames, and syncs the folder.
    ///
    /// # Errors
    ///
    /// When any step fails; what was there before is still there then, unless only the last step failed.
    pub fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("tmp");
        let written = self.write_beside(&beside, bytes);
        let renamed = written.and_then(|()| {
            self.before(Step::Rename, path)?;
            fs::rename(&beside, path)
        });
        if let Err(error) = renamed {
            let _half_written = self.remove(&beside);
            return Err(error);
        }
        let Some(folder) = path.parent() else { return Ok(()) };
        self.before(Step::SyncFolder, folder)?;
        File::open(folder)?.sync_all()
    }

    fn write_beside(&self, beside: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before(Step::Create, beside)?;
        let mut file = File::create(beside)?;
        self.before(Step::Write, beside)?;
        file.write_all(bytes)?;
        self.before(Step::Sync, beside)?;
        file.sync_all()
    }

    /// Deletes a file.
    ///
    /// # Errors
    ///
    /// When it is still there.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.before(Step::Remove, path)?;
        fs::remove_file(path)
    }

    /// Moves a file.
    ///
    /// # Errors
    ///
    /// When it is still where it was.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Step::Rename, to)?;
        fs::rename(from, to)
    }

    /// Overwrites the first bytes of an open file; `path` only names it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn note(&self, file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before(Step::Note, path)?;
        file.write_all_at(bytes, 0)
    }

    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.before(step, path))
    }
}
