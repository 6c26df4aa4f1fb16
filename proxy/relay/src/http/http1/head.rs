//! One head: where it ends, how its body is framed, and whether there can be two opinions about either.
//!
//! Names and values are left to hyper's parser, which is strict about them; a head that passes here and fails there is
//! refused all the same. Line ends are found with `memchr`, bytes are judged by one pass that compilers vectorise.

use memchr::memchr;

use super::refusal::Refusal;

/// What a listener's heads may be.
#[derive(Clone, Debug)]
pub(in crate::http) struct HeadRules {
    /// Bytes of a head, at most.
    pub(in crate::http) max_bytes: usize,
    /// Header lines, at most.
    pub(in crate::http) max_headers: usize,
    /// HTTP/1.0 is served.
    pub(in crate::http) accept_http_10: bool,
    /// A length beside chunks is dropped; else such a request is refused.
    pub(in crate::http) allow_chunked_length: bool,
    /// Any token is a method.
    pub(in crate::http) allow_custom_methods: bool,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// What the bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The end of the head has not come yet.
    Partial,
    /// A head of so many bytes, empty lines before it counted.
    Whole {
        length: usize,
        framing: Framing,
    },
    Refused(Refusal),
}

/// Methods that Envoy's parser knows, by length: nearly all requests have the first ones.
const METHODS: [&[u8]; 33] = [
    b"GET",
    b"POST",
    b"PUT",
    b"HEAD",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"ACL",
    b"BIND",
    b"CHECKOUT",
    b"COPY",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MOVE",
    b"M-SEARCH",
    b"NOTIFY",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"SOURCE",
    b"SUBSCRIBE",
    b"UNBIND",
    b"UNLINK",
    b"UNLOCK",
];

const CONTENT_LENGTH: &[u8] = b"content-length:";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding:";

impl Default for HeadRules {
    fn default() -> Self {
        Self {
            max_bytes: 60 * 1024,
            max_headers: 100,
            accept_http_10: false,
            allow_chunked_length: false,
            allow_custom_methods: false,
        }
    }
}

/// What header lines say of the body.
#[derive(Default)]
struct Said<'a> {
    length: Option<&'a [u8]>,
    lengths: u32,
    encoding: Option<&'a [u8]>,
    encodings: u32,
}

/// Reads the head that `bytes` begin with.
pub(super) fn read(bytes: &[u8], rules: &HeadRules) -> Head {
    match whole(bytes, rules) {
        Ok(Some((length, framing))) => Head::Whole { length, framing },
        Ok(None) if bytes.len() > rules.max_bytes => Head::Refused(Refusal::HeadersTooLarge),
        Ok(None) => Head::Partial,
        Err(refusal) => Head::Refused(refusal),
    }
}

fn whole(bytes: &[u8], rules: &HeadRules) -> Result<Option<(usize, Framing)>, Refusal> {
    let start = empty_lines(bytes);
    let text = bytes.get(start..).unwrap_or_default();
    let Some(first) = text.first() else {
        return Ok(None);
    };
    if !begins_method(*first, rules) {
        return Err(Refusal::Unreadable);
    }
    let Some(end) = memchr(b'\n', text) else {
        return Ok(None);
    };
    let (line, mut rest) = line_at(text, end);
    let mut carriage_returns = usize::from(end > line.len());
    let mut said = Said::default();
    let mut headers = 0;
    loop {
        let Some(end) = memchr(b'\n', rest) else {
            return Ok(None);
        };
        let (header, after) = line_at(rest, end);
        carriage_returns += usize::from(end > header.len());
        rest = after;
        let Some(first) = header.first() else {
            break;
        };
        headers += 1;
        match first {
            // Folded lines are refused (RFC 9112 section 5.2).
            b' ' | b'\t' => return Err(Refusal::Unreadable),
            b'c' | b'C' => said.note_length(header),
            b't' | b'T' => said.note_encoding(header),
            _ => {}
        }
    }
    let length = bytes.len() - rest.len();
    let head = text.get(..length - start).unwrap_or_default();
    if length > rules.max_bytes {
        return Err(Refusal::HeadersTooLarge);
    }
    if headers > rules.max_headers {
        return Err(Refusal::TooManyHeaders);
    }
    bytes_are_fine(head, carriage_returns)?;
    let old = request_line(line, rules)?;
    Ok(Some((length, said.framing(old, rules)?)))
}

