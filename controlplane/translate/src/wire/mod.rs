//! Building blocks of xDS messages: scalars, addresses, metadata, and packing.

mod values;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use lateen_controlplane_model::generate::Resource;
use prost::{Message, Name};

pub(crate) use lateen_xds::any::pack;
pub(crate) use values::*;

/// Packs a message as a resource; equal messages give equal versions.
pub(crate) fn resource<M: Message + Name>(name: &str, message: &M) -> Resource {
    let body: Bytes = lateen_xds::any::pack_bytes(message);
    Resource {
        name: Arc::from(name),
        version: content_hash(&body),
        body,
    }
}

/// A hash that stays the same across runs of one build.
fn content_hash(bytes: &[u8]) -> u64 {
    // `DefaultHasher::new` has fixed keys, unlike the hashers of maps.
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
