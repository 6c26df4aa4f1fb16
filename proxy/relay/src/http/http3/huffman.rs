//! Huffman codes of header fields (RFC 7541, section 5.2).

use std::sync::LazyLock;

use super::tables::CODE_LENGTHS;

/// Longest code.
const LONGEST: usize = 30;
/// The symbol that is never sent whole.
const END: u16 = 256;

/// Codes of one length follow one another.
struct Codes {
    /// The first code of each length, how many there are, and where their symbols begin.
    by_length: [(u32, u32, usize); LONGEST + 1],
    /// Symbols by length and number.
    symbols: Vec<u16>,
}

static CODES: LazyLock<Codes> = LazyLock::new(Codes::new);

impl Codes {
    fn new() -> Self {
        let mut symbols: Vec<u16> = (0..=END).collect();
        let length = |symbol: &u16| CODE_LENGTHS.get(usize::from(*symbol)).copied();
        symbols.sort_by_key(|symbol| (length(symbol), *symbol));
        let mut by_length = [(0, 0, 0); LONGEST + 1];
        let (mut code, mut begin) = (0_u32, 0);
        for (bits, entry) in by_length.iter_mut().enumerate().skip(1) {
            let count = CODE_LENGTHS
                .iter()
                .filter(|own| usize::from(**own) == bits)
                .count();
            code <<= 1;
            *entry = (code, u32::try_from(count).unwrap_or_default(), begin);
            code += entry.1;
            begin += count;
        }
        Self { by_length, symbols }
    }
}

/// The text behind the codes, if there are such codes and no more than `most` bytes.
pub(super) fn decode(coded: &[u8], most: usize) -> Option<Vec<u8>> {
    let codes = &*CODES;
    let mut text = Vec::with_capacity(coded.len().saturating_mul(8) / 5 + 1);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in coded {
        for place in (0..8).rev() {
            code = code << 1 | u32::from(byte >> place & 1);
            bits += 1;
            let (first, count, begin) = *codes.by_length.get(bits)?;
            let Some(number) = code.checked_sub(first).filter(|number| *number < count) else {
                continue;
            };
            let symbol = *codes.symbols.get(begin + number as usize)?;
            // The code of the end is an error.
            text.push(u8::try_from(symbol).ok()?);
            if text.len() > most {
                return None;
            }
            (code, bits) = (0, 0);
        }
    }
    // What is left over is the begin of the end, shorter than a byte.
    let padding = bits < 8 && code + 1 == 1 << bits;
    padding.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_standard_decode() {
        for (coded, text) in [
            (
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x64\x02", "302"),
            (b"", ""),
        ] {
            assert_eq!(
                decode(coded, 100).as_deref(),
                Some(text.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn bad_codes_and_long_texts_are_none() {
        for (coded, why) in [
            (&b"\xff\xff\xff\xff"[..], "the end, whole"),
            (b"\x00", "padding of zeros"),
            (b"\xf8\xff", "a byte of padding"),
        ] {
            assert_eq!(decode(coded, 100), None, "{why}");
        }
        assert_eq!(decode(b"\xa8\xeb\x10\x64\x9c\xbf", 7), None, "too long");
    }
}
