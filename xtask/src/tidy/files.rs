//! Reads the files that are written by hand: not built, not generated, not recorded.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// Folders that hold nothing written by hand, or whose bytes are data.
const SKIPPED_FOLDERS: &[&str] =
    &["target", ".git", ".flamewatch", "node_modules", "prebuilt", "golden", "snapshots"];

/// Endings of the files that people write here.
const ENDINGS: &[&str] =
    &["rs", "js", "mjs", "css", "html", "md", "toml", "proto", "sh", "c", "h", "py", "yaml", "yml"];

/// The longest file that is read: far above what the rule on length lets pass.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most files that are read; this repository has some hundred.
const FILES_MAX: usize = 10_000;

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    /// Returns the part after the last dot of the name.
    pub(super) fn ending(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, ending)| ending)
    }

    /// Says whether the file lies in `folder`, given with `/` at its end.
    pub(super) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

/// Every folder and file by its path, so that a link can be checked without the disk.
#[derive(Debug, Default)]
pub(super) struct Paths {
    folders: BTreeSet<String>,
}

impl Paths {
    /// Collects the folders of `files`.
    pub(super) fn new(files: &[File]) -> Self {
        let folders = files
            .iter()
            .filter_map(|file| file.path.split_once('/'))
            .map(|(folder, _)| folder.to_owned())
            .collect();
        Self { folders }
    }

    /// Says whether `name` is a folder in the root.
    pub(super) fn has_root_folder(&self, name: &str) -> bool {
        self.folders.contains(name)
    }
}

/// Reads every file below `root` that people write, in the order of their paths.
pub(super) fn read_all(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let shown = folder.display().to_string();
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to list `{shown}`"))? {
            let entry = entry.with_context(|| format!("failed to list `{shown}`"))?;
            let kind = entry.file_type().with_context(|| format!("failed to list `{shown}`"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
                folders.push(entry.path());
            } else if kind.is_file() && is_written_by_hand(&name) {
                files.push(read(root, &entry.path())?);
            }
        }
        if files.len() > FILES_MAX {
            bail!("there are more than {FILES_MAX} files below `{}`", root.display());
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_written_by_hand(name: &str) -> bool {
    name == "run" || name.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending))
}

fn read(root: &Path, path: &Path) -> Result<File> {
    let shown = path.display();
    let length = fs::metadata(path).with_context(|| format!("failed to inspect `{shown}`"))?.len();
    if length > FILE_BYTES_MAX {
        bail!("`{shown}` has {length} bytes; a file written by hand has at most {FILE_BYTES_MAX}");
    }
    let text = fs::read_to_string(path).with_context(|| format!("failed to read `{shown}`"))?;
    let relative = path.strip_prefix(root).unwrap_or(path);
    Ok(File { path: relative.to_string_lossy().into_owned(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_or_recorded_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        for path in ["src/a.rs", "target/b.rs", "tests/golden/c.md", "d.svg", ".ci/run"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let files = read_all(root.path()).unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".ci/run", "src/a.rs"]);
    }
}
