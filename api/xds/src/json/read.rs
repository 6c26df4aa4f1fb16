//! JSON to message.
//!
//! Messages are walked here, so that each error names its place and an unknown `Any` can be kept; single scalars and the
//! well-known types are left to prost-reflect, which knows their many spellings.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value as Field,
};
use serde_json::{Map, Value};

use super::error::{JsonError, MAX_DEPTH};
use super::write::has_special_form;
use crate::any::full_name;

const ANY: &str = "google.protobuf.Any";

include!(concat!(env!("OUT_DIR"), "/frozen.rs"));

/// Something that is tolerated in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What it is.
    pub kind: RemarkKind,
    /// Where in the document, such as `.filter_chains[0]`; empty for the message itself.
    pub path: String,
}

/// What is tolerated in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemarkKind {
    /// A field that the message does not have.
    UnknownField {
        /// The key.
        field: String,
        /// Full name of the message.
        message: String,
    },
    /// A message of a version that is not developed further.
    Frozen {
        /// Full name of the message.
        message: String,
    },
    /// An extension without `typed_config`.
    NoTypedConfig {
        /// Full name of the message.
        message: String,
    },
}

/// Reads a message of the given type.
pub(super) fn message(
    pool: &DescriptorPool,
    descriptor: &MessageDescriptor,
    value: &Value,
) -> Result<DynamicMessage, JsonError> {
    let reader = Reader {
        pool,
        remarks: None,
    };
    reader.message(descriptor, value, &Place::root())
}

/// Reads a message of the given type and remarks on what is tolerated: unknown fields are skipped, an `Any` of unknown type is not.
pub(super) fn message_with_remarks(
    pool: &DescriptorPool,
    descriptor: &MessageDescriptor,
    value: &Value,
) -> Result<Vec<Remark>, JsonError> {
    let remarks = RefCell::new(Vec::new());
    let reader = Reader {
        pool,
        remarks: Some(&remarks),
    };
    reader.message(descriptor, value, &Place::root())?;
    Ok(remarks.into_inner())
}

struct Reader<'a> {
    pool: &'a DescriptorPool,
    /// What is tolerated; `None` where nothing is.
    remarks: Option<&'a RefCell<Vec<Remark>>>,
}

/// Where in the document.
struct Place {
    depth: usize,
    path: String,
}

impl Place {
    const fn root() -> Self {
        Self {
            depth: 0,
            path: String::new(),
        }
    }

    fn field(&self, name: &str) -> Self {
        Self {
            depth: self.depth + 1,
            path: format!("{}.{name}", self.path),
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            depth: self.depth + 1,
            path: format!("{}[{index}]", self.path),
        }
    }

