//! Makes the table of an executable: sorts what describes its code, and streams the rules into pages.

use std::borrow::Cow;
use std::io;

use profiler_common::abi::row::{PAGE_BYTES, PAGE_SHIFT, PAGES_MAX, Rule};

use super::bytes::Cursor;
use super::cfi::Remembered;
use super::eh_frame::{Format, Section};
use super::elf::{Headers, Source};
use super::entry;
use super::go;
use super::plt::{self, Stretch};
use super::pointer::{self, Encoding};
use super::table::{Segment, Table};
use super::writer::{Full, Writer};

/// Most bytes of `.eh_frame` or `.debug_frame`; the largest browsers have about 20 MB.
const FRAMES_BYTES_MAX: u64 = 64 << 20;

/// Most functions: 32 MB while the table is made. The largest browsers have about a million.
const FUNCTIONS_MAX: usize = 1 << 21;

/// Bytes of `.eh_frame_hdr` that tell where `.eh_frame` is.
const INDEX_HEAD_BYTES: u64 = 12;

/// What Go's linker calls the section that describes functions, and that of position-independent programs.
const GO_SECTIONS: [&[u8]; 2] = [b".gopclntab", b".data.rel.ro.gopclntab"];

/// Where the section that tells about the whole program has the start of its code.
const GO_MODULE_TEXT: u64 = 176;

/// Why an executable has no table.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It could not be read.
    #[error("failed to read the executable")]
    Read(#[from] io::Error),
    /// It is no 64-bit ELF file for x86-64, or its headers make no sense.
    #[error("not an ELF file for x86-64")]
    NotElf,
    /// It is larger than what is looked at.
    #[error("the executable or one of its tables is too large")]
    TooLarge,
}

impl From<Full> for BuildError {
    fn from(Full: Full) -> Self {
        Self::TooLarge
    }
}

/// Makes the table of an executable. One that says nothing about its frames gives a table without rows.
///
/// # Errors
///
/// When it cannot be read, is no ELF file for x86-64, or is beyond the limits.
pub fn build<S: Source + ?Sized>(source: &S) -> Result<Table, BuildError> {
    let headers = Headers::read(source)?;
    let segments = headers.code();
    let Some(code) = Code::of(&segments)? else { return Ok(Table::default()) };
    let (format, eh_address, eh_bytes) = eh_frame(source, &headers)?;
    let debug_bytes = debug_frame(source, &headers)?;
    let go_bytes = go_table(source, &headers)?;
    let go_text = if go_bytes.is_empty() { None } else { go_text(source, &headers)? };
    let go_functions = go::Functions::parse(&go_bytes, go_text);
    let mut eh_frame = Section::new(format, eh_address, &eh_bytes);
    let mut debug_frame = Section::new(Format::DebugFrame, 0, &debug_bytes);

    let mut spans = Vec::new();
    code.collect(&mut eh_frame, Origin::EhFrame, &mut spans)?;
    sort(&mut spans);
    if let Some(functions) = &go_functions {
        let more = (0..)
            .zip(functions.ranges())
            .filter_map(|(index, (start, end))| code.span(start, end, Origin::Go, index));
        add(more.take(FUNCTIONS_MAX).collect(), &mut spans)?;
    }
    let mut more = Vec::new();
    code.collect(&mut debug_frame, Origin::DebugFrame, &mut more)?;
    add(more, &mut spans)?;
    let is_go = !go_bytes.is_empty();
    let stretches = stretches(source, &headers, (&segments, is_go), &code, &mut spans)?;

    let mut rows = Writer::new(code.page_count);
    let mut remembered = Remembered::new();
    for (index, span) in spans.iter().enumerate() {
        let next = spans.get(index + 1).map_or(u64::MAX, |next| u64::from(next.start));
        let end = u64::from(span.end).min(next);
        let mut emit = |address: u64, rule| {
            let offset = address.wrapping_sub(code.base);
            offset < end && rows.push(offset, rule)
        };
        match span.origin {
            Origin::EhFrame => eh_frame.run(span.position, &mut remembered, &mut emit),
            Origin::DebugFrame => debug_frame.run(span.position, &mut remembered, &mut emit),
            Origin::Go => go_functions.iter().for_each(|all| all.run(span.position, &mut emit)),
            Origin::Stretch => {
                let rule = stretches.get(span.position as usize).map(|stretch| stretch.rule);
                emit(code.base + u64::from(span.start), rule.unwrap_or(Rule::NONE));
            }
        }
        if end < next {
            rows.push(end, Rule::NONE);
        }
    }
    let (pages, rows, rules) = rows.finish()?;
    Ok(Table { segments, base: code.base, pages, rows, rules })
}

