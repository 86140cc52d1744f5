//! Finds the functions that `.eh_frame` or `.debug_frame` describes.
//!
//! Both are lists of entries. A common one (CIE) says what many functions share, one of a function (FDE) where its code is
//! and which instructions to run. Formats: DWARF 5, section 6.4.1; Linux Standard Base, section 10.6.

use std::collections::HashMap;

use super::bytes::Cursor;
use super::cfi::Program;
use super::pointer::{self, Encoding};

/// Most different common entries of a section; each object file that was linked may bring one.
const PROGRAMS_MAX: usize = 1 << 16;

/// Length that says that the real one has eight bytes.
const LENGTH_IS_LONG: u32 = u32::MAX;

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `.eh_frame` with its length known from the section header.
    EhFrame,
    /// `.eh_frame` that ends with an entry of length zero.
    EhFrameUntilZero,
    /// `.debug_frame`.
    DebugFrame,
}

/// One section.
#[derive(Debug)]
pub(super) struct Section<'b> {
    format: Format,
    address: u64,
    bytes: &'b [u8],
    programs: Vec<Option<Program>>,
    /// Position of each common entry that was read → index in `programs`.
    known: HashMap<u32, u32>,
    /// The one used last, which is nearly always the next one too.
    last: (u32, u32),
}

/// Where a function is, and what to run for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function<'b> {
    /// First address of its code.
    pub start: u64,
    /// Address after its code.
    pub end: u64,
    /// Index for [`Section::program`].
    pub program: u32,
    /// Its instructions.
    pub instructions: &'b [u8],
    /// Address of the instructions.
    pub position: u64,
}

/// An entry without its length.
struct Entry<'b> {
    /// The common entry that it refers to; `None` where it is one.
    common: Option<u32>,
    body: Cursor<'b>,
    /// Address of the body.
    address: u64,
    /// Position of what follows.
    next: u32,
}

impl<'b> Section<'b> {
    /// Takes the bytes of a section at an address; those past 4 GiB are not looked at.
    pub(super) fn new(format: Format, address: u64, bytes: &'b [u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(u32::MAX as usize)];
        let last = (u32::MAX, 0);
        Self { format, address, bytes, programs: Vec::new(), known: HashMap::new(), last }
    }

    /// Calls `found` with the position and place of each function, until it returns false. What makes no sense is
    /// skipped.
    pub(super) fn functions(&mut self, mut found: impl FnMut(u32, Function<'b>) -> bool) {
        let mut position = 0;
        while (position as usize) < self.bytes.len() {
            let Some(length) = Cursor::new(&self.bytes[position as usize..]).u32() else { return };
            if length == 0 {
                if self.format == Format::EhFrameUntilZero {
                    return;
                }
                position += size_of::<u32>() as u32;
                continue;
            }
            let Some(entry) = self.entry(position) else { return };
            let next = entry.next;
            if let Some(function) = self.function_of(entry)
                && !found(position, function)
            {
                return;
            }
            position = next;
        }
    }

    /// Reads the function at a position that [`Self::functions`] gave.
    #[inline]
    pub(super) fn function(&mut self, position: u32) -> Option<Function<'b>> {
        let entry = self.entry(position)?;
        self.function_of(entry)
    }

    /// What the instructions of a function are run with.
    #[inline]
    pub(super) fn program(&self, index: u32) -> Option<&Program> {
        self.programs.get(index as usize)?.as_ref()
    }

