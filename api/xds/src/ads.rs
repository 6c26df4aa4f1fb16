//! ADS responses as gRPC messages in pieces, so that the bytes of a resource are shared by every stream that sends it.
//!
//! On the wire a field of type message and a field of type bytes look alike, so an encoded `Any` is put where the message
//! stands. A response is never whole in memory: [`Frames`] gives it piece by piece as the transport takes it.

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Size of a piece that is put together from smaller parts, in bytes.
const PIECE: usize = 32 * 1024;
/// Bodies from this size on are handed on as they are, without a copy, in bytes.
const SHARED: usize = 8 * 1024;
/// Field of the resources in both responses.
const RESOURCES: u32 = 2;
/// Field of the body in a delta resource.
const BODY: u32 = 2;
/// Field of the name in a delta resource.
const NAME: u32 = 3;

/// One resource of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Name; only delta responses carry it.
    pub name: String,
    /// Encoded `google.protobuf.Any`.
    pub body: Bytes,
}

/// A SotW `DiscoveryResponse` without its resources.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// Version of the whole set.
    #[prost(string, tag = "1")]
    pub version_info: String,
    /// Type of the resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names the response in the client's ack.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Who answers; only debug answers carry it (contract xds.md §11).
    #[prost(message, optional, tag = "6")]
    pub control_plane: Option<ControlPlane>,
}

/// A `DeltaDiscoveryResponse` without its resources.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaResponse {
    /// Version of the push.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// Type of the resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Names the response in the client's ack.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
    /// Who answers; only debug answers carry it.
    #[prost(message, optional, tag = "7")]
    pub control_plane: Option<ControlPlane>,
}

/// A gRPC message with its length prefix, piece by piece.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    resources: std::vec::IntoIter<Resource>,
    named: bool,
    shared: Option<Bytes>,
}

impl Response {
    /// The message with its resources; `None` beyond the 4 GiB that a gRPC message may have.
    #[must_use]
    pub fn frames(&self, resources: Vec<Resource>) -> Option<Frames> {
        Frames::new(self, resources, false)
    }
}

impl DeltaResponse {
    /// The message with its resources; their version stays empty, as istiod leaves it. `None` beyond the 4 GiB that a gRPC
    /// message may have.
    #[must_use]
    pub fn frames(&self, resources: Vec<Resource>) -> Option<Frames> {
        Frames::new(self, resources, true)
    }
}

impl Frames {
    fn new(head: &impl Message, resources: Vec<Resource>, named: bool) -> Option<Self> {
        let field = |resource: &Resource| {
            let length = inner_length(resource, named);
            key_len(RESOURCES) + encoded_len_varint(length as u64) + length
        };
        let length = head.encoded_len() + resources.iter().map(field).sum::<usize>();
        let mut buffer = BytesMut::new();
        buffer.put_u8(0);
        buffer.put_u32(u32::try_from(length).ok()?);
        head.encode(&mut buffer).ok()?;
        Some(Self {
            buffer,
            resources: resources.into_iter(),
            named,
            shared: None,
        })
    }

