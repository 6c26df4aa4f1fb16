//! Peer metadata in headers: `x-envoy-peer-metadata` (base64 of a serialized `google.protobuf.Struct`) and
//! `x-envoy-peer-metadata-id` (contract: telemetry, peer metadata exchange).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_telemetry::{Peer, PeerFields};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The metadata itself.
pub(crate) static METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
/// The id of who sent it.
pub(crate) static METADATA_ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");

/// Peers remembered by one worker; beyond that the memory starts anew.
const PEERS: usize = 4096;
/// Bytes of a metadata header that are looked at.
const MAX_METADATA: usize = 16 * 1024;
/// Bytes of an id that is remembered.
const MAX_ID: usize = 256;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What this proxy says of itself, encoded once.
#[derive(Clone, Debug)]
pub struct OwnMetadata {
    id: HeaderValue,
    metadata: HeaderValue,
}

/// Peers by their id. The id is the peer's own claim: it only saves decoding, a peer that sends other metadata under a
/// known id replaces the entry.
#[derive(Debug, Default)]
pub(crate) struct PeerCache(RefCell<HashMap<HeaderValue, (HeaderValue, Arc<Peer>), RandomState>>);

/// Metadata headers of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchanged {
    id: Option<HeaderValue>,
    metadata: Option<HeaderValue>,
}

impl OwnMetadata {
    /// Encodes the metadata of node `id`; `None` when the id cannot stand in a header.
    pub fn new(id: &str, fields: &PeerFields) -> Option<Self> {
        let bytes = encode(fields).encode_to_vec();
        Some(Self {
            id: HeaderValue::from_str(id).ok()?,
            metadata: HeaderValue::try_from(BASE64.encode(bytes)).ok()?,
        })
    }

    /// Puts both headers in.
    pub(crate) fn send(&self, headers: &mut HeaderMap) {
        headers.insert(&METADATA_ID, self.id.clone());
        headers.insert(&METADATA, self.metadata.clone());
    }

    /// Answers a peer: with the id alone when it sent no metadata itself, as it then has ours in its cache.
    pub(crate) fn answer(&self, to: &Exchanged, headers: &mut HeaderMap) {
        if to.id.is_some() {
            headers.insert(&METADATA_ID, self.id.clone());
        }
        if to.metadata.is_some() {
            headers.insert(&METADATA, self.metadata.clone());
        }
    }
}

impl Exchanged {
    /// Takes the headers out of a message.
    pub(crate) fn take(headers: &mut HeaderMap) -> Self {
        Self {
            id: headers.remove(&METADATA_ID),
            metadata: headers.remove(&METADATA),
        }
    }

