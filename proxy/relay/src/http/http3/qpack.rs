//! Header fields of HTTP/3 (QPACK, RFC 9204) without a dynamic table: both sides are told that there is none, so nothing
//! of one request is kept for another.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, StatusCode};

use super::huffman;
use super::tables::FIELDS;

/// What a field costs beside its name and value (RFC 9114, section 4.2.2).
const OVERHEAD: usize = 32;

/// A field as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Cow<'static, [u8]>,
    pub(super) value: Cow<'static, [u8]>,
}

impl Field {
    pub(super) fn is_pseudo(&self) -> bool {
        self.name.first() == Some(&b':')
    }
}

/// Why fields cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldsError {
    /// No field section, or one that refers to a table that is not there.
    Broken,
    /// More than allowed.
    TooLarge,
}

/// Numbers of the fields that have a name.
static BY_NAME: LazyLock<HashMap<&'static str, Vec<u8>>> = LazyLock::new(|| {
    let mut names: HashMap<&str, Vec<u8>> = HashMap::new();
    for ((name, _), number) in FIELDS.iter().zip(0..) {
        names.entry(name).or_default().push(number);
    }
    names
});

/// Reads a field section of at most `limit` bytes, as HTTP/3 counts them.
pub(super) fn decode(block: &[u8], limit: usize) -> Result<Vec<Field>, FieldsError> {
    let mut from = Reader { rest: block, limit };
    let required = from.number(8)?.1;
    from.number(7)?;
    if required != 0 {
        return Err(FieldsError::Broken);
    }
    let mut fields = Vec::new();
    let mut size = 0_usize;
    while let Some(first) = from.rest.first().copied() {
        let field = from.field(first)?;
        size = size.saturating_add(field.name.len() + field.value.len() + OVERHEAD);
        if size > limit {
            return Err(FieldsError::TooLarge);
        }
        fields.push(field);
    }
    Ok(fields)
}

struct Reader<'b> {
    rest: &'b [u8],
    limit: usize,
}

impl Reader<'_> {
    fn field(&mut self, first: u8) -> Result<Field, FieldsError> {
        match first {
            // A field of the static table.
            0xc0.. => {
                let (name, value) = fixed(self.number(6)?.1)?;
                Ok(Field {
                    name: Cow::Borrowed(name.as_bytes()),
                    value: Cow::Borrowed(value.as_bytes()),
                })
            }
            // A name of the static table.
            0x50..=0x5f | 0x70..=0x7f => {
                let (name, _) = fixed(self.number(4)?.1)?;
                Ok(Field {
                    name: Cow::Borrowed(name.as_bytes()),
                    value: Cow::Owned(self.text(7)?),
                })
            }
            0x20..=0x3f => Ok(Field {
                name: Cow::Owned(self.text(3)?),
                value: Cow::Owned(self.text(7)?),
            }),
            _ => Err(FieldsError::Broken),
        }
    }

    /// A number of `bits` and more, with what stands before it in its byte.
    fn number(&mut self, bits: u32) -> Result<(u8, usize), FieldsError> {
        let (first, mut rest) = self.rest.split_first().ok_or(FieldsError::Broken)?;
        let mask = u8::try_from((1_u32 << bits) - 1).unwrap_or(u8::MAX);
        let mut number = usize::from(first & mask);
        if first & mask == mask {
            // More than any limit is of no use.
            let mut shift = 0;
            loop {
                let (byte, more) = rest.split_first().ok_or(FieldsError::Broken)?;
                rest = more;
                number = number.saturating_add(usize::from(byte & 0x7f) << shift);
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 28 {
                    return Err(FieldsError::Broken);
                }
            }
        }
        self.rest = rest;
        Ok((first & !mask, number))
    }

    /// A text whose length has `bits`; the bit before says whether it is in Huffman codes.
    fn text(&mut self, bits: u32) -> Result<Vec<u8>, FieldsError> {
        let (before, length) = self.number(bits)?;
        if length > self.limit {
            return Err(FieldsError::TooLarge);
        }
        let (text, rest) = (self.rest.split_at_checked(length)).ok_or(FieldsError::Broken)?;
        self.rest = rest;
        if u32::from(before) & 1 << bits == 0 {
            return Ok(text.to_vec());
        }
        huffman::decode(text, usize::MAX).ok_or(FieldsError::Broken)
    }
}

