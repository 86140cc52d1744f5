//! Executables and libraries that are held open, so that they can be named after their process or container is gone.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object::elf::{FileHeader64, NT_GNU_BUILD_ID, PT_NOTE};
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use object::{Endianness, FileKind};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use super::mappings::{Mapping, MappingKind};

/// Most executables held open: half of 1,024 open files, in case that limit cannot be raised, so that rings and sockets
/// have room.
pub const EXECUTABLES_MAX: usize = 512;

/// Bytes read of the head of an ELF file; program headers stand right behind the ELF header.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// Most bytes read of a note segment. A build id takes 36; core-like notes are no build ids.
const NOTES_BYTES_MAX: u64 = 64 << 10;

/// Most program headers that are looked at; linkers make about a dozen.
const SEGMENTS_MAX: usize = 256;

/// Longest build id that is believed, in bytes; SHA-1 has 20 and SHA-256 has 32.
const BUILD_ID_BYTES_MAX: usize = 64;

/// What tells two files apart, and two contents of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last change of the contents, in nanoseconds since 1970.
    pub modified_ns: i128,
}

/// An executable or library that is held open.
#[derive(Debug)]
pub struct Executable {
    /// Differs for every executable that this program opened.
    pub serial: u64,
    /// Which file this is.
    pub id: FileId,
    /// File name without its folder, as the process sees it.
    pub module: Arc<str>,
    /// Build id in hex, or empty.
    pub build_id: String,
    /// Whether the file starts like an ELF file.
    pub is_elf: bool,
    file: File,
}

impl Executable {
    /// Takes an opened regular file and reads its build id.
    ///
    /// # Errors
    ///
    /// When the file cannot be examined. A file that is no valid ELF is no error; it has no build id.
    pub fn new(file: File, module: &str) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let id = file_id(&file)?;
        let head = read_bytes(&file, 0, HEAD_BYTES_MAX)?;
        Ok(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            id,
            module: module.into(),
            build_id: find_build_id(&file, &head).unwrap_or_default(),
            is_elf: head.starts_with(b"\x7fELF"),
            file,
        })
    }

    /// Path under which this process can open the file again, whatever became of its name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        fd_path(&self.file)
    }

    /// Whether the file still has all the bytes that it had: reading others through a memory map ends the reader.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        file_id(&self.file).is_ok_and(|id| id.size >= self.id.size)
    }

    /// Reads at most `limit` bytes at an offset; fewer at the end of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read(&self, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
        read_bytes(&self.file, offset, limit)
    }
}

/// The executables of all processes; the least recently used one is closed when there are too many.
#[derive(Debug, Default)]
pub(super) struct ExecutableCache {
    entries: HashMap<CacheKey, (Arc<Executable>, u64)>,
    clock: u64,
}

/// What the kernel prints about a mapped file. The path is part of it because inodes of subvolumes may be equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CacheKey {
    device: (u32, u32),
    inode: u64,
    path: Vec<u8>,
}

impl ExecutableCache {
    /// Finds the executable behind a mapping, or opens it through the process.
    pub(super) fn open(&mut self, tgid: u32, mapping: &Mapping) -> io::Result<Arc<Executable>> {
        let key =
            CacheKey { device: mapping.device, inode: mapping.inode, path: mapping.path.clone() };
        self.clock += 1;
        if let Some((known, used)) = self.entries.get_mut(&key) {
            // An inode that is held open is not given to another file, but its contents may have been replaced.
            if file_id(&known.file).is_ok_and(|id| id == known.id) {
                *used = self.clock;
                return Ok(Arc::clone(known));
            }
        }
        let file = open_mapped(tgid, mapping)?;
        let executable = Arc::new(Executable::new(file, &mapping.file_name())?);
        if self.entries.len() >= EXECUTABLES_MAX {
            self.drop_oldest();
        }
        self.entries.insert(key, (Arc::clone(&executable), self.clock));
        Ok(executable)
    }

    /// Number of executables held open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn drop_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }
}

