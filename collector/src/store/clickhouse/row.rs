//! Rows in ClickHouse's format `RowBinary`, both ways.

use crate::store::StoreError;

const DAMAGED: StoreError = StoreError::Damaged("an answer of ClickHouse cannot be decoded");

/// Rows to be inserted.
#[derive(Debug, Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
}

impl Rows {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// A key as a `FixedString(16)`, which sorts as the number does.
    pub(super) fn key(&mut self, key: u128) -> &mut Self {
        self.bytes.extend(key.to_be_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len());
        self.bytes.extend(bytes);
        self
    }

    /// An array, each item written by `write`.
    pub(super) fn array<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
        self
    }

    fn length(&mut self, length: usize) {
        prost::encoding::encode_varint(length as u64, &mut self.bytes);
    }
}

/// Values of an answer, row after row.
#[derive(Debug)]
pub(super) struct Values<'a> {
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether there is no further row.
    pub(super) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(DAMAGED)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.take(N)?.try_into().map_err(|_length| DAMAGED)
    }

    pub(super) fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(u8::from_le_bytes(self.fixed()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, StoreError> {
        Ok(u16::from_le_bytes(self.fixed()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    pub(super) fn key(&mut self) -> Result<u128, StoreError> {
        Ok(u128::from_be_bytes(self.fixed()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_not_text| DAMAGED)
    }

    /// An array, each item read by `read`.
    pub(super) fn array<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let length = self.length()?;
        // Every item takes a byte or more, so a length that lies is found before its memory is taken.
        if length > self.bytes.len() {
            return Err(DAMAGED);
        }
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn length(&mut self) -> Result<usize, StoreError> {
        let length = prost::encoding::decode_varint(&mut self.bytes).map_err(|_bytes| DAMAGED)?;
        usize::try_from(length).map_err(|_too_large| DAMAGED)
    }
}

/// A text as a literal of SQL.
pub(super) fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => literal.extend(['\\', c]),
            '\0' => literal.push_str("\\0"),
            '\n' => literal.push_str("\\n"),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// A key as SQL: what [`Rows::key`] writes.
pub(super) fn key_literal(key: u128) -> String {
    format!("unhex('{key:032x}')")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_ends_where_it_should_whatever_is_in_it() {
        assert_eq!(literal(r"a'b\c"), r"'a\'b\\c'");
        assert_eq!(literal("x\0\n"), r"'x\0\n'");
        assert_eq!(key_literal(255), "unhex('000000000000000000000000000000ff')");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (text, number, key) in (".*", any::<u64>(), any::<u128>()),
            list in proptest::collection::vec(any::<u32>(), 0..200),
        ) {
            let mut rows = Rows::default();
            rows.text(&text).u64(number).key(key).u8(1).u16(2).u32(3);
            rows.array(list.iter(), |rows, item| {
                rows.u32(*item);
            });
            let bytes = rows.into_bytes();
            let mut values = Values::new(&bytes);
            prop_assert_eq!(values.text().unwrap(), text);
            prop_assert_eq!((values.u64().unwrap(), values.key().unwrap()), (number, key));
            prop_assert_eq!((values.u8().unwrap(), values.u16().unwrap()), (1, 2));
            prop_assert_eq!(values.u32().unwrap(), 3);
            prop_assert_eq!(values.array(Values::u32).unwrap(), list);
            prop_assert!(values.is_at_end());
        }

        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut values = Values::new(&bytes);
            let _ = values.array(|values| values.array(Values::text));
            let _ = values.key();
        }
    }
}
