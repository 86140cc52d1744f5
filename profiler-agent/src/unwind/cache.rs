//! Keeps tables on disk, so that none is made twice.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::stored::STORED_BYTES_MAX;
use super::table::Table;

/// Longest build id that names a file, in hex digits; SHA-256 has 64.
const BUILD_ID_DIGITS_MAX: usize = 128;

/// What the names of tables end with, and those of tables that are being written.
const SUFFIX: &str = "table";
const PARTIAL_SUFFIX: &str = "partial";

/// Most files that the folder is looked through for; more are not ours.
const FILES_MAX: usize = 1 << 16;

/// A folder of tables by build id. One program at a time uses it.
#[derive(Debug)]
pub struct TableCache {
    folder: PathBuf,
    bytes_max: u64,
}

impl TableCache {
    /// Opens a folder, and makes it when it is missing. Beyond `bytes_max` the tables used longest ago are removed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let cache = Self { folder: folder.to_owned(), bytes_max };
        // A program that was killed leaves what it was writing.
        for path in cache.files(PARTIAL_SUFFIX)? {
            fs::remove_file(path)?;
        }
        cache.make_room(0)?;
        Ok(cache)
    }

    /// Reads the table of a build id; `None` when there is none, or when its file was damaged and is now gone.
    #[must_use]
    pub fn load(&self, build_id: &str) -> Option<Table> {
        let path = self.path(build_id)?;
        let file = File::open(&path).ok()?;
        let table = read(&file).as_deref().and_then(Table::from_bytes);
        if table.is_some() {
            // The time of the last change is that of the last use. Without it, only the order of removal suffers.
            let _ = file.set_modified(SystemTime::now());
        } else {
            tracing::warn!(build_id, "an unwind table on disk is damaged, or of another version");
            let _ = fs::remove_file(&path);
        }
        table
    }

    /// Writes the table of a build id, whole or not at all. Does nothing without a build id, or when the table is larger
    /// than all that may be kept.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn store(&self, build_id: &str, table: &Table) -> io::Result<()> {
        let Some(path) = self.path(build_id) else { return Ok(()) };
        let bytes = table.to_bytes();
        if bytes.len() as u64 > self.bytes_max {
            return Ok(());
        }
        self.make_room(bytes.len() as u64)?;
        let partial = path.with_extension(PARTIAL_SUFFIX);
        let written = File::create(&partial).and_then(|mut file| file.write_all(&bytes));
        // A table that the disk loses is made again, and one that it damages is noticed: there is no need to wait for it.
        let written = written.and_then(|()| fs::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Path of the table of a build id, if it is one: hex digits only, so that it stays inside the folder.
    fn path(&self, build_id: &str) -> Option<PathBuf> {
        let is_id = (1..=BUILD_ID_DIGITS_MAX).contains(&build_id.len())
            && build_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| self.folder.join(build_id).with_extension(SUFFIX))
    }

    /// Files with this suffix.
    fn files(&self, suffix: &str) -> io::Result<Vec<PathBuf>> {
        let paths = fs::read_dir(&self.folder)?.take(FILES_MAX).flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension() == Some(OsStr::new(suffix))).collect())
    }

    /// Removes the tables used longest ago until there is room for so many more bytes.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for path in self.files(SUFFIX)? {
            if let Ok(metadata) = fs::symlink_metadata(&path) {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort_unstable();
        let mut total = files.iter().map(|(_, bytes, _)| *bytes).sum::<u64>().saturating_add(bytes);
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// Reads a file that may be a table.
fn read(file: &File) -> Option<Vec<u8>> {
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > STORED_BYTES_MAX as u64 {
        return None;
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(STORED_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::writer::Writer;
    use super::*;

    fn table(pages: u32) -> Table {
        let (pages, rows, rules) = Writer::new(pages).finish().unwrap();
        Table { segments: Vec::new(), base: 0, pages, rows, rules }
    }

    #[test]
    fn a_stored_table_is_loaded_by_the_next_program() {
        let folder = tempfile::tempdir().unwrap();
        let cache = TableCache::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(cache.load("ab12"), None);
        cache.store("ab12", &table(3)).unwrap();
        let cache = TableCache::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(cache.load("ab12"), Some(table(3)));
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = TableCache::open(folder.path(), 1 << 20).unwrap();
        cache.store("ab12", &table(3)).unwrap();
        let path = folder.path().join("ab12.table");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(cache.load("ab12"), None);
        assert!(!path.exists());
        cache.store("ab12", &table(3)).unwrap();
        assert_eq!(cache.load("ab12"), Some(table(3)));
    }

    #[test]
    fn the_tables_used_longest_ago_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = table(3).to_bytes().len() as u64;
        let cache = TableCache::open(folder.path(), 3 * bytes).unwrap();
        let hour = |hours| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
        for (hours, id) in ["a1", "b2", "c3"].iter().enumerate() {
            cache.store(id, &table(3)).unwrap();
            let path = folder.path().join(id).with_extension(SUFFIX);
            File::open(path).unwrap().set_modified(hour(hours as u64)).unwrap();
        }
        // Use makes the oldest one the newest.
        assert!(cache.load("a1").is_some());
        cache.store("d4", &table(3)).unwrap();
        let kept = ["a1", "b2", "c3", "d4"].map(|id| cache.load(id).is_some());
        assert_eq!(kept, [true, false, true, true]);
        let smaller = TableCache::open(folder.path(), bytes).unwrap();
        assert_eq!(smaller.files(SUFFIX).unwrap().len(), 1);
        smaller.store("e5", &table(4)).unwrap();
        assert!(smaller.load("e5").is_none(), "larger than all that may be kept");
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("unwind");
        let cache = TableCache::open(&inner, 1 << 20).unwrap();
        let long = "a".repeat(BUILD_ID_DIGITS_MAX + 1);
        for id in ["", "../ab12", "/ab12", "ab 12", "ab.table", long.as_str()] {
            cache.store(id, &table(3)).unwrap();
            assert_eq!(cache.load(id), None);
        }
        assert_eq!(cache.files(SUFFIX).unwrap().len(), 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_being_written_when_the_program_ended_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let partial = folder.path().join("ab12.partial");
        fs::write(&partial, "half a tab").unwrap();
        let cache = TableCache::open(folder.path(), 1 << 20).unwrap();
        assert!(!partial.exists());
        assert_eq!(cache.load("ab12"), None);
    }
}
