//! Reads what is mapped where from the text of `/proc/PID/maps`: executable mappings only.

use std::io::{self, BufRead, Read};

/// Most executable mappings kept of one process. A large Java or browser process has a few thousand.
pub const MAPPINGS_MAX: usize = 16_384;

/// Most bytes read of one `maps` file: 65,530 mappings (`vm.max_map_count`) of 120 bytes, doubled.
const MAPS_BYTES_MAX: u64 = 16 << 20;

/// Longest line that is looked at: the fields before the path, and a path of `PATH_MAX` with each byte escaped.
const LINE_BYTES_MAX: usize = 100 + 4 * 4096;

/// What stands behind a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingKind {
    /// A file that still has its name.
    File,
    /// A file whose name is gone, or that never had one (memfd).
    Deleted,
    /// The virtual shared object of the kernel.
    Vdso,
    /// The old vsyscall page.
    Vsyscall,
    /// Memory that no file backs.
    Anonymous,
}

/// One executable mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last one; above `start`.
    pub end: u64,
    /// Offset in the file at `start`.
    pub offset: u64,
    /// Device of the file as (major, minor).
    pub device: (u32, u32),
    /// Inode of the file; 0 for none.
    pub inode: u64,
    /// Path as the process sees it, without the mark of deleted files; bytes as the kernel gave them.
    pub path: Vec<u8>,
    /// What stands behind it.
    pub kind: MappingKind,
}

impl Mapping {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.path.len()
    }

    /// File name without its folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}

/// Parses the text of a `maps` file into executable mappings sorted by address. Lines that make no sense are skipped.
#[must_use]
pub fn parse_mappings(text: &[u8]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> =
        text.split(|byte| *byte == b'\n').filter_map(parse_line).take(MAPPINGS_MAX).collect();
    sort(&mut mappings);
    mappings
}

/// Reads a `maps` file line by line, so that memory is taken for executable mappings only, and for no more than
/// `bytes_max`.
///
/// # Errors
///
/// When `source` fails; a process that ends while it is read gives what was read so far.
pub(super) fn read_mappings(source: impl Read, bytes_max: usize) -> io::Result<Vec<Mapping>> {
    let mut source = io::BufReader::new(source.take(MAPS_BYTES_MAX));
    let mut mappings = Vec::new();
    let mut line = Vec::new();
    let mut bytes = 0;
    while mappings.len() < MAPPINGS_MAX {
        line.clear();
        match source.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {
                let parsed = parse_line(line.strip_suffix(b"\n").unwrap_or(&line));
                bytes += parsed.as_ref().map_or(0, Mapping::bytes);
                if bytes > bytes_max {
                    break;
                }
                mappings.extend(parsed);
            }
            Err(error) if mappings.is_empty() => return Err(error),
            Err(_ended) => break,
        }
    }
    sort(&mut mappings);
    Ok(mappings)
}

/// Finds the mapping that holds an address in a list sorted by address.
#[must_use]
pub(super) fn find_mapping(mappings: &[Mapping], address: u64) -> Option<usize> {
    let index = mappings.partition_point(|mapping| mapping.start <= address).checked_sub(1)?;
    (address < mappings.get(index)?.end).then_some(index)
}

fn sort(mappings: &mut [Mapping]) {
    mappings.sort_by_key(|mapping| mapping.start);
}

/// Parses `start-end perms offset major:minor inode   path`; `None` for what is not executable or not such a line.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let (range, rest) = field(line)?;
    let (permissions, rest) = field(rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    let (offset, rest) = field(rest)?;
    let (device, rest) = field(rest)?;
    let (inode, rest) = field(rest).unwrap_or((rest, b""));
    let (start, end) = pair(range, '-')?;
    let (major, minor) = pair(device, ':')?;
    let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
    let (kind, path) = kind_of(rest.trim_ascii_start(), inode);
    (start < end).then_some(Mapping {
        start,
        end,
        offset: hex(offset)?,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode,
        path,
        kind,
    })
}

/// Splits off the bytes up to the next space.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    Some((&line[..end], &line[end + 1..]))
}

