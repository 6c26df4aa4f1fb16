//! A bootstrap taken apart by its bytes: what there is in numbers stays encoded until it is applied, one at a time, and
//! every resource keeps a part of the one buffer that the bootstrap came in.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use envoy_types::pb::envoy::config::bootstrap::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use lateen_proxy_state::ResourceKind;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use crate::apply::Incoming;
use crate::bootstrap::StaticResources;
use crate::take_up::Named;

/// `Bootstrap.static_resources`.
const STATIC_RESOURCES: u32 = 2;
/// Fields of `StaticResources`.
const LISTENERS: u32 = 1;
const CLUSTERS: u32 = 2;
const SECRETS: u32 = 3;

/// A bootstrap without its resources, and these.
pub(crate) struct Parts {
    /// The message; of static resources it has what is no resource.
    pub(crate) message: wire::Bootstrap,
    pub(crate) resources: StaticResources,
}

/// Takes a bootstrap apart.
///
/// # Errors
/// When the bytes are no bootstrap.
pub(crate) fn parts(bytes: Bytes) -> Result<Parts, DecodeError> {
    let mut rest = Vec::new();
    let mut held = Vec::new();
    for field in Fields(bytes) {
        let field = field?;
        match field.body {
            Some(body) if field.number == STATIC_RESOURCES => held.push(body),
            _ => rest.extend_from_slice(&field.whole),
        }
    }
    let mut message = wire::Bootstrap::decode(&*rest)?;
    let mut resources = StaticResources::default();
    for body in held {
        let more = take_resources(body, &mut resources)?;
        message
            .static_resources
            .get_or_insert_default()
            .merge(&*more)?;
    }
    Ok(Parts { message, resources })
}

/// Takes resources out; gives the encoded rest.
fn take_resources(bytes: Bytes, into: &mut StaticResources) -> Result<Vec<u8>, DecodeError> {
    let mut rest = Vec::new();
    for field in Fields(bytes) {
        let field = field?;
        let kind = match field.number {
            LISTENERS => ResourceKind::Listener,
            CLUSTERS => ResourceKind::Cluster,
            SECRETS => ResourceKind::Secret,
            _ => {
                rest.extend_from_slice(&field.whole);
                continue;
            }
        };
        let Some(body) = field.body else {
            rest.extend_from_slice(&field.whole);
            continue;
        };
        let list = into.of(kind);
        list.push(incoming(kind, body, list.len())?);
    }
    Ok(rest)
}

fn incoming(kind: ResourceKind, body: Bytes, place: usize) -> Result<Incoming, DecodeError> {
    let mut name: Arc<str> = Named::decode(&*body)?.name.into();
    let mut body = body;
    if kind == ResourceKind::Listener && name.is_empty() {
        let mut listener = Listener::decode(&*body)?;
        listener.name = format!("listener_{place}");
        name = listener.name.as_str().into();
        body = listener.encode_to_vec().into();
    }
    Ok(Incoming {
        name,
        version: Box::default(),
        body,
        is_static: true,
        time_to_live: None,
    })
}

/// One field of an encoded message.
struct Field {
    number: u32,
    /// With its key.
    whole: Bytes,
    /// Of a field with a length.
    body: Option<Bytes>,
}

/// The fields of an encoded message, in the order they stand.
struct Fields(Bytes);

impl Fields {
    fn field(&mut self) -> Result<Field, DecodeError> {
        let start = self.0.clone();
        let (number, kind) = decode_key(&mut self.0)?;
        let mut body = None;
        if kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut self.0)?).unwrap_or(usize::MAX);
            if length > self.0.remaining() {
                // What is cut short is for the decoder to say.
                wire::Bootstrap::decode(start.clone())?;
            }
            let length = length.min(self.0.remaining());
            body = Some(self.0.split_to(length));
        } else {
            skip_field(kind, number, &mut self.0, DecodeContext::default())?;
        }
        let taken = start.len().saturating_sub(self.0.len());
        Ok(Field {
            number,
            whole: start.slice(..taken),
            body,
        })
    }
}

impl Iterator for Fields {
    type Item = Result<Field, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;

    use super::*;

    fn bootstrap(clusters: &[&str]) -> wire::Bootstrap {
        let named = |name: &&str| Cluster {
            name: (*name).to_owned(),
            ..Cluster::default()
        };
        wire::Bootstrap {
            flags_path: "f".into(),
            static_resources: Some(wire::bootstrap::StaticResources {
                listeners: vec![Listener::default()],
                clusters: clusters.iter().map(named).collect(),
                ..Default::default()
            }),
            ..wire::Bootstrap::default()
        }
    }

    #[test]
    fn resources_are_parts_of_the_buffer() {
        let mut bytes = bootstrap(&["a", "b"]).encode_to_vec();
        // Two messages one after the other are one, merged.
        bytes.extend(bootstrap(&["c"]).encode_to_vec());
        let bytes = Bytes::from(bytes);
        let range = bytes.as_ptr_range();
        let mut parts = parts(bytes.clone()).expect("well formed");
        assert_eq!(parts.message.flags_path, "f");
        let clusters = parts.resources.of(ResourceKind::Cluster);
        let names: Vec<&str> = clusters.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(
            clusters
                .iter()
                .all(|one| range.contains(&one.body.as_ptr()))
        );
        let listeners = parts.resources.of(ResourceKind::Listener);
        let names: Vec<&str> = listeners.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["listener_0", "listener_1"]);
    }

    #[test]
    fn what_is_cut_is_refused() {
        let whole = bootstrap(&["a"]).encode_to_vec();
        for length in 1..whole.len() {
            // Some cuts leave a message that is whole, with less in it.
            let cut = Bytes::copy_from_slice(&whole[..length]);
            let known = wire::Bootstrap::decode(cut.clone()).is_ok();
            assert_eq!(parts(cut).is_ok(), known, "{length}");
        }
    }
}