/// Where the code of a file is.
#[derive(Debug, Clone, Copy)]
struct Code {
    /// Address of the first page.
    base: u64,
    /// Address after the last byte of code.
    end: u64,
    page_count: u32,
}

/// What describes a stretch of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Origin {
    EhFrame,
    Go,
    DebugFrame,
    Stretch,
}

/// A stretch of code, and where its rules come from. Compares by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    /// Offset of its start from the first page.
    start: u32,
    origin: Origin,
    /// Position of its entry in its section, or index of its function or stretch.
    position: u32,
    /// Offset of its end.
    end: u32,
}

impl Code {
    /// From the first to the last segment of code; `None` without any.
    fn of(segments: &[Segment]) -> Result<Option<Self>, BuildError> {
        let Some(start) = segments.iter().map(|segment| segment.address).min() else {
            return Ok(None);
        };
        let ends = segments.iter().map(|segment| segment.address.checked_add(segment.bytes));
        let end = ends.max().flatten().ok_or(BuildError::NotElf)?;
        let base = start & !(PAGE_BYTES - 1);
        let page_count = (end - base).div_ceil(PAGE_BYTES);
        if page_count > PAGES_MAX as u64 {
            return Err(BuildError::TooLarge);
        }
        Ok(Some(Self { base, end, page_count: page_count as u32 }))
    }

    /// Adds all functions of a section.
    fn collect(
        &self,
        section: &mut Section<'_>,
        origin: Origin,
        spans: &mut Vec<Span>,
    ) -> Result<(), BuildError> {
        let mut fits = true;
        section.functions(|position, function| {
            spans.extend(self.span(function.start, function.end, origin, position));
            fits = spans.len() <= FUNCTIONS_MAX;
            fits
        });
        if fits { Ok(()) } else { Err(BuildError::TooLarge) }
    }

    /// The part of a stretch that is code. What linkers discarded stands at address 0, before the headers of a file, and
    /// is no code.
    fn span(&self, start: u64, end: u64, origin: Origin, position: u32) -> Option<Span> {
        let end = end.min(self.end).checked_sub(self.base)?;
        let offset = start.checked_sub(self.base)?;
        // The number of pages fits, so the last offset is below 2^32; the one after it may not be.
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        let offset = u32::try_from(offset).ok()?;
        (start != 0 && offset < end).then_some(Span { start: offset, origin, position, end })
    }
}

impl Section<'_> {
    /// Runs the function at a position.
    #[inline]
    fn run(
        &mut self,
        position: u32,
        remembered: &mut Remembered,
        emit: &mut impl FnMut(u64, Rule) -> bool,
    ) {
        let Some(function) = self.function(position) else { return };
        let Some(program) = self.program(function.program) else { return };
        let place = (function.position, function.start);
        program.run(function.instructions, place, remembered, emit);
    }
}

/// Sorts by start; of those with the same start the first one stays.
fn sort(spans: &mut Vec<Span>) {
    spans.sort_unstable();
    spans.dedup_by_key(|span| span.start);
}

/// Whether the sorted spans cover any of the bytes.
fn covers(spans: &[Span], start: u32, end: u32) -> bool {
    let before = spans.partition_point(|span| span.start < end);
    before.checked_sub(1).is_some_and(|last| spans[last].end > start)
}

/// Adds what is not described yet.
fn add(mut more: Vec<Span>, spans: &mut Vec<Span>) -> Result<(), BuildError> {
    more.retain(|span| !covers(spans, span.start, span.end));
    if spans.len() + more.len() > FUNCTIONS_MAX {
        return Err(BuildError::TooLarge);
    }
    spans.extend(more);
    sort(spans);
    Ok(())
}

