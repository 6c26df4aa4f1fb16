//! Is it HTTP? Decided on the request line, as Envoy's HTTP inspector does.

/// HTTP as seen in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 with prior knowledge.
    Http2,
}

pub(crate) enum Verdict {
    Http(HttpVersion),
    Other,
    NeedsMore,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_METHOD: usize = 64;

impl HttpVersion {
    /// The name that filter chains match (`application_protocols`).
    pub fn chain_name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2c",
        }
    }
}

/// Decides as soon as the bytes allow.
pub(crate) fn http_version(head: &[u8]) -> Verdict {
    if head.starts_with(PREFACE) {
        return Verdict::Http(HttpVersion::Http2);
    }
    if PREFACE.starts_with(head) {
        return Verdict::NeedsMore;
    }
    let Some(space) = head.iter().position(|byte| *byte == b' ') else {
        let plausible = head.len() <= MAX_METHOD && head.iter().all(|byte| is_method_byte(*byte));
        return if plausible {
            Verdict::NeedsMore
        } else {
            Verdict::Other
        };
    };
    let method = head.get(..space).unwrap_or_default();
    if method.is_empty()
        || method.len() > MAX_METHOD
        || !method.iter().all(|byte| is_method_byte(*byte))
    {
        return Verdict::Other;
    }
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return Verdict::NeedsMore;
    };
    let line = head.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" HTTP/1.1") {
        Verdict::Http(HttpVersion::Http11)
    } else if line.ends_with(b" HTTP/1.0") {
        Verdict::Http(HttpVersion::Http10)
    } else {
        Verdict::Other
    }
}

/// Methods that HTTP inspectors know are upper-case words with dashes.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-' || byte == b'_'
}
