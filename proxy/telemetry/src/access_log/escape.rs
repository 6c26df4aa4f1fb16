//! Outside bytes on their way into a log line (S20): nothing may end a line, close a quote or steer a terminal.

/// Appends for a text line: controls, quotes, backslashes and bytes that are not UTF-8 become escapes.
pub(super) fn text(value: &[u8], out: &mut Vec<u8>) {
    escape(value, out, push_hex);
}

/// Appends for the inside of a JSON string.
pub(super) fn json(value: &[u8], out: &mut Vec<u8>) {
    escape(value, out, |control, out| {
        out.extend_from_slice(b"\\u00");
        push_digits(control, out);
    });
}

fn escape(value: &[u8], out: &mut Vec<u8>, other: impl Fn(u8, &mut Vec<u8>)) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // Both sets of controls: C1 can steer terminals too. They fit a byte.
                control if control.is_control() => {
                    other(u8::try_from(control).unwrap_or(b'?'), out)
                }
                // Line and paragraph separators and direction overrides mislead readers of a log.
                '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    out.push(b'?')
                }
                plain => out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            other(*byte, out);
        }
    }
}

fn push_hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    push_digits(byte, out);
}

fn push_digits(byte: u8, out: &mut Vec<u8>) {
    for nibble in [byte >> 4, byte & 0xf] {
        out.push(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn outside_bytes_stay_inside_their_field() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"plain /a?b=c", "plain /a?b=c", "plain /a?b=c"),
            (b"a\"b\\c", "a\\\"b\\\\c", "a\\\"b\\\\c"),
            (b"x\r\n[forged", "x\\r\\n[forged", "x\\r\\n[forged"),
            (b"\x1b[31m\xff", "\\x1b[31m\\xff", "\\u001b[31m\\u00ff"),
            ("é\u{85}\u{2028}".as_bytes(), "é\\x85?", "é\\u0085?"),
        ];
        for (input, text, json) in cases {
            let (mut as_text, mut as_json) = (Vec::new(), Vec::new());
            super::text(input, &mut as_text);
            super::json(input, &mut as_json);
            assert_eq!(String::from_utf8(as_text).expect("UTF-8"), text);
            assert_eq!(String::from_utf8(as_json).expect("UTF-8"), json);
        }
    }
}
