//! Keeps batches that harm: those that the store can never take, or that make it panic.
//!
//! They lie in a folder for whoever mends the cause, bounded in number and bytes, the oldest dropped first. Nothing waits for
//! them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use profiler_common::wire::v1;
use prost::Message as _;

/// Most files that are kept: enough to see what they have in common.
const FILES_MAX: usize = 64;

/// Most bytes of them, compressed.
const BYTES_MAX: u64 = 64 << 20;

/// zstd's own default.
const LEVEL: i32 = 3;

/// The ending of a kept batch: a message of `ingest.proto`, compressed.
const ENDING: &str = ".batch.zst";

/// A folder of batches that were set aside.
#[derive(Debug)]
pub(super) struct Poison {
    /// Nothing is kept where there is no folder.
    folder: Option<PathBuf>,
    /// One batch at a time, so that the limits hold.
    writing: Mutex<()>,
}

impl Poison {
    /// Keeps them in `folder`, which is made with the first one.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, writing: Mutex::new(()) }
    }

    /// Keeps a batch; returns its file, if there is one.
    pub(super) fn set_aside(
        &self,
        batch: &v1::Batch,
        now_unix_ns: u64,
    ) -> io::Result<Option<PathBuf>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let packed = zstd::bulk::compress(&batch.encode_to_vec(), LEVEL)?;
        // The time comes first: names sort by age. The agent's name was checked, it has no separator.
        let v1::Batch { agent_id, epoch, sequence, .. } = batch;
        let path = folder.join(format!("{now_unix_ns:020}-{agent_id}-{epoch}-{sequence}{ENDING}"));
        fs::write(&path, packed)?;
        drop_the_oldest(folder)?;
        Ok(path.exists().then_some(path))
    }
}

fn drop_the_oldest(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(ENDING) {
            files.push((entry.file_name(), entry.metadata()?.len()));
        }
    }
    files.sort_unstable();
    let mut bytes = 0;
    for (index, (name, size)) in files.iter().rev().enumerate() {
        bytes += size;
        if index >= FILES_MAX || bytes > BYTES_MAX {
            fs::remove_file(folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(sequence: u64) -> v1::Batch {
        v1::Batch { agent_id: "agent".to_owned(), epoch: 7, sequence, ..Default::default() }
    }

    #[test]
    fn a_batch_is_kept_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let poison = Poison::new(Some(folder.path().join("refused")));
        let path = poison.set_aside(&batch(3), 5).unwrap().unwrap();
        assert!(path.ends_with("refused/00000000000000000005-agent-7-3.batch.zst"), "{path:?}");
        let bytes = zstd::decode_all(&*fs::read(path).unwrap()).unwrap();
        assert_eq!(v1::Batch::decode(&*bytes).unwrap(), batch(3));
    }

    #[test]
    fn the_newest_files_are_kept_and_what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes"), b"mine").unwrap();
        let poison = Poison::new(Some(folder.path().to_owned()));
        for sequence in 0..FILES_MAX as u64 + 3 {
            poison.set_aside(&batch(sequence), sequence).unwrap().unwrap();
        }
        let mut files: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files.len(), FILES_MAX + 1);
        assert!(files[0].ends_with("-7-3.batch.zst") && files.last().unwrap() == "notes");
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        assert_eq!(Poison::new(None).set_aside(&batch(1), 1).unwrap(), None);
    }
}
