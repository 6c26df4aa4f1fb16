//! `%START_TIME%` and its formats.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A compiled time format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimeFormat {
    /// `2026-01-02T03:04:05.678Z`, Envoy's default.
    Iso,
    /// Pieces of strftime text and of Envoy's own `%Ns`.
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// strftime text.
    Strftime(String),
    /// Unix time in units of 10^-n seconds (`%s`, `%3s`, `%6s`, `%9s`).
    Unix(u32),
}

impl TimeFormat {
    /// Compiles a strftime format with Envoy's additions; the error text says what is wrong.
    pub(super) fn parse(format: &str) -> Result<Self, String> {
        if format.is_empty() {
            return Ok(Self::Iso);
        }
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some((at, len, digits)) = find_unix(rest) {
            push_text(&mut pieces, rest.get(..at).unwrap_or_default());
            pieces.push(Piece::Unix(digits));
            rest = rest.get(at + len..).unwrap_or_default();
        }
        push_text(&mut pieces, rest);
        let compiled = Self::Pieces(pieces);
        compiled
            .write(SystemTime::UNIX_EPOCH, &mut Vec::new())
            .map(|()| compiled)
    }

    /// Appends the time. The error is the format's: it shows already when compiling.
    pub(super) fn write(&self, time: SystemTime, out: &mut Vec<u8>) -> Result<(), String> {
        let stamp = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        let Self::Pieces(pieces) = self else {
            write_iso(stamp, out);
            return Ok(());
        };
        let zoned = stamp.to_zoned(TimeZone::UTC);
        for piece in pieces {
            match piece {
                Piece::Strftime(format) => {
                    let text = jiff::fmt::strtime::format(format, &zoned)
                        .map_err(|error| error.to_string())?;
                    super::escape::text(text.as_bytes(), out);
                }
                Piece::Unix(digits) => {
                    let divisor = 10_i128.pow(9_u32.saturating_sub(*digits));
                    let value = stamp.as_nanosecond() / divisor;
                    out.extend_from_slice(value.to_string().as_bytes());
                }
            }
        }
        Ok(())
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Strftime(text.to_owned()));
    }
}

/// The first `%s`, `%1s` … `%9s`: its place, length and digits.
fn find_unix(format: &str) -> Option<(usize, usize, u32)> {
    let bytes = format.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes.get(at), bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'%'), Some(b's'), _) => return Some((at, 2, 0)),
            (Some(b'%'), Some(digit @ b'1'..=b'9'), Some(b's')) => {
                return Some((at, 3, u32::from(digit - b'0')));
            }
            (Some(b'%'), Some(_), _) => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn write_iso(stamp: Timestamp, out: &mut Vec<u8>) {
    let time = TimeZone::UTC.to_datetime(stamp);
    digits(i64::from(time.year()), 4, out);
    for (separator, value) in [
        (b'-', time.month()),
        (b'-', time.day()),
        (b'T', time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ] {
        out.push(separator);
        digits(i64::from(value), 2, out);
    }
    out.push(b'.');
    digits(i64::from(time.millisecond()), 3, out);
    out.push(b'Z');
}

fn digits(value: i64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        let digit = value.unsigned_abs() / 10_u64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::TimeFormat;

    fn shown(format: &str) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_067);
        let mut out = Vec::new();
        TimeFormat::parse(format)
            .expect(format)
            .write(time, &mut out)
            .expect(format);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn formats_give_utc() {
        assert_eq!(shown(""), "2026-01-02T03:04:05.067Z");
        assert_eq!(shown("%Y/%m/%dT%H:%M:%S%z"), "2026/01/02T03:04:05+0000");
        assert_eq!(shown("%s.%3f"), "1767323045.067");
        assert_eq!(shown("%3s"), "1767323045067");
        assert_eq!(shown("100%%s"), "100%s");
    }

    #[test]
    fn a_bad_format_is_refused() {
        assert!(TimeFormat::parse("%!").is_err());
    }
}