/// Whether an empty line is among the bytes.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Bytes of empty lines before a request (RFC 9112 section 2.2).
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    let more = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    bytes.iter().take_while(more).count()
}

/// A line without its end, and what follows it. `end` is the place of its line feed.
fn line_at(text: &[u8], end: usize) -> (&[u8], &[u8]) {
    let (line, rest) = text.split_at_checked(end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line, rest.get(1..).unwrap_or_default())
}

fn begins_method(byte: u8, rules: &HeadRules) -> bool {
    match rules.allow_custom_methods {
        true => byte.is_ascii_graphic(),
        false => {
            byte.is_ascii_uppercase()
                && !matches!(byte, b'E' | b'F' | b'I' | b'J' | b'K' | b'Q' | b'V'..=b'Z')
        }
    }
}

/// No control bytes but tabs and line ends, and carriage returns only at the end of lines.
fn bytes_are_fine(head: &[u8], wanted: usize) -> Result<(), Refusal> {
    let mut bad = false;
    let mut found = 0;
    for byte in head {
        bad |= *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r') || *byte == 0x7f;
        found += usize::from(*byte == b'\r');
    }
    if bad {
        return Err(Refusal::InvalidCharacters);
    }
    match found == wanted {
        true => Ok(()),
        false => Err(Refusal::Unreadable),
    }
}

/// Whether the request is of HTTP/1.0.
fn request_line(line: &[u8], rules: &HeadRules) -> Result<bool, Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let version = words.next();
    let known = rules.allow_custom_methods || METHODS.contains(&method);
    if !known || words.next().is_some() || target.is_empty() {
        return Err(Refusal::Unreadable);
    }
    let old = match version {
        Some(b"HTTP/1.1") => false,
        Some(b"HTTP/1.0") if rules.accept_http_10 => true,
        // A line without a version is of HTTP/0.9.
        None => return Err(Refusal::LowVersion),
        Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::LowVersion);
        }
        Some(_) => return Err(Refusal::Unreadable),
    };
    self::target(method, target)?;
    Ok(old)
}

/// Origin form, absolute form, `*` of OPTIONS, authority form of CONNECT; ASCII alone.
fn target(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    if !target.is_ascii() {
        return Err(Refusal::Unreadable);
    }
    if target.first() == Some(&b'/') || method == b"CONNECT" || target == b"*" {
        return Ok(());
    }
    let colon = memchr(b':', target).unwrap_or(0);
    match target.split_at_checked(colon) {
        Some((scheme, rest)) if !scheme.is_empty() && rest.starts_with(b"://") => {
            let known =
                scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
            known.then_some(()).ok_or(Refusal::InvalidScheme)
        }
        _ => Err(Refusal::Unreadable),
    }
}

impl<'a> Said<'a> {
    fn note_length(&mut self, header: &'a [u8]) {
        if let Some(value) = value_of(header, CONTENT_LENGTH) {
            self.length = Some(value);
            self.lengths += 1;
        }
    }

    fn note_encoding(&mut self, header: &'a [u8]) {
        if let Some(value) = value_of(header, TRANSFER_ENCODING) {
            self.encoding = Some(value);
            self.encodings += 1;
        }
    }

    fn framing(&self, old: bool, rules: &HeadRules) -> Result<Framing, Refusal> {
        match (self.encoding, self.length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) if self.lengths == 1 => digits(length).map(Framing::Length),
            (None, Some(_)) => Err(Refusal::Unreadable),
            (Some(_), Some(_)) if !rules.allow_chunked_length => Err(Refusal::LengthAndChunks),
            (Some(coding), _) => {
                if self.encodings > 1 || !coding.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::TransferEncoding);
                }
                // HTTP/1.0 has no chunks (RFC 9112 section 6.1).
                match old {
                    true => Err(Refusal::Unreadable),
                    false => Ok(Framing::Chunked),
                }
            }
        }
    }
}

/// The trimmed value of a header line, if its name is `name` (lower case, with the colon).
fn value_of<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (own, value) = header.split_at_checked(name.len())?;
    own.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn digits(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() {
        return Err(Refusal::Unreadable);
    }
    let mut number: u64 = 0;
    for byte in value {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        number = digit
            .and_then(|digit| number.checked_mul(10)?.checked_add(digit))
            .ok_or(Refusal::Unreadable)?;
    }
    // hyper keeps the last values for itself.
    match number < u64::MAX - 1 {
        true => Ok(number),
        false => Err(Refusal::Unreadable),
    }
}
