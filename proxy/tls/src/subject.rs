//! Distinguished names as text (RFC 2253), the way OpenSSL writes them.

use std::fmt::Write;

use x509_parser::der_parser::asn1_rs::{Any, ToDer};
use x509_parser::x509::X509Name;

/// The name, its last part first.
pub(crate) fn text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for relative in name.iter_rdn() {
        let own: Vec<String> = relative
            .iter()
            .map(|attribute| {
                let oid = attribute.attr_type().to_id_string();
                match abbreviated(&oid) {
                    Some(short) => format!("{short}={}", value(attribute.attr_value())),
                    None => format!("{oid}={}", digits(attribute.attr_value())),
                }
            })
            .collect();
        parts.push(own.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// Short names of the attributes that are in use.
fn abbreviated(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.45" => "x500UniqueIdentifier",
        "2.5.4.46" => "dnQualifier",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "1.2.840.113549.1.9.2" => "unstructuredName",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

/// A string with its escapes; what is no string as digits.
fn value(any: &Any<'_>) -> String {
    let wide = |width: usize| -> Option<String> {
        let units = any.data.chunks(width);
        units
            .map(|unit| {
                char::from_u32(unit.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            })
            .collect()
    };
    let found = match any.header.tag().0 {
        12 => std::str::from_utf8(any.data).ok().map(str::to_owned),
        18 | 19 | 20 | 22 | 26 => Some(any.data.iter().copied().map(char::from).collect()),
        28 => wide(4),
        30 => wide(2),
        _ => None,
    };
    found.map_or_else(|| digits(any), |text| escaped(&text))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, sign) in text.chars().enumerate() {
        let edge = (sign == ' ' && (at == 0 || at == last)) || (sign == '#' && at == 0);
        match sign {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                out.push('\\');
                out.push(sign);
            }
            ' ' | '#' if edge => {
                out.push('\\');
                out.push(sign);
            }
            ' '..='~' => out.push(sign),
            _ => {
                let mut buffer = [0; 4];
                for byte in sign.encode_utf8(&mut buffer).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
        }
    }
    out
}

fn digits(any: &Any<'_>) -> String {
    let mut out = String::from("#");
    for byte in any.to_der_vec().unwrap_or_default() {
        let _ = write!(out, "{byte:02X}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn signs_with_a_meaning_are_escaped() {
        assert_eq!(escaped("a b"), "a b");
        assert_eq!(escaped(" #a, "), "\\ #a\\,\\ ");
        assert_eq!(escaped("#a#"), "\\#a#");
        assert_eq!(escaped("\u{e4}\n"), "\\C3\\A4\\0A");
    }
}
