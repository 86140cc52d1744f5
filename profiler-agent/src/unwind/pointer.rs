//! Addresses as `.eh_frame` writes them; Linux Standard Base, section 10.5.1.

use super::bytes::Cursor;

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding(pub(super) u8);

/// The value that says that there is no address.
const OMITTED: u8 = 0xff;

/// The bit that says that the address stands where the value points.
const INDIRECT: u8 = 0x80;

/// Addresses count from where they are written.
const FROM_HERE: u8 = 0x10;

/// Addresses count from the start of `.eh_frame_hdr`, in that section.
const FROM_DATA: u8 = 0x30;

impl Encoding {
    /// Eight bytes, as they are.
    pub(super) const ABSOLUTE: Self = Self(0);

    /// Where values count from; `None` for what neither compilers nor linkers write.
    fn base(self, here: u64, data: Option<u64>) -> Option<u64> {
        match self.0 & 0xf0 {
            0 => Some(0),
            FROM_HERE => Some(here),
            FROM_DATA => data,
            _ => None,
        }
    }
}

/// Reads an address that is written at the address `here`.
#[inline]
pub(super) fn read(at: &mut Cursor<'_>, encoding: Encoding, here: u64) -> Option<u64> {
    Some(value(at, encoding)?.wrapping_add(encoding.base(here, None)?))
}

/// Reads an address in `.eh_frame_hdr`, which starts at `data`.
pub(super) fn read_in_header(
    at: &mut Cursor<'_>,
    encoding: Encoding,
    (here, data): (u64, u64),
) -> Option<u64> {
    Some(value(at, encoding)?.wrapping_add(encoding.base(here, Some(data))?))
}

/// Reads a number that is written like an address, but counts from nothing: a length.
#[inline]
pub(super) fn value(at: &mut Cursor<'_>, encoding: Encoding) -> Option<u64> {
    match encoding.0 & 0x0f {
        0x00 | 0x04 | 0x0c => at.u64(),
        0x01 => at.unsigned(),
        0x02 => at.u16().map(u64::from),
        0x03 => at.u32().map(u64::from),
        0x09 => at.signed().map(i64::cast_unsigned),
        0x0a => at.u16().map(|value| i64::from(value.cast_signed()).cast_unsigned()),
        0x0b => at.u32().map(|value| i64::from(value.cast_signed()).cast_unsigned()),
        _ => None,
    }
}

/// Passes over an address, whatever it counts from; indirect ones too.
pub(super) fn skip(at: &mut Cursor<'_>, encoding: Encoding) -> Option<()> {
    if encoding.0 != OMITTED {
        value(at, Encoding(encoding.0 & !INDIRECT))?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_from_where_its_encoding_says() {
        let bytes = [0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let read_as = |encoding| read(&mut Cursor::new(&bytes), Encoding(encoding), 0x1000);
        assert_eq!(read_as(0x00), Some(0xffff_fff0));
        assert_eq!(read_as(0x1b), Some(0xff0));
        assert_eq!(read_as(0x0a), Some((-16_i64).cast_unsigned()));
        assert_eq!(read_as(0x3b), None);
        let header = |encoding| {
            read_in_header(&mut Cursor::new(&bytes), Encoding(encoding), (0x1004, 0x1000))
        };
        assert_eq!((header(0x3b), header(0x1b)), (Some(0xff0), Some(0xff4)));
        // Relative to text or function, aligned, indirect, omitted: nobody writes them here.
        for encoding in [0x2b, 0x4b, 0x50, 0x9b, 0xff] {
            assert_eq!(read_as(encoding), None);
        }
    }

    #[test]
    fn a_personality_of_any_encoding_is_passed_over() {
        let left = |encoding| {
            let mut at = Cursor::new(&[1; 9]);
            skip(&mut at, Encoding(encoding)).map(|()| at.rest().len())
        };
        assert_eq!(left(0x9b), Some(5));
        assert_eq!(left(0x00), Some(1));
        assert_eq!(left(0x03), Some(5));
        assert_eq!(left(0xff), Some(9));
        assert_eq!(left(0x0e), None);
    }
}
