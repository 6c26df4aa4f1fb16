//! Message to JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage,
    SerializeOptions, Value as Field,
};
use serde_json::{Map, Number, Value};

use super::error::{JsonError, MAX_DEPTH};
use crate::any::full_name;

const ANY: &str = "google.protobuf.Any";

/// How field names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `connect_timeout`, as Envoy's admin pages do.
    Proto,
    /// `connectTimeout`, as istioctl's tables do.
    Json,
}

/// An `Any` by its parts.
pub(super) fn any(
    pool: &DescriptorPool,
    type_url: &str,
    value: &[u8],
    naming: Naming,
) -> Result<Value, JsonError> {
    Writer { pool, naming }.any(type_url, value, 0)
}

/// A message, without `@type`.
pub(super) fn message(
    message: &DynamicMessage,
    pool: &DescriptorPool,
    naming: Naming,
) -> Result<Value, JsonError> {
    Writer { pool, naming }.message(message, 0)
}

struct Writer<'a> {
    pool: &'a DescriptorPool,
    naming: Naming,
}

impl Writer<'_> {
    fn message(&self, message: &DynamicMessage, depth: usize) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        let name = message.descriptor().full_name().to_owned();
        if name == ANY {
            let url = message.get_field_by_number(1);
            let value = message.get_field_by_number(2);
            let url = url
                .as_ref()
                .and_then(|url| url.as_str())
                .unwrap_or_default();
            let value = value
                .as_ref()
                .and_then(|value| value.as_bytes())
                .map(AsRef::as_ref)
                .unwrap_or_default();
            return self.any(url, value, depth);
        }
        if name.starts_with("google.protobuf.") {
            return well_known(message, &name);
        }
        let mut object = Map::new();
        for (field, value) in message.fields() {
            let key = if self.naming == Naming::Proto {
                field.name()
            } else {
                field.json_name()
            };
            object.insert(key.to_owned(), self.field(&field, value, depth)?);
        }
        Ok(Value::Object(object))
    }

    fn any(&self, type_url: &str, value: &[u8], depth: usize) -> Result<Value, JsonError> {
        let name = full_name(type_url);
        let mut object = Map::new();
        if !type_url.is_empty() {
            object.insert("@type".to_owned(), type_url.into());
        }
        let Some(descriptor) = self.pool.get_message_by_name(name) else {
            if !type_url.is_empty() || !value.is_empty() {
                object.insert("value".to_owned(), STANDARD.encode(value).into());
            }
            return Ok(Value::Object(object));
        };
        let inner =
            DynamicMessage::decode(descriptor, value).map_err(|error| JsonError::Decode {
                name: name.to_owned(),
                reason: error.to_string(),
            })?;
        match self.message(&inner, depth + 1)? {
            Value::Object(fields) if !has_special_form(name) => object.extend(fields),
            special => {
                object.insert("value".to_owned(), special);
            }
        }
        Ok(Value::Object(object))
    }

    fn field(
        &self,
        field: &FieldDescriptor,
        value: &Field,
        depth: usize,
    ) -> Result<Value, JsonError> {
        match value {
            Field::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.single(&field.kind(), item, depth));
                Ok(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Field::Map(entries) => {
                let Kind::Message(entry) = field.kind() else {
                    return Ok(Value::Null);
                };
                let kind = entry.map_entry_value_field().kind();
                let mut named: Vec<(String, &Field)> = entries
                    .iter()
                    .map(|(key, value)| (map_key(key), value))
                    .collect();
                named.sort_by(|a, b| a.0.cmp(&b.0));
                let named = named
                    .into_iter()
                    .map(|(key, value)| Ok((key, self.single(&kind, value, depth)?)));
                Ok(Value::Object(named.collect::<Result<_, JsonError>>()?))
            }
            single => self.single(&field.kind(), single, depth),
        }
    }

    fn single(&self, kind: &Kind, value: &Field, depth: usize) -> Result<Value, JsonError> {
        Ok(match value {
            Field::Message(message) => self.message(message, depth + 1)?,
            Field::EnumNumber(number) => enum_name(kind, *number),
            Field::Bool(flag) => (*flag).into(),
            Field::I32(number) => (*number).into(),
            Field::U32(number) => (*number).into(),
            Field::I64(number) => number.to_string().into(),
            Field::U64(number) => number.to_string().into(),
            Field::F32(number) => float(f64::from(*number)),
            Field::F64(number) => float(*number),
            Field::String(text) => text.as_str().into(),
            Field::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Field::List(_) | Field::Map(_) => Value::Null,
        })
    }
}

/// Well-known types other than Empty stand under `value` inside an Any.
pub(super) fn has_special_form(name: &str) -> bool {
    name.starts_with("google.protobuf.") && name != "google.protobuf.Empty"
}

fn well_known(message: &DynamicMessage, name: &str) -> Result<Value, JsonError> {
    message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|error| JsonError::Decode {
            name: name.to_owned(),
            reason: error.to_string(),
        })
}

fn enum_name(kind: &Kind, number: i32) -> Value {
    let named = kind
        .as_enum()
        .and_then(|kind| kind.get_value(number).map(|value| value.name().to_owned()));
    named.map_or_else(|| number.into(), Value::String)
}

fn float(number: f64) -> Value {
    if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        (if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
        .into()
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
