//! Reads numbers from bytes that may lie: everything that is missing is `None`.

/// Most bytes of a number in LEB128 that has 64 bits.
const LEB128_BYTES_MAX: u32 = 10;

/// Takes numbers from the front of a slice. All are little-endian.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'b> {
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    #[inline]
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not taken yet.
    #[inline]
    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, count: u64) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(count).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes an unsigned number in LEB128; bits above the lowest 64 are lost.
    #[inline]
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            Some(u64::from(first))
        } else {
            self.leb128(first).map(|(value, _)| value)
        }
    }

    /// Takes a signed number in LEB128; bits above the lowest 64 are lost.
    #[inline]
    pub(super) fn signed(&mut self) -> Option<i64> {
        let first = self.u8()?;
        let (value, bits) = if first < 0x80 { (u64::from(first), 7) } else { self.leb128(first)? };
        let unused = 64_u32.saturating_sub(bits);
        Some((value << unused).cast_signed() >> unused)
    }

    /// Takes the rest of a number whose first byte says that there is more, and how many bits it has.
    fn leb128(&mut self, first: u8) -> Option<(u64, u32)> {
        let mut value = u64::from(first & 0x7f);
        for index in 1..LEB128_BYTES_MAX {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Some((value, 7 * (index + 1)));
            }
        }
        None
    }

    /// Takes text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Option<&'b [u8]> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leb128(mut value: i128, signed: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            let done = match signed {
                true => value == 0 && byte & 0x40 == 0 || value == -1 && byte & 0x40 != 0,
                false => value == 0,
            };
            bytes.push(if done { byte } else { byte | 0x80 });
            if done {
                return bytes;
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_none() {
        assert_eq!(Cursor::new(&[0x80, 0x80]).unsigned(), None);
        assert_eq!(Cursor::new(&[0xff; 11]).signed(), None);
        assert_eq!(Cursor::new(&[1, 2, 3]).u32(), None);
        assert_eq!(Cursor::new(b"zR").text(), None);
        assert_eq!(Cursor::new(&[1]).take(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn numbers_survive_leb128(unsigned: u64, signed: i64) {
            let (first, second) = (leb128(unsigned.into(), false), leb128(signed.into(), true));
            prop_assert_eq!(Cursor::new(&first).unsigned(), Some(unsigned));
            prop_assert_eq!(Cursor::new(&second).signed(), Some(signed));
        }
    }
}