/// Opens the file behind a mapping: by the mapping itself, which needs no name, else by its path in the process' root.
fn open_mapped(tgid: u32, mapping: &Mapping) -> io::Result<File> {
    let by_mapping = format!("/proc/{tgid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    open_regular(CWD, by_mapping.as_bytes(), ResolveFlags::empty()).or_else(|error| {
        if mapping.kind == MappingKind::Deleted {
            return Err(error);
        }
        let file = open_in_root(tgid, &mapping.path)?;
        // The name may stand for another file by now.
        let inode = rustix::fs::fstat(&file)?.st_ino;
        if inode == mapping.inode { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    })
}

/// Opens a regular file by its path inside the root of a process; links cannot lead out of that root.
///
/// # Errors
///
/// When the process or file is gone, may not be read, or is not a regular file.
pub(crate) fn open_in_root(tgid: u32, path: &[u8]) -> io::Result<File> {
    let root = format!("/proc/{tgid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
    open_regular(root, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens a file only after it is known to be a regular one: opening a device or a pipe may block or do harm.
pub(crate) fn open_regular(
    folder: impl AsFd,
    path: &[u8],
    resolve: ResolveFlags,
) -> io::Result<File> {
    let path = std::ffi::OsStr::from_bytes(path);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let handle = if resolve.is_empty() {
        rustix::fs::openat(folder, path, flags, Mode::empty())?
    } else {
        rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)?
    };
    let status = rustix::fs::fstat(&handle)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(fd_path(&handle), flags, Mode::empty())?))
}

/// Path of an open file in this process.
fn fd_path(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn file_id(file: &File) -> io::Result<FileId> {
    let status = rustix::fs::fstat(file)?;
    Ok(FileId {
        device: status.st_dev,
        inode: status.st_ino,
        size: u64::try_from(status.st_size).unwrap_or(0),
        modified_ns: i128::from(status.st_mtime) * 1_000_000_000 + i128::from(status.st_mtime_nsec),
    })
}

/// Reads at most `limit` bytes at an offset; fewer at the end of the file.
fn read_bytes(file: &File, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len().saturating_sub(offset).min(limit);
    // The limit of each caller fits memory, so the size does.
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Finds the GNU build id in the notes of a 64-bit ELF file.
fn find_build_id(file: &File, head: &[u8]) -> Option<String> {
    if !matches!(FileKind::parse(head), Ok(FileKind::Elf64)) {
        return None;
    }
    let header = FileHeader64::<Endianness>::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, head).ok()?;
    let notes = segments.iter().take(SEGMENTS_MAX).filter(|s| s.p_type(endian) == PT_NOTE);
    for segment in notes {
        let size = segment.p_filesz(endian).min(NOTES_BYTES_MAX);
        let bytes = read_bytes(file, segment.p_offset(endian), size).ok()?;
        let Ok(mut notes) =
            NoteIterator::<FileHeader64<Endianness>>::new(endian, segment.p_align(endian), &bytes)
        else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            let id = note.desc();
            if note.name() == b"GNU"
                && note.n_type(endian) == NT_GNU_BUILD_ID
                && (1..=BUILD_ID_BYTES_MAX).contains(&id.len())
            {
                return Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn executable_of(bytes: &[u8]) -> Executable {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Executable::new(file, "x").unwrap()
    }

    #[test]
    fn the_build_id_is_the_one_that_readelf_prints() {
        let own = std::env::current_exe().unwrap();
        let executable = Executable::new(File::open(&own).unwrap(), "own").unwrap();
        let Ok(printed) = std::process::Command::new("readelf").arg("-n").arg(&own).output() else {
            eprintln!("skipped: no readelf");
            return;
        };
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        let id = printed.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
        assert_eq!(executable.build_id, id.unwrap_or_default());
    }

    #[test]
    fn pipes_and_folders_and_devices_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [pipe.as_path(), folder.path(), "/dev/null".as_ref()] {
            let opened = open_in_root(std::process::id(), path.as_os_str().as_bytes());
            assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn arbitrary_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(executable_of(&bytes).build_id, "");
            executable_of(&[b"\x7fELF\x02\x01\x01", &bytes[..]].concat());
        }

        #[test]
        fn damaged_elf_heads_never_panic(
            damage in proptest::collection::vec((0usize..1024, any::<u8>()), 1..8)
        ) {
            let own = File::open("/proc/self/exe").unwrap();
            let mut head = read_bytes(&own, 0, 4096).unwrap();
            for (position, byte) in damage {
                head[position] = byte;
            }
            executable_of(&head);
        }
    }
}