    /// Everything of a resource but its body.
    fn begin(&mut self, resource: &Resource) {
        let length = inner_length(resource, self.named);
        encode_key(RESOURCES, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(length as u64, &mut self.buffer);
        if self.named {
            if !resource.name.is_empty() {
                encode_key(NAME, WireType::LengthDelimited, &mut self.buffer);
                encode_varint(resource.name.len() as u64, &mut self.buffer);
                self.buffer.put_slice(resource.name.as_bytes());
            }
            encode_key(BODY, WireType::LengthDelimited, &mut self.buffer);
            encode_varint(resource.body.len() as u64, &mut self.buffer);
        }
    }

    fn flush(&mut self) -> Option<Bytes> {
        // A fresh buffer: one split off would keep the memory of all that was sent from it.
        (!self.buffer.is_empty()).then(|| std::mem::take(&mut self.buffer).freeze())
    }
}

/// Length of a resource's field: the bare `Any` in SotW, name and `Any` in delta.
fn inner_length(resource: &Resource, named: bool) -> usize {
    let body = resource.body.len();
    if !named {
        return body;
    }
    let delimited =
        |tag: u32, length: usize| key_len(tag) + encoded_len_varint(length as u64) + length;
    let name = if resource.name.is_empty() {
        0
    } else {
        delimited(NAME, resource.name.len())
    };
    name + delimited(BODY, body)
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(shared) = self.shared.take() {
            return Some(shared);
        }
        while self.buffer.len() < PIECE {
            let Some(resource) = self.resources.next() else {
                break;
            };
            self.begin(&resource);
            if resource.body.len() >= SHARED {
                self.shared = Some(resource.body);
                break;
            }
            self.buffer.put_slice(&resource.body);
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::service::discovery::v3 as discovery;

    use super::*;
    use crate::any;

    fn message(frames: Frames) -> (Vec<u8>, usize) {
        let pieces: Vec<Bytes> = frames.collect();
        let whole = pieces.concat();
        let length = u32::from_be_bytes([whole[1], whole[2], whole[3], whole[4]]) as usize;
        assert_eq!((whole[0], length), (0, whole.len() - 5));
        (whole[5..].to_vec(), pieces.len())
    }

    fn clusters() -> Vec<Cluster> {
        let named = |i: usize, size: usize| Cluster {
            name: format!("c{i}"),
            alt_stat_name: "x".repeat(size),
            ..Cluster::default()
        };
        (0..300)
            .map(|i| named(i, 400))
            .chain([named(300, 20_000), named(301, 20_000), named(302, 1)])
            .collect()
    }

    fn resources(clusters: &[Cluster]) -> Vec<Resource> {
        clusters
            .iter()
            .map(|c| Resource {
                name: c.name.clone(),
                body: any::pack_bytes(c),
            })
            .collect()
    }

    #[test]
    fn pieces_make_a_delta_response() {
        let clusters = clusters();
        let control_plane = Some(ControlPlane {
            identifier: "me".into(),
        });
        let head = DeltaResponse {
            system_version_info: "v".into(),
            type_url: "t".into(),
            nonce: "n".into(),
            removed_resources: vec!["gone".into()],
            control_plane: control_plane.clone(),
        };
        let shared = resources(&clusters);
        let (bytes, pieces) = message(head.frames(shared.clone()).unwrap());
        assert!(pieces > 5, "{pieces}");
        let read = discovery::DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        let expected: Vec<_> = clusters
            .iter()
            .map(|c| (c.name.clone(), Some(any::pack(c))))
            .collect();
        assert_eq!(
            read.resources
                .iter()
                .map(|r| (r.name.clone(), r.resource.clone()))
                .collect::<Vec<_>>(),
            expected
        );
        assert!(read.resources.iter().all(|r| r.version.is_empty()));
        assert_eq!(
            (
                read.nonce.as_str(),
                read.type_url.as_str(),
                read.system_version_info.as_str()
            ),
            ("n", "t", "v")
        );
        assert_eq!(
            (read.removed_resources, read.control_plane),
            (vec!["gone".to_owned()], control_plane)
        );
        let big = shared[300].body.as_ptr();
        assert!(
            head.frames(shared)
                .unwrap()
                .any(|piece| piece.as_ptr() == big),
            "large bodies are not copied"
        );
    }

    #[test]
    fn pieces_make_a_sotw_response() {
        let clusters = clusters();
        let head = Response {
            version_info: "v".into(),
            type_url: "t".into(),
            nonce: "n".into(),
            control_plane: None,
        };
        let (bytes, _) = message(head.frames(resources(&clusters)).unwrap());
        let read = discovery::DiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(
            read.resources,
            clusters.iter().map(any::pack).collect::<Vec<_>>()
        );
        assert_eq!(
            (
                read.version_info.as_str(),
                read.type_url.as_str(),
                read.nonce.as_str()
            ),
            ("v", "t", "n")
        );
        assert_eq!(message(head.frames(Vec::new()).unwrap()).1, 1);
    }
}
