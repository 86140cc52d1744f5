//! Finds what of an ELF file is read for names, and decides what of it a parser that trusts more may be let at.
//!
//! Files come from any container of the host. Sections that unpack to gigabytes and links to files elsewhere are found
//! here and kept from being followed.

use std::io::{self, Read};

use object::elf::{
    ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD, FileHeader64, PT_LOAD, SHF_COMPRESSED, SHT_NOBITS,
    SectionHeader64,
};
use object::read::elf::{CompressionHeader, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, elf};

use super::Options;
use super::symbols::{Part, SymbolTable};
use crate::process::Executable;

/// Largest file whose names are read; the largest browser with all debug information is near.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Bytes read of the head, with the program headers.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// Most bytes read of the table of section headers: 16,384 sections of 64 bytes.
const SECTIONS_BYTES_MAX: u64 = 1 << 20;

/// Most bytes read of the section names.
const SECTION_NAMES_BYTES_MAX: u64 = 1 << 20;

/// Most bytes of a link to debug information: a file name of 255 bytes and a checksum.
const DEBUG_LINK_BYTES_MAX: u64 = 264;

/// What may be read of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether the file makes sense.
    pub symbols: bool,
    /// Whether the debug information in the file itself is harmless.
    pub debug: bool,
    /// Whether the file says that debug information is in another one, which may be anybody's.
    pub elsewhere: bool,
    /// Where the debug information is said to be, when it is not in the file itself.
    pub debug_link: Option<DebugLink>,
    /// Whether there is debug information about functions in the file itself, harmless or not.
    pub functions: bool,
    /// Where the symbol table is.
    pub table: SymbolTable,
    /// Loaded segments.
    pub segments: Vec<Segment>,
}

/// What `.gnu_debuglink` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DebugLink {
    /// File name, without any folder.
    pub name: Vec<u8>,
    /// CRC-32 of that file.
    pub checksum: u32,
}

/// A loaded segment of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    offset: u64,
    bytes: u64,
    address: u64,
}

impl Layout {
    /// Reads the layout of a file; everything is forbidden for one that makes no sense, and the debug information that
    /// the options rule out.
    pub(super) fn read(executable: &Executable, options: Options) -> Self {
        if executable.id.size > FILE_BYTES_MAX {
            return Self::default();
        }
        read_layout(executable, options).unwrap_or_default()
    }

    /// Whether there is debug information that may be read.
    pub(super) fn has_debug_information(&self) -> bool {
        self.debug && self.functions && !self.elsewhere
    }

    /// The address that the linker gave to an offset in the file.
    pub(super) fn address_of(&self, offset: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .find(|segment| offset >= segment.offset && offset - segment.offset < segment.bytes)?;
        segment.address.checked_add(offset - segment.offset)
    }
}

fn read_layout(executable: &Executable, options: Options) -> Option<Layout> {
    let head = executable.read(0, HEAD_BYTES_MAX).ok()?;
    if !matches!(FileKind::parse(&*head), Ok(FileKind::Elf64)) {
        return None;
    }
    let header = FileHeader64::<Endianness>::parse(&*head).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, &*head).ok()?;
    let segments = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let mut layout = Layout {
        symbols: true,
        debug: true,
        segments: segments
            .map(|segment| Segment {
                offset: segment.p_offset(endian),
                bytes: segment.p_filesz(endian),
                address: segment.p_vaddr(endian),
            })
            .collect(),
        ..Layout::default()
    };
    judge_sections(executable, header, options, &mut layout)?;
    Some(layout)
}

/// Forbids what the sections would lead to; `None` for a table that makes no sense.
fn judge_sections(
    executable: &Executable,
    header: &FileHeader64<Endianness>,
    options: Options,
    layout: &mut Layout,
) -> Option<()> {
    let endian = header.endian().ok()?;
    // More than 65,279 sections are counted elsewhere; only unlinked objects have so many.
    let count = usize::from(header.e_shnum(endian));
    let table_bytes = 64 * count as u64;
    if table_bytes > SECTIONS_BYTES_MAX {
        return None;
    }
    let table = executable.read(header.e_shoff(endian), table_bytes).ok()?;
    let (sections, _) =
        object::pod::slice_from_bytes::<SectionHeader64<Endianness>>(&table, count).ok()?;
    let names = match sections.get(usize::from(header.e_shstrndx(endian).0)) {
        Some(names) if names.sh_size(endian) <= SECTION_NAMES_BYTES_MAX => {
            executable.read(names.sh_offset(endian), names.sh_size(endian)).ok()?
        }
        _ => Vec::new(),
    };
    layout.table = SymbolTable::find(sections, endian);
    let mut room = options.debug_bytes_max;
    for section in sections.iter().filter(|section| section.sh_type(endian) != SHT_NOBITS) {
        let name = section_name(&names, section.sh_name(endian));
        let packed = section.sh_flags(endian).contains(SHF_COMPRESSED);
        match name {
            b".gnu_debuglink" => {
                layout.elsewhere = true;
                let size = section.sh_size(endian).min(DEBUG_LINK_BYTES_MAX);
                let bytes = executable.read(section.sh_offset(endian), size).unwrap_or_default();
                layout.debug_link = parse_debug_link(&bytes, endian);
            }
            b".gnu_debugaltlink" | b".debug_sup" => layout.elsewhere = true,
            b".gnu_debugdata" if unpacked_xz(executable, section, endian, &mut room).is_none() => {
                layout.debug = false;
            }
            b".gnu_debugdata" if layout.table.is_dynamic => {
                let (offset, bytes) = (section.sh_offset(endian), section.sh_size(endian));
                layout.table.packed = Some(Part { offset, bytes });
            }
            _ if packed && !options.packed_debug => layout.debug = false,
            _ if packed && unpacked(executable, section, endian, &mut room).is_none() => {
                layout.debug = false;
            }
            _ if !packed && name.starts_with(b".debug_") => {
                match room.checked_sub(section.sh_size(endian)) {
                    Some(rest) => room = rest,
                    None => layout.debug = false,
                }
            }
            _ => {}
        }
        layout.functions |= matches!(name, b".debug_info" | b".zdebug_info");
    }
    Some(())
}

