//! Format strings, compiled to a list of literals and commands.

use std::io::Write as _;

use http::HeaderName;
use thiserror::Error;

use super::escape;
use super::json::JsonNode;
use super::operator::{AddressPart, Operator, Subject, Value};
use crate::{Flags, HttpRecord};

/// Istio's default text format (contract/telemetry.md §3), newline included.
pub const DEFAULT_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// Longest format string taken, in bytes, and deepest JSON.
const MAX_FORMAT_BYTES: usize = 64 * 1024;
const MAX_JSON_DEPTH: usize = 16;

/// A compiled access-log format. Writing a record with it allocates nothing.
#[derive(Clone, Debug)]
pub struct Format {
    body: Body,
    /// Absent values are left out instead of written as `-` or `null`.
    omit_empty: bool,
    request_headers: Vec<HeaderName>,
    all_headers: bool,
}

/// Why a format was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// A command that is not known, or whose argument does not fit.
    #[error("access log format: %{command}% at byte {at} is refused: {reason}")]
    Command {
        /// The command with its argument.
        command: String,
        /// Byte of the format string at which it stands.
        at: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A `%` without its partner.
    #[error(
        "access log format: the `%` at byte {at} opens a command that is not closed (write `%%` for a percent sign)"
    )]
    Unclosed {
        /// Byte of the format string.
        at: usize,
    },
    /// More text or nesting than any real format has.
    #[error(
        "access log format: larger than {MAX_FORMAT_BYTES} bytes or nested deeper than {MAX_JSON_DEPTH}"
    )]
    TooLarge,
}

#[derive(Clone, Debug)]
enum Body {
    Text(Vec<Segment>),
    Json(JsonNode),
}

/// A piece of a format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    Command {
        operator: Operator,
        max: Option<usize>,
    },
}

impl Format {
    /// Compiles a text format. A line ends where the format says so: a newline is part of it.
    ///
    /// # Errors
    /// Names the first command that is unknown or malformed.
    pub fn text(format: &str) -> Result<Self, FormatError> {
        let segments = parse(format)?;
        let request_headers = header_names(&segments);
        let all_headers = segments.iter().any(wants_all_headers);
        Ok(Self {
            all_headers,
            body: Body::Text(segments),
            omit_empty: false,
            request_headers,
        })
    }

    /// Istio's default text format.
    #[must_use]
    pub fn default_text() -> Self {
        // The constant compiles (a test says so); an empty format would only leave lines empty.
        Self::text(DEFAULT_TEXT).unwrap_or(Self {
            body: Body::Text(Vec::new()),
            omit_empty: false,
            request_headers: Vec::new(),
            all_headers: false,
        })
    }

    /// Compiles a JSON format: strings are formats, other values stay; one object a line, keys sorted.
    ///
    /// # Errors
    /// Names the first command that is unknown or malformed.
    pub fn json(
        template: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, FormatError> {
        let node = JsonNode::object(template, MAX_JSON_DEPTH)?;
        let mut request_headers = Vec::new();
        let mut all_headers = false;
        node.each_segment(&mut |segment| {
            add_header_names(segment, &mut request_headers);
            all_headers |= wants_all_headers(segment);
        });
        Ok(Self {
            all_headers,
            body: Body::Json(node),
            omit_empty: false,
            request_headers,
        })
    }

    /// Leaves absent values out instead of writing `-` or `null` (Envoy's `omit_empty_values`).
    #[must_use]
    pub fn omit_empty(mut self, omit: bool) -> Self {
        self.omit_empty = omit;
        self
    }

    /// Request headers the format reads, without duplicates.
    #[must_use]
    pub fn request_headers(&self) -> &[HeaderName] {
        &self.request_headers
    }

    /// Whether it may ask for any request header.
    pub(super) fn wants_all_headers(&self) -> bool {
        self.all_headers
    }

    /// Whether the text is the same for every record.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &self.body {
            Body::Text(segments) => match &segments[..] {
                [] => Some(""),
                [Segment::Literal(text)] => Some(text),
                _ => None,
            },
            Body::Json(_) => None,
        }
    }

    /// The text for a request under way, for headers and bodies: values as they are, without the escapes of a log.
    #[must_use]
    pub fn expand(&self, record: &HttpRecord<'_>) -> Vec<u8> {
        let subject = Subject {
            exchange: &record.exchange,
            http: Some(record),
        };
        let mut out = Vec::new();
        match &self.body {
            Body::Text(segments) => {
                write_segments(segments, &subject, self.omit_empty, Style::Raw, &mut out);
            }
            Body::Json(node) => {
                node.write(&subject, self.omit_empty, &mut out);
                out.push(b'\n');
            }
        }
        out
    }

    /// The text as it is, for those who carry it otherwise than in lines.
    pub(super) fn raw(&self, subject: &Subject<'_>) -> String {
        let mut out = Vec::new();
        if let Body::Text(segments) = &self.body {
            write_segments(segments, subject, self.omit_empty, Style::Raw, &mut out);
        }
        match String::from_utf8(out) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }

    pub(super) fn write(&self, subject: &Subject<'_>, out: &mut Vec<u8>) {
        match &self.body {
            Body::Text(segments) => {
                write_segments(segments, subject, self.omit_empty, Style::Text, out)
            }
            Body::Json(node) => {
                node.write(subject, self.omit_empty, out);
                out.push(b'\n');
            }
        }
    }
}

