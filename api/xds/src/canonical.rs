//! The same bytes for the same message.
//!
//! Protobuf maps are hash maps in the generated types, so two encodings of equal messages differ in the order of map
//! entries. [`sort_maps`] puts the entries of every map in the order of their bytes, in place, guided by a table that the
//! build writes from the descriptors. Equal resources then compare equal as bytes, which is what "nothing changed" means
//! to the server.

use std::ops::Range;

/// Where a field leads; indices point into `SHAPES`.
#[derive(Clone, Copy)]
enum Shape {
    /// A map, with the message of its values if that leads to maps.
    Map(Option<usize>),
    /// A message that leads to maps.
    Message(usize),
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

const ANY: &str = "google.protobuf.Any";
const MAX_DEPTH: usize = 64;

/// Sorts the entries of every map inside `encoded`, an encoding of the message `full_name`.
///
/// A message that is unknown or leads to no map is left as it is; so is whatever follows a malformed part.
pub fn sort_maps(full_name: &str, encoded: &mut [u8]) {
    if let Some(index) = shape_index(full_name) {
        sort_message(index, encoded, 0);
    }
}

/// The message's full name: what follows the last slash of a type URL.
#[must_use]
pub fn full_name(type_url: &str) -> &str {
    type_url.rsplit_once('/').map_or(type_url, |(_, name)| name)
}

fn shape_index(full_name: &str) -> Option<usize> {
    SHAPES
        .binary_search_by(|(name, _)| (*name).cmp(full_name))
        .ok()
}

fn sort_message(index: usize, encoded: &mut [u8], depth: usize) {
    let Some((name, shapes)) = SHAPES.get(index) else {
        return;
    };
    if depth > MAX_DEPTH {
        return;
    }
    if *name == ANY {
        sort_any(encoded, depth);
        return;
    }
    let mut run: Option<(u32, Vec<Range<usize>>)> = None;
    let mut at = 0;
    while let Some(field) = next_field(encoded, at) {
        at = field.whole.end;
        if run
            .as_ref()
            .is_some_and(|(number, _)| *number != field.number)
        {
            sort_run(encoded, run.take());
        }
        let shape = shapes
            .binary_search_by_key(&field.number, |(number, _)| *number)
            .ok()
            .and_then(|i| shapes.get(i));
        let (Some((_, shape)), Some(body)) = (shape, field.body) else {
            continue;
        };
        match shape {
            Shape::Message(inner) => sort_part(*inner, encoded, body, depth),
            Shape::Map(value) => {
                if let Some(value) = value {
                    sort_map_value(*value, encoded, body, depth);
                }
                run.get_or_insert_with(|| (field.number, Vec::new()))
                    .1
                    .push(field.whole);
            }
        }
    }
    sort_run(encoded, run);
}

fn sort_part(index: usize, encoded: &mut [u8], body: Range<usize>, depth: usize) {
    if let Some(part) = encoded.get_mut(body) {
        sort_message(index, part, depth + 1);
    }
}

/// The value of a map entry is its field 2.
fn sort_map_value(index: usize, encoded: &mut [u8], entry: Range<usize>, depth: usize) {
    let Some(entry) = encoded.get_mut(entry) else {
        return;
    };
    let mut at = 0;
    while let Some(field) = next_field(entry, at) {
        at = field.whole.end;
        if let (2, Some(body)) = (field.number, field.body) {
            sort_part(index, entry, body, depth + 1);
        }
    }
}

fn sort_any(encoded: &mut [u8], depth: usize) {
    let (mut index, mut value) = (None, None);
    let mut at = 0;
    while let Some(field) = next_field(encoded, at) {
        at = field.whole.end;
        match (field.number, field.body) {
            (1, Some(body)) => {
                let url = encoded
                    .get(body)
                    .and_then(|bytes| std::str::from_utf8(bytes).ok())
                    .unwrap_or_default();
                index = shape_index(full_name(url));
            }
            (2, Some(body)) => value = Some(body),
            _ => {}
        }
    }
    if let (Some(index), Some(value)) = (index, value) {
        sort_part(index, encoded, value, depth);
    }
}

/// Entries of one map stand side by side, so sorting them moves bytes inside one span.
fn sort_run(encoded: &mut [u8], run: Option<(u32, Vec<Range<usize>>)>) {
    let Some((_, ranges)) = run else { return };
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return;
    };
    if ranges.len() < 2 {
        return;
    }
    let span = first.start..last.end;
    let mut entries: Vec<&[u8]> = ranges
        .iter()
        .filter_map(|range| encoded.get(range.clone()))
        .collect();
    entries.sort_unstable();
    let sorted = entries.concat();
    if let Some(target) = encoded
        .get_mut(span)
        .filter(|target| target.len() == sorted.len())
    {
        target.copy_from_slice(&sorted);
    }
}

