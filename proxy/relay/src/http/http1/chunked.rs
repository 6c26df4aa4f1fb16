//! Follows a chunked body to its end (RFC 9112 section 7.1), without keeping any of it.

/// Bytes of chunk extensions, and of trailers, at most.
const MAX_EXTRA: u32 = 16 * 1024;

/// Where in a chunked body a reader is.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    at: At,
    size: u64,
    digits: u8,
    /// Bytes of extensions so far, then of trailers.
    extra: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    /// Spaces after the size: an extension or the end of the line must follow.
    Space,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// The first byte of a trailer line, or of the end.
    Trailer,
    TrailerLine,
    TrailerEnd,
    LastEnd,
    Done,
}

/// How far bytes brought the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    More,
    Done,
    /// What follows is no chunk.
    Broken,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            at: At::Size,
            size: 0,
            digits: 0,
            extra: 0,
        }
    }
}

impl Chunks {
    /// Reads on; the number of bytes that belong to the body, and what comes after them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Fed) {
        let mut used = 0;
        while let Some(byte) = bytes.get(used) {
            if self.at == At::Data {
                let left = bytes.len() - used;
                let take = usize::try_from(self.size).map_or(left, |size| size.min(left));
                used += take;
                self.size -= take as u64;
                if self.size == 0 {
                    self.at = At::DataReturn;
                }
                continue;
            }
            match self.step(*byte) {
                Some(At::Done) => return (used + 1, Fed::Done),
                Some(next) => self.at = next,
                None => return (used, Fed::Broken),
            }
            used += 1;
        }
        (used, Fed::More)
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        match (self.at, byte) {
            (At::Size, _) if byte.is_ascii_hexdigit() => self.digit(byte),
            (At::Size | At::Space, b' ' | b'\t') if self.digits > 0 => self.count(At::Space),
            (At::Size | At::Space, b';') if self.digits > 0 => self.count(At::Extension),
            (At::Size | At::Space, b'\r') if self.digits > 0 => Some(At::SizeEnd),
            (At::Extension, b'\r') => Some(At::SizeEnd),
            (At::Extension, _) => is_text(byte).then(|| self.count(At::Extension)).flatten(),
            (At::SizeEnd, b'\n') => {
                self.digits = 0;
                Some(match self.size {
                    0 => At::Trailer,
                    _ => At::Data,
                })
            }
            (At::DataReturn, b'\r') => Some(At::DataEnd),
            (At::DataEnd, b'\n') => Some(At::Size),
            (At::Trailer, b'\r') => Some(At::LastEnd),
            // No trailer begins with a space: that would fold the line before it.
            (At::Trailer, _) if !matches!(byte, b' ' | b'\t') && is_text(byte) => {
                self.count(At::TrailerLine)
            }
            (At::TrailerLine, b'\r') => Some(At::TrailerEnd),
            (At::TrailerLine, _) => is_text(byte).then(|| self.count(At::TrailerLine)).flatten(),
            (At::TrailerEnd, b'\n') => Some(At::Trailer),
            (At::LastEnd, b'\n') => Some(At::Done),
            _ => None,
        }
    }

    fn digit(&mut self, byte: u8) -> Option<At> {
        // Nobody sends half of all there is in one piece.
        if self.digits == 16 || self.size >> 59 != 0 {
            return None;
        }
        self.digits += 1;
        let digit = char::from(byte).to_digit(16)?;
        self.size = (self.size << 4) | u64::from(digit);
        Some(At::Size)
    }

    fn count(&mut self, next: At) -> Option<At> {
        self.extra += 1;
        (self.extra <= MAX_EXTRA).then_some(next)
    }
}

fn is_text(byte: u8) -> bool {
    (byte >= b' ' || byte == b'\t') && byte != 0x7f
}