/// Where bytes from outside go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Text,
    JsonString,
    /// No log: as it is.
    Raw,
}

/// Splits a format string into literals and commands.
pub(super) fn parse(format: &str) -> Result<Vec<Segment>, FormatError> {
    if format.len() > MAX_FORMAT_BYTES {
        return Err(FormatError::TooLarge);
    }
    let mut segments = Vec::new();
    let mut literal = String::new();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        let (before, after) = (
            rest.get(..percent).unwrap_or_default(),
            rest.get(percent + 1..).unwrap_or_default(),
        );
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let at = format.len() - after.len() - 1;
        let (segment, after) = command(after, at)?;
        if !literal.is_empty() {
            segments.push(Segment::Literal(std::mem::take(&mut literal)));
        }
        segments.push(segment);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        segments.push(Segment::Literal(literal));
    }
    Ok(segments)
}

/// An argument ends at the first bracket that a length or the command's end follows: expressions have brackets too.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    text.match_indices(')').find_map(|(at, _)| {
        let after = text.get(at + 1..)?;
        let length = after.strip_prefix(':').map_or(after, |digits| {
            digits.trim_start_matches(|digit: char| digit.is_ascii_digit())
        });
        length
            .starts_with('%')
            .then(|| (text.get(..at).unwrap_or_default(), after))
    })
}

/// Reads `NAME(argument):max%` and returns what follows it.
fn command(text: &str, at: usize) -> Result<(Segment, &str), FormatError> {
    let unclosed = || FormatError::Unclosed { at };
    let name_end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let (name, mut rest) = text.split_at(name_end.ok_or_else(unclosed)?);
    let mut argument = None;
    if let Some(inside) = rest.strip_prefix('(') {
        let (inner, after) = bracketed(inside)
            .or_else(|| inside.split_once(')'))
            .ok_or_else(unclosed)?;
        argument = Some(inner);
        rest = after;
    }
    let (tail, after) = rest.split_once('%').ok_or_else(unclosed)?;
    let shown = || {
        text.get(..text.len() - after.len() - 1)
            .unwrap_or(name)
            .to_owned()
    };
    let refuse = |reason: String| FormatError::Command {
        command: shown(),
        at,
        reason,
    };
    let max = match tail.strip_prefix(':') {
        None if tail.is_empty() => None,
        Some(digits) => Some(
            digits
                .parse()
                .map_err(|_| refuse(format!("`{digits}` is no length")))?,
        ),
        None => {
            return Err(refuse(
                "no such command, or one that this proxy does not support".into(),
            ));
        }
    };
    let operator = Operator::parse(name, argument).map_err(refuse)?;
    Ok((Segment::Command { operator, max }, after))
}

/// Writes literals and values; `-` stands for what is absent.
pub(super) fn write_segments(
    segments: &[Segment],
    subject: &Subject<'_>,
    omit_empty: bool,
    style: Style,
    out: &mut Vec<u8>,
) {
    for segment in segments {
        match segment {
            Segment::Literal(text) if style == Style::JsonString => {
                escape::json(text.as_bytes(), out)
            }
            Segment::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Segment::Command { operator, max } => match operator.value(subject) {
                Value::Absent if omit_empty => {}
                Value::Absent => out.push(b'-'),
                value => write_value(value, *max, style, out),
            },
        }
    }
}

/// Writes one value that is there.
pub(super) fn write_value(value: Value<'_>, max: Option<usize>, style: Style, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        Value::Absent => {}
        Value::Owned(text) => {
            return write_value(Value::Bytes(text.as_bytes()), max, style, out);
        }
        Value::Bytes(bytes) => {
            let kept = bytes
                .get(..max.unwrap_or(usize::MAX).min(bytes.len()))
                .unwrap_or(bytes);
            match style {
                Style::Text => escape::text(kept, out),
                Style::JsonString => escape::json(kept, out),
                Style::Raw => out.extend_from_slice(kept),
            }
            return;
        }
        // Writing to a vector cannot fail.
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::Address(address, AddressPart::Whole) => drop(write!(out, "{address}")),
        Value::Address(address, AddressPart::Ip) => drop(write!(out, "{}", address.ip())),
        Value::Address(address, AddressPart::Port) => drop(write!(out, "{}", address.port())),
        Value::Flags(flags, long) => write_flags(flags, long, out),
        Value::Time(time, format) => drop(format.write(time, out)),
    }
    if let Some(max) = max {
        out.truncate(start.saturating_add(max));
    }
}

fn write_flags(flags: Flags, long: bool, out: &mut Vec<u8>) {
    if !long || flags.is_empty() {
        drop(write!(out, "{flags}"));
        return;
    }
    for (place, name) in flags.long_names().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

fn header_names(segments: &[Segment]) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for segment in segments {
        add_header_names(segment, &mut names);
    }
    names
}

fn wants_all_headers(segment: &Segment) -> bool {
    matches!(segment, Segment::Command { operator, .. } if operator.wants_all_headers())
}

fn add_header_names(segment: &Segment, names: &mut Vec<HeaderName>) {
    if let Segment::Command { operator, .. } = segment {
        for name in operator.request_headers() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