fn fixed(number: usize) -> Result<(&'static str, &'static str), FieldsError> {
    FIELDS.get(number).copied().ok_or(FieldsError::Broken)
}

/// Writes the fields of an answer's head, or of trailers when there is no status.
pub(super) fn encode(status: Option<StatusCode>, headers: &HeaderMap, to: &mut BytesMut) {
    to.put_slice(&[0, 0]);
    if let Some(status) = status {
        put(":status", status.as_str().as_bytes(), to);
    }
    for (name, value) in headers {
        put(name.as_str(), value.as_bytes(), to);
    }
}

fn put(name: &str, value: &[u8], to: &mut BytesMut) {
    let known = BY_NAME.get(name).map(Vec::as_slice).unwrap_or_default();
    let whole = known.iter().find(|number| {
        let field = FIELDS.get(usize::from(**number));
        field.is_some_and(|(_, own)| own.as_bytes() == value)
    });
    if let Some(number) = whole {
        return put_number(0xc0, 6, usize::from(*number), to);
    }
    match known.first() {
        Some(number) => put_number(0x50, 4, usize::from(*number), to),
        None => {
            put_number(0x20, 3, name.len(), to);
            to.put_slice(name.as_bytes());
        }
    }
    put_number(0, 7, value.len(), to);
    to.put_slice(value);
}

fn put_number(first: u8, bits: u32, number: usize, to: &mut BytesMut) {
    let most = (1_usize << bits) - 1;
    if number < most {
        return to.put_u8(first | u8::try_from(number).unwrap_or_default());
    }
    to.put_u8(first | u8::try_from(most).unwrap_or_default());
    let mut rest = number - most;
    while rest >= 0x80 {
        to.put_u8(0x80 | u8::try_from(rest & 0x7f).unwrap_or_default());
        rest >>= 7;
    }
    to.put_u8(u8::try_from(rest).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn texts(fields: &[Field]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pair = |field: &Field| (text(&field.name), text(&field.value));
        fields.iter().map(pair).collect()
    }

    #[test]
    fn the_example_of_the_standard_decodes() {
        let block = b"\0\0\x51\x0b/index.html";
        let fields = decode(block, 1000).unwrap();
        assert_eq!(
            texts(&fields),
            [(":path".to_owned(), "/index.html".to_owned())]
        );
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        headers.insert("server", HeaderValue::from_static("envoy"));
        headers.insert("x-long", HeaderValue::try_from("v".repeat(5000)).unwrap());
        let mut block = BytesMut::new();
        encode(Some(StatusCode::NOT_FOUND), &headers, &mut block);
        let fields = texts(&decode(&block, 10_000).unwrap());
        assert_eq!(fields[0], (":status".to_owned(), "404".to_owned()));
        assert_eq!(
            fields[1],
            ("content-type".to_owned(), "text/plain".to_owned())
        );
        assert_eq!(fields[2], ("server".to_owned(), "envoy".to_owned()));
        assert_eq!(fields[3].1.len(), 5000);
        assert_eq!(decode(&block, 5000), Err(FieldsError::TooLarge));
    }

    #[test]
    fn what_needs_a_dynamic_table_is_broken() {
        for (block, why) in [
            (&b""[..], "no prefix"),
            (b"\x02\0\x80", "an insertion that is required"),
            (b"\0\0\x80", "a field of the dynamic table"),
            (b"\0\0\x10", "a field behind the base"),
            (b"\0\0\x40\x01a", "a name of the dynamic table"),
            (b"\0\0\xff\x24", "number 99 of the static table"),
            (b"\0\0\x51\x0b/index", "cut off"),
            (b"\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a long number"),
        ] {
            assert_eq!(decode(block, 1000), Err(FieldsError::Broken), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(block in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&block, 1000);
        }
    }
}
