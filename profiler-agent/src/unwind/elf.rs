//! Reads what is needed of an ELF file, piece by piece and bounded.
//!
//! Offsets of fields: System V ABI, chapter 4, for 64 bits.

use std::borrow::Cow;
use std::io::{self, Read};

use super::bytes::Cursor;
use super::compact::BuildError;
use super::table::Segment;
use crate::process::Executable;

/// Bytes of the ELF header, of a program header, and of a section header.
const HEADER_BYTES: u64 = 64;
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;

/// Most program headers that are looked at; linkers make about a dozen.
const SEGMENTS_MAX: u64 = 256;

/// Most section headers that are looked at; programs have about 40, with a section for each function some thousand.
const SECTIONS_MAX: u64 = 1 << 14;

/// Most bytes read of the section names.
const NAMES_BYTES_MAX: u64 = 1 << 20;

/// Most entries looked at of the dynamic section; programs have about 30.
const DYNAMIC_BYTES_MAX: u64 = 64 << 10;

const X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PF_X: u32 = 1;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 4;
const SHF_COMPRESSED: u64 = 1 << 11;
const COMPRESSED_ZLIB: u32 = 1;
const COMPRESSED_ZSTD: u32 = 2;

/// Where an ELF file is read from.
pub trait Source {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Reads at most `limit` bytes at an offset; fewer at the end.
    ///
    /// # Errors
    ///
    /// When reading fails.
    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>>;
}

impl Source for Executable {
    fn size(&self) -> u64 {
        self.id.size
    }

    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>> {
        Self::read(self, offset, limit).map(Cow::Owned)
    }
}

impl Source for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, limit: u64) -> io::Result<Cow<'_, [u8]>> {
        let size = self.len();
        let start = usize::try_from(offset).unwrap_or(size).min(size);
        let end = start.saturating_add(usize::try_from(limit).unwrap_or(size)).min(size);
        Ok(Cow::Borrowed(&self[start..end]))
    }
}

/// A program header.
#[derive(Debug, Clone, Copy)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    bytes: u64,
}

/// A section header.
#[derive(Debug, Clone, Copy)]
pub(super) struct SectionHeader {
    name: u32,
    kind: u32,
    flags: u64,
    /// Address as the linker gave it.
    pub address: u64,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its size in the file.
    pub bytes: u64,
    link: u32,
}

/// The headers of a file.
#[derive(Debug)]
pub(super) struct Headers {
    segments: Vec<ProgramHeader>,
    sections: Vec<SectionHeader>,
    names: Vec<u8>,
}

impl Headers {
    /// Reads the headers. A file without section headers, or with ones that make no sense, has no sections.
    pub(super) fn read<S: Source + ?Sized>(source: &S) -> Result<Self, BuildError> {
        let head = source.read(0, HEADER_BYTES)?;
        let mut at = Cursor::new(&head);
        let (segments, sections) = parse_header(&mut at).ok_or(BuildError::NotElf)?;
        let (offset, count) = segments;
        if count > SEGMENTS_MAX {
            return Err(BuildError::TooLarge);
        }
        let bytes = source.read(offset, count * SEGMENT_BYTES as u64)?;
        let segments =
            bytes.as_chunks::<SEGMENT_BYTES>().0.iter().filter_map(|raw| parse_segment(raw));
        let segments = segments.collect();
        let (sections, names) = read_sections(source, sections)?.unwrap_or_default();
        Ok(Self { segments, sections, names })
    }

    /// The segments that hold code.
    pub(super) fn code(&self) -> Vec<Segment> {
        let code = |header: &&ProgramHeader| {
            header.kind == PT_LOAD && header.flags & PF_X != 0 && header.bytes > 0
        };
        let segments = self.segments.iter().filter(code);
        segments
            .map(|header| Segment {
                file_offset: header.offset,
                address: header.address,
                bytes: header.bytes,
            })
            .collect()
    }

    /// Finds a section by its name; one that takes no room in the file is as good as none.
    pub(super) fn section(&self, name: &[u8]) -> Option<SectionHeader> {
        let named = |section: &&SectionHeader| {
            section.kind != SHT_NOBITS
                && self.names.get(section.name as usize..).is_some_and(|rest| {
                    rest.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0))
                })
        };
        self.sections.iter().find(named).copied()
    }

    /// Address and offset in the file of the index of `.eh_frame`.
    pub(super) fn eh_frame_header(&self) -> Option<(u64, u64)> {
        let header = self.segments.iter().find(|header| header.kind == PT_GNU_EH_FRAME)?;
        Some((header.address, header.offset))
    }

    /// Offset in the file of an address, and how many bytes of its segment follow.
    pub(super) fn offset_of(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().filter(|header| header.kind == PT_LOAD).find_map(|header| {
            let within = address.checked_sub(header.address).filter(|at| *at < header.bytes)?;
            Some((header.offset.checked_add(within)?, header.bytes - within))
        })
    }

    /// Whether the file uses other libraries, and so the signal trampoline of the C library.
    pub(super) fn needs_libraries<S: Source + ?Sized>(&self, source: &S) -> io::Result<bool> {
        let dynamic = self.segments.iter().find(|header| header.kind == PT_DYNAMIC);
        let Some(dynamic) = dynamic else { return Ok(false) };
        let bytes = source.read(dynamic.offset, dynamic.bytes.min(DYNAMIC_BYTES_MAX))?;
        let tags = bytes.as_chunks::<16>().0.iter().filter_map(|entry| Cursor::new(entry).u64());
        Ok(tags.take_while(|tag| *tag != DT_NULL).any(|tag| tag == DT_NEEDED))
    }
}

