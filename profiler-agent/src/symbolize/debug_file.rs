//! Finds debug information that was split off a program: by build id, else by the name that the program gives.
//!
//! The name comes from a file that anybody may have made, so it may not lead anywhere else, and what it leads to must
//! have the checksum that the program gives, and is examined like the program itself.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, ResolveFlags};

use super::Options;
use super::layout::{DebugLink, Layout};
use crate::process::{Executable, open_regular};

/// Where packages and administrators put debug information.
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Largest file whose checksum is computed; half a second at 1 GB/s.
const CHECKED_BYTES_MAX: u64 = 512 << 20;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// A file with debug information of another one.
#[derive(Debug)]
pub(super) struct DebugFile {
    pub(super) file: Executable,
    /// What of it may be read.
    pub(super) layout: Layout,
}

impl DebugFile {
    /// Finds the debug information of an executable on this host.
    pub(super) fn find(executable: &Executable, layout: &Layout, options: Options) -> Option<Self> {
        by_build_id(&executable.build_id, options)
            .or_else(|| by_link(executable, layout.debug_link.as_ref()?, options))
    }
}

fn by_build_id(build_id: &str, options: Options) -> Option<DebugFile> {
    let (folder, rest) = build_id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
    let folder = Path::new(DEBUG_FOLDER).join(".build-id").join(folder);
    let file = open(&folder.join(format!("{rest}.debug")))?;
    let mut layout = Layout::read(&file, options);
    // Only an administrator can put it there, so its own links may be followed.
    layout.elsewhere = false;
    // One of another build would give wrong names.
    (file.build_id == build_id).then_some(DebugFile { file, layout })
}

fn by_link(executable: &Executable, link: &DebugLink, options: Options) -> Option<DebugFile> {
    let name = OsStr::from_bytes(&link.name);
    let own = std::fs::read_link(executable.path()).ok()?;
    let folder = own.parent()?;
    candidates(folder, name).into_iter().find_map(|path| {
        let file = open(&path)?;
        let layout = Layout::read(&file, options);
        (layout.symbols && checksum(&file) == Some(link.checksum))
            .then_some(DebugFile { file, layout })
    })
}

/// The places where debuggers look, for a program in that folder.
fn candidates(folder: &Path, name: &OsStr) -> [PathBuf; 3] {
    let below_root = folder.strip_prefix("/").unwrap_or(folder);
    [
        Path::new(DEBUG_FOLDER).join(below_root).join(name),
        folder.join(".debug").join(name),
        folder.join(name),
    ]
}

fn open(path: &Path) -> Option<Executable> {
    let file: File = open_regular(CWD, path.as_os_str().as_bytes(), ResolveFlags::empty()).ok()?;
    Executable::new(file, "debug").ok()
}

/// CRC-32 of the whole file; `None` for one that is too large or cannot be read.
fn checksum(file: &Executable) -> Option<u32> {
    if file.id.size > CHECKED_BYTES_MAX {
        return None;
    }
    let mut checksum = flate2::Crc::new();
    let mut offset = 0;
    while offset < file.id.size {
        let chunk = file.read(offset, CHUNK_BYTES).ok().filter(|chunk| !chunk.is_empty())?;
        checksum.update(&chunk);
        offset += chunk.len() as u64;
    }
    Some(checksum.sum())
}