    #[inline]
    fn entry(&self, position: u32) -> Option<Entry<'b>> {
        let start = position as usize;
        let mut at = Cursor::new(self.bytes.get(start..)?);
        let short = at.u32()?;
        let is_long = short == LENGTH_IS_LONG;
        let length = if is_long { at.u64()? } else { u64::from(short) };
        let id_position = self.bytes.len() - at.rest().len();
        let mut body = Cursor::new(at.take(length)?);
        let next = self.bytes.len() - at.rest().len();
        let common = if self.format == Format::DebugFrame {
            let (id, own) = if is_long {
                (body.u64()?, u64::MAX)
            } else {
                (u64::from(body.u32()?), u64::from(u32::MAX))
            };
            if id == own { None } else { Some(u32::try_from(id).ok()?) }
        } else {
            match body.u32()? {
                0 => None,
                back => Some(u32::try_from(id_position).ok()?.checked_sub(back)?),
            }
        };
        let consumed = next - body.rest().len();
        let address = self.address.wrapping_add(consumed as u64);
        Some(Entry { common, body, address, next: u32::try_from(next).ok()? })
    }

    #[inline]
    fn function_of(&mut self, entry: Entry<'b>) -> Option<Function<'b>> {
        let index = self.program_at(entry.common?)?;
        let program = self.program(index)?;
        let mut at = entry.body;
        let start = pointer::read(&mut at, program.encoding, entry.address)?;
        let length = pointer::value(&mut at, program.encoding)?;
        if program.has_augmentation {
            let bytes = at.unsigned()?;
            at.take(bytes)?;
        }
        let consumed = entry.body.rest().len() - at.rest().len();
        Some(Function {
            start,
            end: start.checked_add(length)?,
            program: index,
            instructions: at.rest(),
            position: entry.address.wrapping_add(consumed as u64),
        })
    }

    /// Index of the program of the common entry at a position.
    #[inline]
    fn program_at(&mut self, position: u32) -> Option<u32> {
        if self.last.0 == position {
            return Some(self.last.1);
        }
        let index = match self.known.get(&position) {
            Some(index) => *index,
            None if self.programs.len() >= PROGRAMS_MAX => return None,
            None => {
                let entry = self.entry(position)?;
                let is_common = entry.common.is_none();
                self.programs.push(if is_common { self.read_program(entry) } else { None });
                let index = u32::try_from(self.programs.len() - 1).ok()?;
                self.known.insert(position, index);
                index
            }
        };
        self.last = (position, index);
        Some(index)
    }

    /// Reads a common entry.
    fn read_program(&self, entry: Entry<'b>) -> Option<Program> {
        let mut at = entry.body;
        let version = at.u8()?;
        let augmentation = at.text()?;
        if version >= 4 {
            let (address_bytes, segment_bytes) = (at.u8()?, at.u8()?);
            if (address_bytes, segment_bytes) != (8, 0) {
                return None;
            }
        }
        if augmentation == b"eh" {
            // Very old compilers put an address here.
            at.u64()?;
        }
        let (code_align, data_align) = (at.unsigned()?, at.signed()?);
        let return_register = if version == 1 { u64::from(at.u8()?) } else { at.unsigned()? };
        let mut encoding = Encoding::ABSOLUTE;
        let has_augmentation = augmentation.first() == Some(&b'z');
        if has_augmentation {
            let bytes = at.unsigned()?;
            encoding = encoding_of(&augmentation[1..], Cursor::new(at.take(bytes)?))?;
        } else if !augmentation.is_empty() && augmentation != b"eh" {
            return None;
        }
        let align = (code_align, data_align);
        let program = Program::new(align, return_register, encoding, at.rest()).ok()?;
        Some(Program { has_augmentation, ..program })
    }
}

