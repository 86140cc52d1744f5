//! Numbers and names as bytes, read back with bounds.

/// Appends to bytes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

/// Takes from bytes; `None` where they end or say what cannot be.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    pub(super) bytes: &'b [u8],
}

impl Writer {
    /// Seven bits to a byte, lowest first (LEB128).
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Small numbers of either sign in few bytes (zigzag).
    pub(super) fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

impl Reader<'_> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of things of which there are at most so many.
    pub(super) fn length(&mut self, most: usize) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|length| *length <= most)
    }

    pub(super) fn text(&mut self, bytes_max: usize) -> Option<String> {
        let length = self.length(bytes_max)?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in any::<u64>(), signed in any::<i64>(), text in ".*") {
            let mut out = Writer::default();
            out.number(number);
            out.signed(signed);
            out.text(&text);
            let mut from = Reader { bytes: &out.bytes };
            prop_assert_eq!(from.number(), Some(number));
            prop_assert_eq!(from.signed(), Some(signed));
            prop_assert_eq!(from.text(1 << 20), Some(text));
            prop_assert!(from.bytes.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused() {
        let mut out = Writer::default();
        out.number(11);
        assert_eq!(Reader { bytes: &out.bytes }.length(10), None);
        assert_eq!(Reader { bytes: &out.bytes }.length(11), Some(11));
    }
}