struct Field {
    number: u32,
    whole: Range<usize>,
    /// Contents of a length-delimited field.
    body: Option<Range<usize>>,
}

fn next_field(encoded: &[u8], start: usize) -> Option<Field> {
    let (tag, after_tag) = varint(encoded, start)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let (end, body) = match tag & 7 {
        0 => (varint(encoded, after_tag)?.1, None),
        1 => (after_tag.checked_add(8)?, None),
        5 => (after_tag.checked_add(4)?, None),
        2 => {
            let (length, from) = varint(encoded, after_tag)?;
            let end = from.checked_add(usize::try_from(length).ok()?)?;
            (end, Some(from..end))
        }
        _ => return None,
    };
    (end <= encoded.len()).then_some(Field {
        number,
        whole: start..end,
        body,
    })
}

fn varint(encoded: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, byte) in encoded.get(start..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(i * 7).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, start + i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Metadata;
    use envoy_types::pb::envoy::config::endpoint::v3::{
        ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
    };
    use envoy_types::pb::google::protobuf::Struct;
    use prost::Message;

    use super::*;
    use crate::structs;

    fn assignment() -> ClusterLoadAssignment {
        let json = serde_json::json!({"a": {"x": 1, "y": [{"p": 1, "q": 2, "r": 3}]}, "b": "2", "c": null, "d": true, "e": 5});
        let inner: Struct = structs::from_json(&json).unwrap();
        let filter_metadata = ["one", "two", "three", "four"]
            .map(|k| (k.to_owned(), inner.clone()))
            .into_iter()
            .collect();
        let any = crate::any::pack(&Metadata {
            filter_metadata,
            ..Default::default()
        });
        let metadata = Metadata {
            filter_metadata: ["x", "y", "z"]
                .map(|k| (k.to_owned(), inner.clone()))
                .into_iter()
                .collect(),
            typed_filter_metadata: ["t", "u", "v"]
                .map(|k| (k.to_owned(), any.clone()))
                .into_iter()
                .collect(),
        };
        let endpoint = LbEndpoint {
            metadata: Some(metadata),
            ..Default::default()
        };
        let locality = LocalityLbEndpoints {
            lb_endpoints: vec![endpoint.clone(), endpoint],
            ..Default::default()
        };
        ClusterLoadAssignment {
            cluster_name: "c".into(),
            endpoints: vec![locality],
            ..Default::default()
        }
    }

    #[test]
    fn equal_messages_give_equal_bytes() {
        let first = crate::any::pack(&assignment());
        let raw: std::collections::HashSet<Vec<u8>> =
            (0..20).map(|_| assignment().encode_to_vec()).collect();
        assert!(
            raw.len() > 1,
            "plain encodings differ, or this test proves nothing"
        );
        for _ in 0..20 {
            assert_eq!(crate::any::pack(&assignment()), first);
        }
        assert_eq!(
            crate::any::unpack::<ClusterLoadAssignment>(&first).unwrap(),
            assignment()
        );
    }

    #[test]
    fn malformed_bytes_are_left_alone() {
        for bytes in [
            &b"\xff\xff\xff"[..],
            b"\x12\xff\xff\xff\xff\x0f",
            b"\x0a\x05ab",
            b"\x0b",
        ] {
            let mut copy = bytes.to_vec();
            sort_maps("envoy.config.endpoint.v3.ClusterLoadAssignment", &mut copy);
            assert_eq!(copy, bytes);
        }
    }
}
