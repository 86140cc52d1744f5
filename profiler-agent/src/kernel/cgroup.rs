//! Finds a cgroup by its id and makes it the one that is sampled.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::CgroupArray;
use profiler_common::abi::maps;

use super::LoadError;

/// Most cgroups looked at. A node with 250 pods has some 2,000.
const CGROUPS_MAX: usize = 65_536;

/// Makes the cgroup the one that the kernel side samples.
pub(super) fn set_target(ebpf: &mut Ebpf, id: u64) -> Result<(), LoadError> {
    let failed = |reason: String| LoadError::Cgroup { id, reason };
    let root = version_2_mount()
        .ok_or_else(|| failed("no file system of type cgroup2 is mounted".to_owned()))?;
    let folder = find(&root, id)
        .ok_or_else(|| failed(format!("no folder below `{}` has this inode", root.display())))?;
    let folder = File::open(folder).map_err(|error| failed(error.to_string()))?;
    let map = ebpf.map_mut(maps::TARGET_CGROUP).ok_or(LoadError::Map(maps::TARGET_CGROUP))?;
    CgroupArray::try_from(map)
        .and_then(|mut map| map.set(0, folder, 0))
        .map_err(|error| failed(error.to_string()))
}

/// Where the cgroups of version 2 are mounted.
pub(super) fn version_2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    find_mount(&mounts)
}

/// Second field of the first line whose third is `cgroup2`; spaces in it are written as `\040`.
fn find_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (folder, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder.replace("\\040", " ")))
    })
}

fn find(root: &Path, id: u64) -> Option<PathBuf> {
    let mut waiting = vec![root.to_owned()];
    for _ in 0..CGROUPS_MAX {
        let folder = waiting.pop()?;
        // A cgroup may vanish while we look.
        let Ok(metadata) = fs::symlink_metadata(&folder) else { continue };
        if metadata.ino() == id {
            return Some(folder);
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        waiting.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_by_its_type() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/my\\040own cgroup2 rw 0 0\n";
        assert_eq!(find_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/my own")));
        assert_eq!(find_mount("proc /proc proc rw 0 0\nbroken"), None);
    }

    #[test]
    fn a_folder_is_found_by_its_inode_however_deep() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        let id = fs::metadata(&deep).unwrap().ino();
        assert_eq!(find(root.path(), id), Some(deep));
        assert_eq!(find(root.path(), u64::MAX), None);
    }
}
