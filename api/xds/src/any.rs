//! `google.protobuf.Any`: packing, unpacking with a check of the type, and `TypedStruct`.

use bytes::Bytes;
use envoy_types::pb::google::protobuf::{Any, Struct};
use prost::{Message, Name};

use crate::{canonical, pb};

pub use crate::canonical::full_name;

/// Why an `Any` could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum AnyError {
    /// It holds another message.
    #[error("expected {expected}, found {found:?}")]
    Type {
        /// Full name that was asked for.
        expected: String,
        /// Full name that the type URL gives.
        found: String,
    },
    /// Its bytes are no such message.
    #[error("malformed {name}: {source}")]
    Decode {
        /// Full name of the message.
        name: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}

/// Whether `any` says that it holds an `M`.
#[must_use]
pub fn holds<M: Name>(any: &Any) -> bool {
    full_name(&any.type_url) == M::full_name()
}

/// Packs a message; equal messages give equal bytes ([`canonical`]).
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: encode(message),
    }
}

/// The encoding of the `Any` that [`pack`] gives, ready to be shared between streams.
#[must_use]
pub fn pack_bytes<M: Message + Name>(message: &M) -> Bytes {
    pack(message).encode_to_vec().into()
}

/// The encoding of a message with its maps in order.
#[must_use]
pub fn encode<M: Message + Name>(message: &M) -> Vec<u8> {
    let mut value = message.encode_to_vec();
    canonical::sort_maps(&M::full_name(), &mut value);
    value
}

/// Unpacks an `M`.
///
/// # Errors
/// When the type URL names another message, or the bytes are malformed.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, AnyError> {
    if !holds::<M>(any) {
        return Err(AnyError::Type {
            expected: M::full_name(),
            found: full_name(&any.type_url).to_owned(),
        });
    }
    M::decode(any.value.as_slice()).map_err(|source| AnyError::Decode {
        name: M::full_name(),
        source,
    })
}

/// A `udpa.type.v1.TypedStruct`: the message `type_url` by its JSON form.
#[must_use]
pub fn typed_struct(type_url: &str, value: Struct) -> Any {
    pack(&pb::udpa::r#type::v1::TypedStruct {
        type_url: type_url.to_owned(),
        value: Some(value),
    })
}

/// What a `TypedStruct` (of udpa or xds) holds: type URL and fields; `None` when `any` is something else.
///
/// # Errors
/// When the bytes are malformed.
pub fn as_typed_struct(any: &Any) -> Result<Option<(String, Struct)>, AnyError> {
    let inner = if holds::<pb::udpa::r#type::v1::TypedStruct>(any) {
        let message = unpack::<pb::udpa::r#type::v1::TypedStruct>(any)?;
        (message.type_url, message.value)
    } else if holds::<pb::xds::r#type::v3::TypedStruct>(any) {
        let message = unpack::<pb::xds::r#type::v3::TypedStruct>(any)?;
        (message.type_url, message.value)
    } else {
        return Ok(None);
    };
    Ok(Some((inner.0, inner.1.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::listener::v3::Listener;

    use super::*;

    #[test]
    fn types_are_checked() {
        let cluster = Cluster {
            name: "a".into(),
            ..Default::default()
        };
        let any = pack(&cluster);
        assert_eq!(
            any.type_url,
            "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        );
        assert_eq!(unpack::<Cluster>(&any).unwrap(), cluster);
        let error = unpack::<Listener>(&any).unwrap_err().to_string();
        assert_eq!(
            error,
            "expected envoy.config.listener.v3.Listener, found \"envoy.config.cluster.v3.Cluster\""
        );
        let broken = Any {
            value: vec![0xff],
            ..any
        };
        assert!(
            unpack::<Cluster>(&broken)
                .unwrap_err()
                .to_string()
                .starts_with("malformed envoy.config.cluster.v3.Cluster")
        );
    }

    #[test]
    fn typed_structs_of_both_families() {
        let fields =
            crate::structs::from_json(&serde_json::json!({"protocol": "istio-peer-exchange"}))
                .unwrap();
        let any = typed_struct("type.googleapis.com/x.Y", fields.clone());
        assert_eq!(any.type_url, "type.googleapis.com/udpa.type.v1.TypedStruct");
        assert_eq!(
            as_typed_struct(&any).unwrap(),
            Some(("type.googleapis.com/x.Y".into(), fields.clone()))
        );
        let newer = Any {
            type_url: "type.googleapis.com/xds.type.v3.TypedStruct".into(),
            value: any.value,
        };
        assert_eq!(
            as_typed_struct(&newer).unwrap(),
            Some(("type.googleapis.com/x.Y".into(), fields))
        );
        assert!(
            as_typed_struct(&pack(&Cluster::default()))
                .unwrap()
                .is_none()
        );
    }
}
