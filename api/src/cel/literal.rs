//! Texts, bytes and numbers.

use super::CelReason;
use super::lexer::LexError;

/// The length of the text or bytes at the beginning of `rest`; `None` where there is neither.
pub(super) fn text(rest: &str) -> Result<Option<usize>, LexError> {
    let (bytes, after) = without(rest, ['b', 'B']);
    let (raw, quoted) = without(after, ['r', 'R']);
    let prefix = rest.len() - quoted.len();
    let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok(None);
    };
    let triple = if quote == '"' { "\"\"\"" } else { "'''" };
    let (open, long) = if quoted.starts_with(triple) {
        (3, true)
    } else {
        (1, false)
    };
    let close = quoted.get(..open).unwrap_or(quoted);
    let mut at = open;
    while let Some(inside) = quoted.get(at..) {
        if inside.starts_with(close) {
            return Ok(Some(prefix + at + open));
        }
        let Some(next) = inside.chars().next() else {
            break;
        };
        match next {
            '\n' | '\r' if !long => break,
            '\\' if !raw => {
                let after = inside.get(1..).unwrap_or_default();
                at += escape(after, bytes).ok_or((prefix + at, CelReason::Escape))? + 1;
            }
            other => at += other.len_utf8(),
        }
    }
    Err((0, CelReason::OpenText))
}

/// Whether one of two letters begins the text, and what follows it.
fn without(text: &str, letters: [char; 2]) -> (bool, &str) {
    match text.strip_prefix(letters) {
        Some(after) => (true, after),
        None => (false, text),
    }
}

/// The length of what follows a backslash, if that is an escape.
fn escape(after: &str, bytes: bool) -> Option<usize> {
    let kind = after.chars().next()?;
    match kind {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(1),
        '0'..='3' => after
            .get(1..3)
            .filter(|digits| digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)))
            .map(|_| 3),
        'x' | 'X' => hexadecimal(after.get(1..3)?).map(|_| 3),
        'u' if !bytes => char::from_u32(hexadecimal(after.get(1..5)?)?).map(|_| 5),
        'U' if !bytes => char::from_u32(hexadecimal(after.get(1..9)?)?).map(|_| 9),
        _ => None,
    }
}

fn hexadecimal(digits: &str) -> Option<u32> {
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}

/// The length of the number at the beginning of `rest`; `None` where there is none. The longest number counts.
pub(super) fn number(rest: &str) -> Option<usize> {
    let whole = digits(rest);
    let fraction = rest
        .get(whole..)
        .and_then(|after| after.strip_prefix('.'))
        .map_or(0, digits);
    if whole == 0 && fraction == 0 {
        return None;
    }
    if fraction > 0 {
        let length = whole + 1 + fraction;
        return Some(length + rest.get(length..).map_or(0, exponent));
    }
    if let Some(hex) = rest.strip_prefix("0x") {
        let length = hex
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(hex.len());
        if length > 0 {
            return Some(2 + length + hex.get(length..).map_or(0, unsigned));
        }
    }
    let after = rest.get(whole..).unwrap_or_default();
    Some(match exponent(after) {
        0 => whole + unsigned(after),
        length => whole + length,
    })
}

/// Whether a number fits 64 bits, with a minus sign before it or without.
pub(super) fn fits(number: &str, negative: bool) -> bool {
    let (number, unsigned) = match number.strip_suffix(['u', 'U']) {
        Some(number) => (number, true),
        None => (number, false),
    };
    let hex = number.strip_prefix("0x");
    if hex.is_none() && number.contains(['.', 'e', 'E']) {
        return number.parse::<f64>().is_ok_and(f64::is_finite);
    }
    let (digits, radix) = hex.map_or((number, 10), |hex| (hex, 16));
    let Ok(value) = u64::from_str_radix(digits, radix) else {
        return false;
    };
    if unsigned {
        return !negative;
    }
    let most = if negative { 1 << 63 } else { i64::MAX as u64 };
    value <= most
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len())
}

fn exponent(text: &str) -> usize {
    let Some(after) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
    match digits(unsigned) {
        0 => 0,
        length => text.len() - unsigned.len() + length,
    }
}

fn unsigned(text: &str) -> usize {
    usize::from(text.starts_with(['u', 'U']))
}
