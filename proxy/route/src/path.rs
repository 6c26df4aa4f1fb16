//! Canonical paths (security cases S1 and S2): one form for policy, routing and upstream.

use std::borrow::Cow;

use lateen_proxy_model::PathNormalization;

/// Why a path is refused; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not start with `/`.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// It holds an encoded NUL.
    #[error("the path holds an encoded NUL")]
    Nul,
}

/// The path before a `#`, when there is one (S1).
pub fn cut_fragment(path: &str) -> Option<&str> {
    path.split_once('#').map(|(path, _)| path)
}

/// Whether the path, without its query, holds `%2F` or `%5C`.
pub fn has_escaped_slash(path: &str) -> bool {
    let plain = path.split('?').next().unwrap_or(path).as_bytes();
    plain
        .windows(3)
        .any(|part| matches!(escape(part), Some(b'/' | b'\\')))
}

/// Makes a path canonical: encoded slashes decoded, then RFC 3986 (section 6.2.2: dot segments, unreserved characters
/// decoded; `\` as `/`; characters that must be encoded are), then slashes merged, each when asked for. The query stays.
///
/// The asterisk of `OPTIONS *` passes. Doing it twice gives the same result.
pub fn normalize_path(mode: PathNormalization, path: &str) -> Result<Cow<'_, str>, BadPath> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(BadPath::NotAbsolute);
    }
    let (plain, query) = match path.find('?') {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    if is_canonical(mode, plain.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut bytes = plain.as_bytes().to_vec();
    if mode.unescape_slashes {
        bytes = unescape_slashes(&bytes);
    }
    if mode.normalize {
        bytes = remove_dot_segments(&unreserved(&bytes)?);
    }
    if mode.merge_slashes {
        bytes.dedup_by(|next, before| *next == b'/' && *before == b'/');
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.push_str(query);
    Ok(Cow::Owned(text))
}

/// A cheap sufficient condition: most paths need nothing.
fn is_canonical(mode: PathNormalization, path: &[u8]) -> bool {
    if mode == PathNormalization::default() {
        return true;
    }
    let plain = path
        .iter()
        .all(|byte| *byte != b'%' && *byte != b'\\' && !must_escape(*byte));
    plain
        && !path
            .windows(2)
            .any(|pair| pair == b"/." || (mode.merge_slashes && pair == b"//"))
}

fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        match escape(rest) {
            Some(byte @ (b'/' | b'\\')) => {
                out.push(byte);
                rest = rest.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Decodes escapes of unreserved characters, encodes what may not stand in a path, turns `\` into `/`.
fn unreserved(path: &[u8]) -> Result<Vec<u8>, BadPath> {
    let mut out = Vec::with_capacity(path.len() + 8);
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let Some(byte) = escape(rest) else {
            push_canonical(&mut out, *first);
            rest = tail;
            continue;
        };
        if byte == 0 {
            return Err(BadPath::Nul);
        }
        if is_unreserved(byte) && !ends_in_open_escape(&out) {
            out.push(byte);
        } else {
            out.extend_from_slice(rest.get(..3).unwrap_or_default());
        }
        rest = rest.get(3..).unwrap_or_default();
    }
    Ok(out)
}

fn push_canonical(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\\' => out.push(b'/'),
        byte if must_escape(byte) => {
            const HEX: [u8; 16] = *b"0123456789ABCDEF";
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        byte => out.push(byte),
    }
}

/// A decoded character after a stray `%` would make a new escape (`%%32e`), so that a second pass would read another path.
fn ends_in_open_escape(out: &[u8]) -> bool {
    match out {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

fn remove_dot_segments(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let body = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments = body.split(|byte| *byte == b'/').peekable();
    out.push(b'/');
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                out.pop();
                let parent = out.iter().rposition(|byte| *byte == b'/');
                out.truncate(parent.map_or(0, |at| at + 1));
                if out.is_empty() {
                    out.push(b'/');
                }
            }
            segment => {
                out.extend_from_slice(segment);
                if !last {
                    out.push(b'/');
                }
            }
        }
    }
    out
}

/// The byte of a percent escape at the start of `text`.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn must_escape(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`' | b'{' | b'}')
}

#[cfg(test)]
mod tests;