fn pair(text: &[u8], separator: char) -> Option<(u64, u64)> {
    let (left, right) = std::str::from_utf8(text).ok()?.split_once(separator)?;
    Some((hex(left.as_bytes())?, hex(right.as_bytes())?))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

fn kind_of(path: &[u8], inode: u64) -> (MappingKind, Vec<u8>) {
    match path {
        b"[vdso]" => (MappingKind::Vdso, path.to_vec()),
        b"[vsyscall]" => (MappingKind::Vsyscall, path.to_vec()),
        // Shared memory without a name shows the device or key that it is made of.
        _ if inode == 0 || path.starts_with(b"/dev/zero") || path.starts_with(b"/SYSV") => {
            (MappingKind::Anonymous, path.to_vec())
        }
        _ => match path.strip_suffix(b" (deleted)") {
            Some(path) => (MappingKind::Deleted, unescape(path)),
            None => (MappingKind::File, unescape(path)),
        },
    }
}

/// Undoes the only escape the kernel makes in `maps`: a line break is written as `\012`.
fn unescape(path: &[u8]) -> Vec<u8> {
    const LINE_BREAK: &[u8] = b"\\012";
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(byte) = rest.first() {
        if rest.starts_with(LINE_BREAK) {
            plain.push(b'\n');
            rest = &rest[LINE_BREAK.len()..];
        } else {
            plain.push(*byte);
            rest = &rest[1..];
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
55d0c0a00000-55d0c0a02000 r--p 00000000 08:01 131 /usr/bin/cat
55d0c0a02000-55d0c0a07000 r-xp 00002000 08:01 131                        /usr/bin/cat
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f1000000000-7f1000001000 r-xp 00001000 fe:10 9 /tmp/with space\\012x (deleted)
7f2000000000-7f2000001000 r-xs 00000000 00:01 77 /dev/zero (deleted)
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn every_kind_of_executable_mapping_is_told_apart() {
        let mappings = parse_mappings(TEXT.as_bytes());
        let kinds: Vec<_> = mappings.iter().map(|mapping| mapping.kind).collect();
        use MappingKind::{Anonymous, Deleted, File, Vdso, Vsyscall};
        assert_eq!(kinds, [File, Anonymous, Deleted, Anonymous, Vdso, Vsyscall]);
        assert_eq!(mappings[0].path, b"/usr/bin/cat");
        assert_eq!((mappings[0].offset, mappings[0].inode), (0x2000, 131));
        assert_eq!(mappings[2].path, b"/tmp/with space\nx");
        assert_eq!(mappings[2].device, (0xfe, 0x10));
    }

    #[test]
    fn an_address_is_found_only_inside_its_mapping() {
        let mappings = parse_mappings(TEXT.as_bytes());
        assert_eq!(find_mapping(&mappings, 0x55d0_c0a0_2000), Some(0));
        assert_eq!(find_mapping(&mappings, 0x55d0_c0a0_6fff), Some(0));
        assert_eq!(find_mapping(&mappings, 0x55d0_c0a0_7000), None);
        assert_eq!(find_mapping(&mappings, 0), None);
        assert_eq!(find_mapping(&mappings, u64::MAX), None);
    }

    #[test]
    fn our_own_maps_hold_this_very_function() {
        let file = std::fs::File::open("/proc/self/maps").expect("procfs is mounted");
        let mappings = read_mappings(file, usize::MAX).expect("own maps are readable");
        let address = our_own_maps_hold_this_very_function as fn() as usize as u64;
        let found = find_mapping(&mappings, address).expect("our code is mapped");
        assert_eq!(mappings[found].kind, MappingKind::File);
        assert!(mappings.iter().any(|mapping| mapping.kind == MappingKind::Vdso));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let parsed = parse_mappings(&bytes);
            prop_assert_eq!(read_mappings(&bytes[..], usize::MAX).expect("memory can be read"), parsed);
        }

        #[test]
        fn damaged_lines_never_panic(
            position in 0..TEXT.len(), byte in any::<u8>(), cut in 0..TEXT.len()
        ) {
            let mut text = TEXT.as_bytes().to_vec();
            text[position] = byte;
            for mapping in parse_mappings(&text[..cut]) {
                prop_assert!(mapping.start < mapping.end);
            }
        }
    }
}
