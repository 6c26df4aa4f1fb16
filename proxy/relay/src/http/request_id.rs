//! Request ids: random UUIDs of version 4, as text; the version's digit tells whether the request is traced.

use http::{HeaderMap, HeaderValue};

use super::sanitize::REQUEST_ID;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A new id. It names a request and guards nothing: a fast generator will do.
pub(crate) fn new() -> HeaderValue {
    let mut bits = fastrand::u128(..);
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let mut text = [b'-'; 36];
    let mut nibbles = (0..32u32).rev().map(|place| (bits >> (place * 4)) & 0xf);
    for (at, byte) in text.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        let nibble = nibbles.next().and_then(|it| usize::try_from(it).ok());
        *byte = nibble.and_then(|it| HEX.get(it)).copied().unwrap_or(b'0');
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// Why a request is traced, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    NotTraceable,
    Sampling,
    ServiceForced,
    ClientForced,
}

/// Place of the digit that tells.
const DIGIT: usize = 14;

/// The number that an id's first eight digits are.
pub(crate) fn number(id: &HeaderValue) -> Option<u64> {
    let digits = id.as_bytes().get(..8)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What an id says.
pub(crate) fn reason(id: &HeaderValue) -> Reason {
    match id.as_bytes().get(DIGIT) {
        Some(b'9') if id.len() == 36 => Reason::Sampling,
        Some(b'a') if id.len() == 36 => Reason::ServiceForced,
        Some(b'b') if id.len() == 36 => Reason::ClientForced,
        _ => Reason::NotTraceable,
    }
}

/// Writes the reason into the request's id, if it is one that can hold it.
pub(crate) fn mark(headers: &mut HeaderMap, reason: Reason) {
    let Some(id) = headers.get(&REQUEST_ID).filter(|id| id.len() == 36) else {
        return;
    };
    let mut text = id.as_bytes().to_vec();
    if let Some(digit) = text.get_mut(DIGIT) {
        *digit = match reason {
            Reason::NotTraceable => b'4',
            Reason::Sampling => b'9',
            Reason::ServiceForced => b'a',
            Reason::ClientForced => b'b',
        };
    }
    if let Ok(id) = HeaderValue::from_bytes(&text) {
        headers.insert(&REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::Reason;

    #[test]
    fn ids_are_uuids_of_version_4() {
        let id = super::new();
        let id = uuid::Uuid::parse_str(id.to_str().expect("ASCII")).expect("a UUID");
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn an_id_tells_why_a_request_is_traced() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", super::new());
        for reason in [
            Reason::Sampling,
            Reason::ServiceForced,
            Reason::ClientForced,
            Reason::NotTraceable,
        ] {
            super::mark(&mut headers, reason);
            assert_eq!(super::reason(&headers["x-request-id"]), reason);
        }
        let odd = HeaderValue::from_static("0000271a-short");
        assert_eq!(super::number(&odd), Some(10_010));
        assert_eq!(super::reason(&odd), Reason::NotTraceable);
        headers.insert("x-request-id", odd.clone());
        super::mark(&mut headers, Reason::Sampling);
        assert_eq!(headers["x-request-id"], odd);
        assert_eq!(super::number(&HeaderValue::from_static("nothex00")), None);
    }
}