/// Reads how addresses are written out of the data of an augmentation, of which `letters` says what is in it.
fn encoding_of(letters: &[u8], mut data: Cursor<'_>) -> Option<Encoding> {
    let mut encoding = Encoding::ABSOLUTE;
    for letter in letters {
        match letter {
            b'R' => encoding = Encoding(data.u8()?),
            b'L' => drop(data.u8()?),
            b'P' => {
                let personality = Encoding(data.u8()?);
                pointer::skip(&mut data, personality)?;
            }
            // The mark of signal frames. Their rules say so too, and those are believed.
            b'S' => {}
            _ => return None,
        }
    }
    Some(encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts the length before an entry.
    fn entry(body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    /// The same with a length of eight bytes.
    fn long_entry(body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        [&[0xff; 4], &(body.len() as u64).to_le_bytes()[..], &body].concat()
    }

    fn functions(format: Format, bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
        let mut found = Vec::new();
        Section::new(format, 0x1000, bytes).functions(|_, function| {
            found.push((function.start, function.end, function.instructions.to_vec()));
            true
        });
        found
    }

    /// Behind its identity: version 1, augmentation, alignments, return address, data, instructions.
    fn common(augmentation: &[u8], data: &[u8]) -> Vec<u8> {
        entry(&[&[0; 4], &[1], augmentation, &[0, 1, 0x78, 16], data, &[0x0c, 7, 8]])
    }

    /// A function of 8 bytes right behind a common entry, relative to where it is written.
    fn near(common: &[u8], augmentation_data: &[u8]) -> Vec<u8> {
        let back = (common.len() as u32 + 4).to_le_bytes();
        entry(&[&back, &0x100_u32.to_le_bytes(), &8_u32.to_le_bytes(), augmentation_data, &[0x41]])
    }

    #[test]
    fn each_augmentation_is_understood_or_its_functions_are_left_out() {
        let read = |augmentation: &[u8], data: &[u8]| {
            let common = common(augmentation, data);
            let function = near(&common, &[0]);
            let at = 0x1000 + common.len() as u64 + 8 + 0x100;
            let found = functions(Format::EhFrame, &[common, function].concat());
            match &found[..] {
                [] => false,
                [one] => {
                    assert_eq!(*one, (at, at + 8, vec![0x41]));
                    true
                }
                _ => panic!("{found:x?}"),
            }
        };
        assert!(read(b"zR", &[1, 0x1b]));
        assert!(read(b"zRS", &[1, 0x1b]));
        assert!(read(b"zPLR", &[7, 0x9b, 1, 2, 3, 4, 0x1b, 0x1b]));
        assert!(read(b"zPR", &[10, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 0x1b]));
        assert!(!read(b"zX", &[1, 0x1b]));
        assert!(!read(b"zR", &[1, 0xff]));
        assert!(!read(b"zR", &[0x7f, 0x1b]));
        assert!(!read(b"R", &[]));
    }

    #[test]
    fn debug_frame_has_other_identities_and_whole_addresses() {
        let start = 0x40_1000_u64.to_le_bytes();
        let length = 0x20_u64.to_le_bytes();
        let own = u32::MAX.to_le_bytes();
        let short = entry(&[&own, &[3], b"\0", &[1, 0x78, 16], &[0x0c, 7, 8]]);
        let function = entry(&[&[0; 4], &start, &length, &[0x42]]);
        // Version 4 says how long addresses are.
        let next = (short.len() + function.len()) as u64;
        let long = long_entry(&[&[0xff; 8], &[4], b"\0", &[8, 0], &[1, 0x78, 16], &[0x0c, 7, 8]]);
        let long_function = long_entry(&[&next.to_le_bytes(), &start, &length, &[0x43]]);
        let bytes = [short, function, long, long_function].concat();
        let found = functions(Format::DebugFrame, &bytes);
        let place = (0x40_1000, 0x40_1020);
        assert_eq!(found, [(place.0, place.1, vec![0x42]), (place.0, place.1, vec![0x43])]);
    }

    #[test]
    fn a_length_of_zero_ends_only_what_has_no_other_end() {
        let common = common(b"zR", &[1, 0x1b]);
        let function = near(&common, &[0]);
        let bytes = [&common[..], &function, &[0; 4], &common, &function].concat();
        assert_eq!(functions(Format::EhFrame, &bytes).len(), 2);
        assert_eq!(functions(Format::EhFrameUntilZero, &bytes).len(), 1);
    }

    #[test]
    fn an_entry_that_refers_to_no_common_entry_is_left_out() {
        let common = common(b"zR", &[1, 0x1b]);
        let function = near(&common, &[0]);
        let to_itself = near(&[], &[0]);
        let before_all = near(&[0; 4000], &[0]);
        let bytes = [&common[..], &to_itself, &before_all].concat();
        assert_eq!(functions(Format::EhFrame, &bytes), []);
        let cut_off = [&common[..], &function[..function.len() - 1]].concat();
        assert_eq!(functions(Format::EhFrame, &cut_off), []);
    }
}