impl SectionHeader {
    /// Whether it holds code.
    pub(super) fn is_code(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }

    /// Reads the section, unpacked; `None` when it or what it unpacks to is larger than `bytes_max`, or damaged.
    pub(super) fn read<'s, S: Source + ?Sized>(
        &self,
        source: &'s S,
        bytes_max: u64,
    ) -> io::Result<Option<Cow<'s, [u8]>>> {
        if self.bytes > bytes_max {
            return Ok(None);
        }
        let bytes = source.read(self.offset, self.bytes)?;
        if self.flags & SHF_COMPRESSED == 0 {
            return Ok(Some(bytes));
        }
        Ok(unpack(&bytes, bytes_max).map(Cow::Owned))
    }
}

/// Unpacks a section behind its compression header.
fn unpack(bytes: &[u8], bytes_max: u64) -> Option<Vec<u8>> {
    let mut at = Cursor::new(bytes);
    let (kind, _reserved, size, _align) = (at.u32()?, at.u32()?, at.u64()?, at.u64()?);
    if size > bytes_max {
        return None;
    }
    // What the header says is a limit, and not believed before the bytes are there.
    let mut unpacked = Vec::new();
    let read = match kind {
        COMPRESSED_ZLIB => {
            flate2::read::ZlibDecoder::new(at.rest()).take(size).read_to_end(&mut unpacked)
        }
        COMPRESSED_ZSTD => {
            let decoder = zstd::stream::read::Decoder::with_buffer(at.rest()).ok()?;
            decoder.take(size).read_to_end(&mut unpacked)
        }
        _ => return None,
    };
    (read.ok()? as u64 == size).then_some(unpacked)
}

/// Where headers stand, and how many.
type HeaderRange = (u64, u64);

/// Where the section headers stand, how many, and which one has their names.
type SectionRange = (u64, u64, u32);

/// Parses the ELF header.
fn parse_header(at: &mut Cursor<'_>) -> Option<(HeaderRange, SectionRange)> {
    // 64 bits, little-endian.
    if at.take(6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    at.take(12)?;
    let machine = at.u16()?;
    at.take(12)?;
    let (segments, sections) = (at.u64()?, at.u64()?);
    at.take(6)?;
    let (segment_bytes, segment_count) = (at.u16()?, at.u16()?);
    let (section_bytes, section_count, names) = (at.u16()?, at.u16()?, at.u16()?);
    let fits = machine == X86_64 && usize::from(segment_bytes) == SEGMENT_BYTES;
    let sections = if usize::from(section_bytes) == SECTION_BYTES { sections } else { 0 };
    let sections = (sections, u64::from(section_count), u32::from(names));
    fits.then_some(((segments, u64::from(segment_count)), sections))
}

fn parse_segment(raw: &[u8]) -> Option<ProgramHeader> {
    let mut at = Cursor::new(raw);
    let (kind, flags) = (at.u32()?, at.u32()?);
    let (offset, address, _physical, bytes) = (at.u64()?, at.u64()?, at.u64()?, at.u64()?);
    Some(ProgramHeader { kind, flags, offset, address, bytes })
}

fn parse_section(raw: &[u8]) -> Option<SectionHeader> {
    let mut at = Cursor::new(raw);
    let (name, kind) = (at.u32()?, at.u32()?);
    let (flags, address, offset, bytes) = (at.u64()?, at.u64()?, at.u64()?, at.u64()?);
    Some(SectionHeader { name, kind, flags, address, offset, bytes, link: at.u32()? })
}

/// Reads the section headers and their names.
fn read_sections<S: Source + ?Sized>(
    source: &S,
    (offset, mut count, mut names): SectionRange,
) -> io::Result<Option<(Vec<SectionHeader>, Vec<u8>)>> {
    if offset == 0 {
        return Ok(None);
    }
    let first = source.read(offset, SECTION_BYTES as u64)?;
    let Some(first) = parse_section(&first) else { return Ok(None) };
    // Numbers that do not fit the ELF header stand in the first section header.
    if count == 0 {
        count = first.bytes;
    }
    if names == u32::from(u16::MAX) {
        names = first.link;
    }
    let bytes = source.read(offset, count.min(SECTIONS_MAX) * SECTION_BYTES as u64)?;
    let sections = bytes.as_chunks::<SECTION_BYTES>().0.iter();
    let sections: Vec<_> = sections.filter_map(|raw| parse_section(raw)).collect();
    let Some(names) = sections.get(names as usize) else { return Ok(None) };
    let names = names.read(source, NAMES_BYTES_MAX)?;
    Ok(names.map(|names| (sections, names.into_owned())))
}
