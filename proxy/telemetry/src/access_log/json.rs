//! JSON formats: a tree whose strings are formats.

use serde_json::{Map, Value as Json};

use super::escape;
use super::format::{FormatError, Segment, Style, parse, write_segments, write_value};
use super::operator::{Subject, Value};

/// A compiled JSON template.
#[derive(Clone, Debug)]
pub(super) enum JsonNode {
    /// Sorted by key.
    Object(Vec<(String, JsonNode)>),
    Array(Vec<JsonNode>),
    /// A string that is exactly one command keeps the type of what it finds.
    Single(Segment),
    Text(Vec<Segment>),
    /// A number, boolean or null, as JSON.
    Constant(String),
}

impl JsonNode {
    pub(super) fn object(template: &Map<String, Json>, depth: usize) -> Result<Self, FormatError> {
        let depth = depth.checked_sub(1).ok_or(FormatError::TooLarge)?;
        let mut members = template
            .iter()
            .map(|(key, value)| Ok((key.clone(), Self::compile(value, depth)?)))
            .collect::<Result<Vec<_>, FormatError>>()?;
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self::Object(members))
    }

    fn compile(value: &Json, depth: usize) -> Result<Self, FormatError> {
        match value {
            Json::Object(object) => Self::object(object, depth),
            Json::Array(items) => {
                let depth = depth.checked_sub(1).ok_or(FormatError::TooLarge)?;
                items
                    .iter()
                    .map(|item| Self::compile(item, depth))
                    .collect::<Result<_, _>>()
                    .map(Self::Array)
            }
            Json::String(text) => {
                let mut segments = parse(text)?;
                match segments.as_slice() {
                    [Segment::Command { .. }] => Ok(Self::Single(segments.remove(0))),
                    _ => Ok(Self::Text(segments)),
                }
            }
            constant => Ok(Self::Constant(constant.to_string())),
        }
    }

    pub(super) fn each_segment(&self, see: &mut impl FnMut(&Segment)) {
        match self {
            Self::Object(members) => members.iter().for_each(|(_, node)| node.each_segment(see)),
            Self::Array(items) => items.iter().for_each(|node| node.each_segment(see)),
            Self::Single(segment) => see(segment),
            Self::Text(segments) => segments.iter().for_each(see),
            Self::Constant(_) => {}
        }
    }

    pub(super) fn write(&self, subject: &Subject<'_>, omit_empty: bool, out: &mut Vec<u8>) {
        match self {
            Self::Object(members) => write_object(members, subject, omit_empty, out),
            Self::Array(items) => {
                out.push(b'[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    item.write(subject, omit_empty, out);
                }
                out.push(b']');
            }
            Self::Single(segment) => write_single(segment, subject, out),
            Self::Text(segments) => {
                out.push(b'"');
                write_segments(segments, subject, omit_empty, Style::JsonString, out);
                out.push(b'"');
            }
            Self::Constant(json) => out.extend_from_slice(json.as_bytes()),
        }
    }

    fn is_absent(&self, subject: &Subject<'_>) -> bool {
        matches!(self, Self::Single(Segment::Command { operator, .. }) if matches!(operator.value(subject), Value::Absent))
    }
}

fn write_object(
    members: &[(String, JsonNode)],
    subject: &Subject<'_>,
    omit_empty: bool,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    let mut first = true;
    for (key, node) in members {
        if omit_empty && node.is_absent(subject) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.push(b'"');
        escape::json(key.as_bytes(), out);
        out.extend_from_slice(b"\":");
        node.write(subject, omit_empty, out);
    }
    out.push(b'}');
}

fn write_single(segment: &Segment, subject: &Subject<'_>, out: &mut Vec<u8>) {
    let Segment::Command { operator, max } = segment else {
        return;
    };
    match operator.value(subject) {
        Value::Absent => out.extend_from_slice(b"null"),
        number @ Value::Number(_) => write_value(number, None, Style::JsonString, out),
        value => {
            out.push(b'"');
            write_value(value, *max, Style::JsonString, out);
            out.push(b'"');
        }
    }
}
