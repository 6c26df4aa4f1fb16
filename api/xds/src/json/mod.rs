//! Proto JSON both ways, for bootstrap files and configuration dumps.
//!
//! Reading and writing need descriptors of every message; a pool of them takes memory and time to build, so [`Codec`] is
//! built when JSON is read or written and dropped afterwards: nothing of it stays at rest. The set holds what the build
//! script lists in `build/roots.rs`.

mod error;
mod read;
mod write;

use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

pub use error::{JsonError, MAX_DEPTH};
pub use read::{Remark, RemarkKind};
pub use write::Naming;

use crate::any;

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Every message of Envoy's API, for configuration that users write themselves.
static ALL_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/all.bin"));

/// Reads and writes proto JSON; holds the pool, so drop it when done.
pub struct Codec {
    pool: DescriptorPool,
}

impl Codec {
    /// Builds the pool; it takes milliseconds, so one codec should serve a whole document.
    ///
    /// # Errors
    /// When the built-in descriptors are malformed.
    pub fn new() -> Result<Self, JsonError> {
        let pool = DescriptorPool::decode(DESCRIPTORS)
            .map_err(|error| JsonError::Descriptors(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Builds a pool of every message of Envoy's API, some 60 ms and 50 MiB.
    ///
    /// # Errors
    /// When the built-in descriptors are malformed.
    pub fn of_all_messages() -> Result<Self, JsonError> {
        let pool = DescriptorPool::decode(ALL_DESCRIPTORS)
            .map_err(|error| JsonError::Descriptors(error.to_string()))?;
        Ok(Self { pool })
    }

    /// Reads a message as Istio reads the values of patches: unknown fields are skipped, an `Any` of unknown type is refused. Gives
    /// what was tolerated.
    ///
    /// # Errors
    /// Unknown type, a value that does not fit; each with its place in the document.
    pub fn check(&self, type_name: &str, value: &Value) -> Result<Vec<Remark>, JsonError> {
        let name = any::full_name(type_name);
        read::message_with_remarks(&self.pool, &self.descriptor(name, "")?, value)
    }

    /// Reads a message named by its full name or type URL.
    ///
    /// # Errors
    /// Unknown type, unknown field, a value that does not fit; each with its place in the document.
    pub fn read(&self, type_name: &str, value: &Value) -> Result<Any, JsonError> {
        let name = any::full_name(type_name);
        let message = read::message(&self.pool, &self.descriptor(name, "")?, value)?;
        Ok(Any {
            type_url: format!("{}{name}", crate::names::PREFIX),
            value: read::encode(&message),
        })
    }

    /// Reads an `Any`: an object whose `@type` names the message.
    ///
    /// # Errors
    /// As [`Codec::read`]; an unknown type is allowed with a base64 `value` alone.
    pub fn read_any(&self, value: &Value) -> Result<Any, JsonError> {
        let packed = self.read("google.protobuf.Any", value)?;
        decode("google.protobuf.Any", &packed.value)
    }

    /// Reads a typed message.
    ///
    /// # Errors
    /// As [`Codec::read`].
    pub fn read_message<M: Message + Name + Default>(&self, value: &Value) -> Result<M, JsonError> {
        let packed = self.read(&M::full_name(), value)?;
        decode(&M::full_name(), &packed.value)
    }

    /// Writes an `Any` with its `@type`; messages of unknown type inside become `@type` and a base64 `value`.
    ///
    /// # Errors
    /// Malformed bytes, or nesting beyond the cap.
    pub fn write(&self, any: &Any, naming: Naming) -> Result<Value, JsonError> {
        write::any(&self.pool, &any.type_url, &any.value, naming)
    }

    /// Writes a typed message, without `@type`.
    ///
    /// # Errors
    /// As [`Codec::write`], and when the type is not in the set.
    pub fn write_message<M: Message + Name>(
        &self,
        message: &M,
        naming: Naming,
    ) -> Result<Value, JsonError> {
        let name = M::full_name();
        let bytes = message.encode_to_vec();
        let read = DynamicMessage::decode(self.descriptor(&name, "")?, bytes.as_slice());
        let message = read.map_err(|error| JsonError::Decode {
            name,
            reason: error.to_string(),
        })?;
        write::message(&message, &self.pool, naming)
    }

    /// The descriptors.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Whether the set holds a message, by full name or type URL.
    #[must_use]
    pub fn knows(&self, type_name: &str) -> bool {
        self.pool
            .get_message_by_name(any::full_name(type_name))
            .is_some()
    }

    fn descriptor(&self, name: &str, path: &str) -> Result<MessageDescriptor, JsonError> {
        let unknown = || JsonError::UnknownType {
            name: name.chars().take(256).collect(),
            path: path.to_owned(),
        };
        self.pool.get_message_by_name(name).ok_or_else(unknown)
    }
}

/// Reads one message of a type given by full name or type URL; see [`Codec::read`].
///
/// # Errors
/// As [`Codec::read`].
pub fn from_json(type_name: &str, value: &Value) -> Result<Any, JsonError> {
    Codec::new()?.read(type_name, value)
}

/// Writes one `Any`; see [`Codec::write`].
///
/// # Errors
/// As [`Codec::write`].
pub fn to_json(any: &Any, naming: Naming) -> Result<Value, JsonError> {
    Codec::new()?.write(any, naming)
}

/// Reads one typed message; see [`Codec::read_message`].
///
/// # Errors
/// As [`Codec::read`].
pub fn message_from_json<M: Message + Name + Default>(value: &Value) -> Result<M, JsonError> {
    Codec::new()?.read_message(value)
}

/// Writes one typed message; see [`Codec::write_message`].
///
/// # Errors
/// As [`Codec::write_message`].
pub fn message_to_json<M: Message + Name>(message: &M, naming: Naming) -> Result<Value, JsonError> {
    Codec::new()?.write_message(message, naming)
}

fn decode<M: Message + Default>(name: &str, bytes: &[u8]) -> Result<M, JsonError> {
    M::decode(bytes).map_err(|error| JsonError::Decode {
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