    /// Puts the headers where they were taken from.
    pub(crate) fn put_back(self, headers: &mut HeaderMap) {
        for (name, value) in [(&METADATA_ID, self.id), (&METADATA, self.metadata)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

impl PeerCache {
    /// Who sent these headers.
    pub(crate) fn find(&self, from: &Exchanged) -> Option<Arc<Peer>> {
        if let Some(id) = &from.id
            && let Some((metadata, peer)) = self.0.borrow().get(id)
            && from.metadata.as_ref().is_none_or(|sent| sent == metadata)
        {
            return Some(Arc::clone(peer));
        }
        let metadata = from.metadata.as_ref()?;
        let peer = Arc::new(Peer::new(decode(metadata)?));
        if let Some(id) = from.id.as_ref().filter(|id| id.len() <= MAX_ID) {
            let mut known = self.0.borrow_mut();
            if known.len() >= PEERS {
                known.clear();
            }
            known.insert(id.clone(), (metadata.clone(), Arc::clone(&peer)));
        }
        Some(peer)
    }
}

/// The metadata as its `Struct`, for headers and for the frames of TCP connections.
pub(crate) fn encode(fields: &PeerFields) -> Struct {
    let labels = [
        ("app", &fields.app),
        ("version", &fields.version),
        ("service.istio.io/canonical-name", &fields.canonical_name),
        (
            "service.istio.io/canonical-revision",
            &fields.canonical_revision,
        ),
    ];
    let mut out = texts(&[
        ("WORKLOAD_NAME", &fields.workload),
        ("NAMESPACE", &fields.namespace),
        ("CLUSTER_ID", &fields.cluster),
    ]);
    out.fields.insert(
        "LABELS".to_owned(),
        Value {
            kind: Some(Kind::StructValue(texts(&labels))),
        },
    );
    out
}

fn texts(pairs: &[(&str, &String)]) -> Struct {
    let given = pairs.iter().filter(|(_, text)| !text.is_empty());
    Struct {
        fields: given
            .map(|(key, text)| {
                let kind = Some(Kind::StringValue((*text).clone()));
                ((*key).to_owned(), Value { kind })
            })
            .collect(),
    }
}

fn decode(header: &HeaderValue) -> Option<PeerFields> {
    if header.len() > MAX_METADATA {
        return None;
    }
    let bytes = BASE64.decode(header.as_bytes()).ok()?;
    Struct::decode(&bytes[..])
        .ok()
        .map(|metadata| fields_of(&metadata))
}

/// What a peer's `Struct` says.
pub(crate) fn fields_of(metadata: &Struct) -> PeerFields {
    let empty = Struct::default();
    let labels = match metadata
        .fields
        .get("LABELS")
        .and_then(|it| it.kind.as_ref())
    {
        Some(Kind::StructValue(labels)) => labels,
        _ => &empty,
    };
    PeerFields {
        workload: text(metadata, "WORKLOAD_NAME"),
        namespace: text(metadata, "NAMESPACE"),
        cluster: text(metadata, "CLUSTER_ID"),
        canonical_name: text(labels, "service.istio.io/canonical-name"),
        canonical_revision: text(labels, "service.istio.io/canonical-revision"),
        app: text(labels, "app"),
        version: text(labels, "version"),
    }
}

fn text(from: &Struct, key: &str) -> String {
    match from.fields.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

/// What a fuzzer calls with the value of `x-envoy-peer-metadata`: whether it names a peer.
pub fn fuzz(value: &[u8]) -> bool {
    HeaderValue::from_bytes(value).is_ok_and(|value| decode(&value).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reviews() -> PeerFields {
        PeerFields {
            workload: "reviews-v2".into(),
            namespace: "default".into(),
            canonical_name: "reviews".into(),
            canonical_revision: "v2".into(),
            app: "reviews".into(),
            version: "v2".into(),
            cluster: "Kubernetes".into(),
        }
    }

    #[test]
    fn a_peer_is_known_by_its_id_after_it_was_seen_once() {
        let own = OwnMetadata::new("sidecar~10.0.0.1~reviews-v2~x", &reviews()).expect("encodes");
        let mut headers = HeaderMap::new();
        own.send(&mut headers);
        let cache = PeerCache::default();
        let mut again = headers.clone();
        let first = cache.find(&Exchanged::take(&mut headers)).expect("decodes");
        assert_eq!(first.fields(), &reviews());
        assert!(headers.is_empty());
        again.remove(&METADATA);
        let second = cache.find(&Exchanged::take(&mut again)).expect("known");
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn an_id_alone_is_answered_by_an_id_alone() {
        let own = OwnMetadata::new("me", &reviews()).expect("encodes");
        let asked = Exchanged {
            id: Some(HeaderValue::from_static("you")),
            metadata: None,
        };
        let mut headers = HeaderMap::new();
        own.answer(&asked, &mut headers);
        assert!(headers.contains_key(&METADATA_ID) && !headers.contains_key(&METADATA));
    }

    #[test]
    fn junk_names_nobody() {
        let cache = PeerCache::default();
        for junk in ["%%%", "AAAA", "Cg=="] {
            let from = Exchanged {
                id: None,
                metadata: HeaderValue::from_str(junk).ok(),
            };
            let found = cache.find(&from);
            assert!(found.is_none_or(|peer| peer.fields().workload == "unknown"));
        }
    }
}