    fn key(&self, key: &str) -> Self {
        Self {
            depth: self.depth + 1,
            path: format!("{}[{key:?}]", self.path),
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> JsonError {
        JsonError::Value {
            reason: reason.into(),
            path: self.path.clone(),
        }
    }
}

impl Reader<'_> {
    fn message(
        &self,
        descriptor: &MessageDescriptor,
        value: &Value,
        place: &Place,
    ) -> Result<DynamicMessage, JsonError> {
        if place.depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        if descriptor.full_name() == ANY {
            return self.any(descriptor, value, place);
        }
        if descriptor.full_name().starts_with("google.protobuf.") {
            return plain(descriptor, value, place);
        }
        let object = value
            .as_object()
            .ok_or_else(|| place.wrong(format!("{} must be an object", descriptor.full_name())))?;
        let mut read = DynamicMessage::new(descriptor.clone());
        for (key, value) in object {
            let field = descriptor
                .get_field_by_json_name(key)
                .or_else(|| descriptor.get_field_by_name(key));
            let Some(field) = field else {
                self.unknown_field(descriptor, key, place)?;
                continue;
            };
            self.set(&mut read, &field, value, &place.field(key))?;
        }
        self.remark_on_type(descriptor, object, place);
        Ok(read)
    }

    fn unknown_field(
        &self,
        descriptor: &MessageDescriptor,
        key: &str,
        place: &Place,
    ) -> Result<(), JsonError> {
        let (field, message, path) = (
            key.to_owned(),
            descriptor.full_name().to_owned(),
            place.path.clone(),
        );
        match self.remarks {
            None => Err(JsonError::UnknownField {
                field,
                message,
                path,
            }),
            Some(remarks) => {
                remarks.borrow_mut().push(Remark {
                    kind: RemarkKind::UnknownField { field, message },
                    path,
                });
                Ok(())
            }
        }
    }

    /// Remarks on a message that carries no configuration where it should, or that is of a version that is not developed further.
    fn remark_on_type(
        &self,
        descriptor: &MessageDescriptor,
        object: &Map<String, Value>,
        place: &Place,
    ) {
        let Some(remarks) = self.remarks else { return };
        let message = || descriptor.full_name().to_owned();
        let has = |name: &str| {
            descriptor.get_field_by_name(name).is_some_and(|field| {
                object.contains_key(field.name()) || object.contains_key(field.json_name())
            })
        };
        let remark = |kind| {
            remarks.borrow_mut().push(Remark {
                kind,
                path: place.path.clone(),
            });
        };
        if descriptor.get_field_by_name("typed_config").is_some()
            && !has("typed_config")
            && !has("config_discovery")
        {
            remark(RemarkKind::NoTypedConfig { message: message() });
        }
        if FROZEN_PACKAGES.contains(&descriptor.package_name()) {
            remark(RemarkKind::Frozen { message: message() });
        }
    }

    fn set(
        &self,
        read: &mut DynamicMessage,
        field: &FieldDescriptor,
        value: &Value,
        place: &Place,
    ) -> Result<(), JsonError> {
        if value.is_null()
            && !matches!(field.kind(), Kind::Message(kind) if kind.full_name() == "google.protobuf.Value")
        {
            return Ok(());
        }
        let taken =
            |other: FieldDescriptor| other.number() != field.number() && read.has_field(&other);
        if field
            .containing_oneof()
            .is_some_and(|oneof| oneof.fields().any(taken))
            || read.has_field(field)
        {
            return Err(place.wrong("set twice, or beside a field that excludes it"));
        }
        let value = match field.kind() {
            Kind::Message(entry) if field.is_map() => self.map(&entry, field, value, place)?,
            Kind::Message(kind) if field.is_list() => {
                let items = value
                    .as_array()
                    .ok_or_else(|| place.wrong("a list is needed"))?
                    .iter()
                    .enumerate();
                let items = items.map(|(i, item)| {
                    Ok(Field::Message(self.message(&kind, item, &place.item(i))?))
                });
                Field::List(items.collect::<Result<_, JsonError>>()?)
            }
            Kind::Message(kind) => Field::Message(self.message(&kind, value, place)?),
            _ => scalar(field, value, place)?,
        };
        read.set_field(field, value);
        Ok(())
    }

    fn map(
        &self,
        entry: &MessageDescriptor,
        field: &FieldDescriptor,
        value: &Value,
        place: &Place,
    ) -> Result<Field, JsonError> {
        let Kind::Message(kind) = entry.map_entry_value_field().kind() else {
            return scalar(field, value, place);
        };
        if entry.map_entry_key_field().kind() != Kind::String {
            return scalar(field, value, place);
        }
        let object = value
            .as_object()
            .ok_or_else(|| place.wrong("an object is needed"))?;
        let entries = object.iter().map(|(key, value)| {
            let message = self.message(&kind, value, &place.key(key))?;
            Ok((MapKey::String(key.clone()), Field::Message(message)))
        });
        Ok(Field::Map(entries.collect::<Result<_, JsonError>>()?))
    }

    fn any(
        &self,
        descriptor: &MessageDescriptor,
        value: &Value,
        place: &Place,
    ) -> Result<DynamicMessage, JsonError> {
        let object = value
            .as_object()
            .ok_or_else(|| place.wrong("an object with @type is needed"))?;
        let mut read = DynamicMessage::new(descriptor.clone());
        if object.is_empty() {
            return Ok(read);
        }
        let url = object
            .get("@type")
            .and_then(Value::as_str)
            .ok_or_else(|| place.wrong("@type is missing"))?;
        let name = full_name(url);
        let mut fields = object.clone();
        fields.remove("@type");
        let bytes = match self.pool.get_message_by_name(name) {
            Some(inner) if has_special_form(name) => {
                let value = fields.remove("value").unwrap_or_default();
                if let Some(key) = fields.keys().next() {
                    return Err(place.wrong(format!(
                        "only value may stand beside @type of {name}, found {key:?}"
                    )));
                }
                encode(&self.message(&inner, &value, &place.field("value"))?)
            }
            Some(inner) => encode(&self.message(
                &inner,
                &Value::Object(fields),
                &Place {
                    depth: place.depth + 1,
                    path: place.path.clone(),
                },
            )?),
            None => opaque(&fields)
                .filter(|_| self.remarks.is_none())
                .ok_or_else(|| JsonError::UnknownType {
                    name: name.to_owned(),
                    path: place.path.clone(),
                })?,
        };
        read.set_field_by_number(1, Field::String(url.to_owned()));
        read.set_field_by_number(2, Field::Bytes(bytes.into()));
        Ok(read)
    }
}

/// The bytes of a message of unknown type, as the writer gives them.
fn opaque(fields: &Map<String, Value>) -> Option<Vec<u8>> {
    let value = fields.get("value").filter(|_| fields.len() == 1)?;
    STANDARD.decode(value.as_str()?).ok()
}

fn plain(
    descriptor: &MessageDescriptor,
    value: &Value,
    place: &Place,
) -> Result<DynamicMessage, JsonError> {
    DynamicMessage::deserialize(descriptor.clone(), value)
        .map_err(|error| place.wrong(error.to_string()))
}

/// A field by itself, in an object of its own.
fn scalar(field: &FieldDescriptor, value: &Value, place: &Place) -> Result<Field, JsonError> {
    let mut object = Map::new();
    object.insert(field.json_name().to_owned(), value.clone());
    let mut read = plain(field.parent_message(), &Value::Object(object), place)?;
    Ok(read
        .take_field(field)
        .unwrap_or_else(|| Field::default_value_for_field(field)))
}

/// The encoding with maps in order.
pub(super) fn encode(message: &DynamicMessage) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    crate::canonical::sort_maps(message.descriptor().full_name(), &mut bytes);
    bytes
}
