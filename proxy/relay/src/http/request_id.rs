//! Request ids: random UUIDs of version 4, as text.

use http::HeaderValue;

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

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_uuids_of_version_4() {
        let id = super::new();
        let id = uuid::Uuid::parse_str(id.to_str().expect("ASCII")).expect("a UUID");
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    }
}