/// Parses a name that ends with zero, zeros up to a multiple of four, and a checksum.
fn parse_debug_link(bytes: &[u8], endian: Endianness) -> Option<DebugLink> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = bytes.get(..end).filter(|name| !name.is_empty() && !name.contains(&b'/'))?;
    let start = (end + 1).next_multiple_of(4);
    let checksum = bytes.get(start..start + 4)?.try_into().ok()?;
    let checksum = match endian {
        Endianness::Little => u32::from_le_bytes(checksum),
        Endianness::Big => u32::from_be_bytes(checksum),
    };
    Some(DebugLink { name: name.to_vec(), checksum })
}

fn section_name(names: &[u8], start: u32) -> &[u8] {
    let name = names.get(start as usize..).unwrap_or_default();
    name.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Unpacks a section into nothing, to see that it fits into the room that is left.
fn unpacked(
    executable: &Executable,
    section: &SectionHeader64<Endianness>,
    endian: Endianness,
    room: &mut u64,
) -> Option<()> {
    if section.sh_size(endian) > *room {
        return None;
    }
    let bytes = executable.read(section.sh_offset(endian), section.sh_size(endian)).ok()?;
    let (header, packed) =
        object::pod::from_bytes::<elf::CompressionHeader64<Endianness>>(&bytes).ok()?;
    if header.ch_size(endian) > *room {
        return None;
    }
    match header.ch_type(endian) {
        ELFCOMPRESS_ZLIB => drain(flate2::read::ZlibDecoder::new(packed), room),
        ELFCOMPRESS_ZSTD => drain(zstd::stream::Decoder::with_buffer(packed).ok()?, room),
        _ => None,
    }
}

/// The same for the small symbol table that some distributions pack with xz.
fn unpacked_xz(
    executable: &Executable,
    section: &SectionHeader64<Endianness>,
    endian: Endianness,
    room: &mut u64,
) -> Option<()> {
    if section.sh_size(endian) > *room {
        return None;
    }
    let bytes = executable.read(section.sh_offset(endian), section.sh_size(endian)).ok()?;
    drain(xz2::read::XzDecoder::new(&*bytes), room)
}

fn drain(unpacked: impl Read, room: &mut u64) -> Option<()> {
    let count = io::copy(&mut unpacked.take(*room + 1), &mut io::sink()).ok()?;
    *room = room.checked_sub(count)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_that_leads_elsewhere_is_none() {
        let parse = |bytes: &[u8]| parse_debug_link(bytes, Endianness::Little);
        let link = parse(b"a.debug\0\x01\x02\0\0").expect("this is a link");
        assert_eq!((link.name.as_slice(), link.checksum), (&b"a.debug"[..], 0x201));
        assert_eq!(parse(b"../pipe\0\x01\x02\0\0"), None);
        assert_eq!(parse(b"\0\0\0\0\x01\x02\0\0"), None);
        assert_eq!(parse(b"a.debug"), None);
    }

    #[test]
    fn an_offset_between_segments_has_no_address() {
        let segments = vec![
            Segment { offset: 0, bytes: 0x10, address: 0x4000 },
            Segment { offset: 0x100, bytes: 0x10, address: u64::MAX - 4 },
        ];
        let layout = Layout { segments, ..Layout::default() };
        assert_eq!(layout.address_of(0xf), Some(0x400f));
        assert_eq!(layout.address_of(0x10), None);
        assert_eq!(layout.address_of(0x104), Some(u64::MAX));
        assert_eq!(layout.address_of(0x105), None);
    }

    proptest! {
        #[test]
        fn arbitrary_links_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_debug_link(&bytes, Endianness::Big);
        }
    }
}