/// Adds the code whose rules are known without description. Returns its rules.
fn stretches<S: Source + ?Sized>(
    source: &S,
    headers: &Headers,
    (segments, is_go): (&[Segment], bool),
    code: &Code,
    spans: &mut Vec<Span>,
) -> Result<Vec<Stretch>, BuildError> {
    let mut stretches = plt::linkage_tables(source, headers)?;
    stretches.extend(entry::main(source, headers)?);
    let tables = stretches.len();
    if is_go || !headers.needs_libraries(source)? {
        stretches.extend(plt::trampolines(source, segments)?);
    }
    let mut more = Vec::new();
    for (index, stretch) in stretches.iter().enumerate() {
        let Stretch { start, end, .. } = *stretch;
        let Some(span) = code.span(start, end, Origin::Stretch, index as u32) else { continue };
        let is_trampoline = index >= tables;
        if is_trampoline && is_go {
            // Go describes its trampoline like any function, which is wrong.
            spans.retain(|other| other.start < span.start || other.start >= span.end);
        } else if covers(spans, span.start + u32::from(is_trampoline), span.end) {
            continue;
        }
        more.push(span);
    }
    if !more.is_empty() {
        spans.extend(more);
        sort(spans);
    }
    Ok(stretches)
}

/// Reads `.eh_frame`, by its section or else by its index, which programs without section headers keep. Empty when there
/// is none.
fn eh_frame<'s, S: Source + ?Sized>(
    source: &'s S,
    headers: &Headers,
) -> Result<(Format, u64, Cow<'s, [u8]>), BuildError> {
    if let Some(section) = headers.section(b".eh_frame") {
        let bytes = section.read(source, FRAMES_BYTES_MAX)?.ok_or(BuildError::TooLarge)?;
        return Ok((Format::EhFrame, section.address, bytes));
    }
    let none = (Format::EhFrame, 0, Cow::Borrowed(&[][..]));
    let Some((index, offset)) = headers.eh_frame_header() else { return Ok(none) };
    let head = source.read(offset, INDEX_HEAD_BYTES)?;
    let Some(address) = eh_frame_address(&head, index) else { return Ok(none) };
    let Some((offset, bytes)) = headers.offset_of(address) else { return Ok(none) };
    let bytes = source.read(offset, bytes.min(FRAMES_BYTES_MAX))?;
    Ok((Format::EhFrameUntilZero, address, bytes))
}

/// The address of `.eh_frame` by the head of its index, which stands at the address `index`.
fn eh_frame_address(head: &[u8], index: u64) -> Option<u64> {
    let mut at = Cursor::new(head);
    if at.u8()? != 1 {
        return None;
    }
    let encoding = Encoding(at.u8()?);
    at.take(2)?;
    pointer::read_in_header(&mut at, encoding, (index.wrapping_add(4), index))
}

/// Reads `.debug_frame`. Empty when there is none, or when it is damaged: it only adds to `.eh_frame`.
fn debug_frame<'s, S: Source + ?Sized>(
    source: &'s S,
    headers: &Headers,
) -> Result<Cow<'s, [u8]>, BuildError> {
    let Some(section) = headers.section(b".debug_frame") else { return Ok(Cow::default()) };
    Ok(section.read(source, FRAMES_BYTES_MAX)?.unwrap_or_default())
}

/// Reads Go's description of functions. Empty when there is none, or when it is too large.
fn go_table<'s, S: Source + ?Sized>(
    source: &'s S,
    headers: &Headers,
) -> Result<Cow<'s, [u8]>, BuildError> {
    let section = GO_SECTIONS.iter().find_map(|name| headers.section(name));
    let Some(section) = section else { return Ok(Cow::default()) };
    Ok(section.read(source, FRAMES_BYTES_MAX)?.unwrap_or_default())
}

/// Where the code of Go starts, for tables that do not say so: what the module says, or else the start of all code, if no
/// C code can stand before it.
fn go_text<S: Source + ?Sized>(source: &S, headers: &Headers) -> Result<Option<u64>, BuildError> {
    if let Some(module) = headers.section(b".go.module") {
        let text = source.read(module.offset.saturating_add(GO_MODULE_TEXT), 8)?;
        let text = Cursor::new(&text).u64().filter(|text| *text != 0);
        if text.is_some() {
            return Ok(text);
        }
    }
    if headers.needs_libraries(source)? {
        return Ok(None);
    }
    Ok(headers.section(b".text").map(|section| section.address))
}

const _: () = assert!(PAGES_MAX as u64 <= 1 << (u32::BITS - PAGE_SHIFT));
