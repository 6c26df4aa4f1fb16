//! `google.protobuf.Struct` to JSON and back.

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value as Proto};
use serde_json::{Map, Number, Value};

/// Deepest nesting that is read.
pub const MAX_DEPTH: usize = 64;

/// Why a value has no counterpart.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StructError {
    /// The outermost value is no object.
    #[error("a JSON object is needed, not another value")]
    NotObject,
    /// Nesting beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// A JSON object as a `Struct`.
///
/// # Errors
/// When the value is no object or is nested too deep.
pub fn from_json(value: &Value) -> Result<Struct, StructError> {
    let object = value.as_object().ok_or(StructError::NotObject)?;
    fields_from_json(object, 0)
}

/// A `Struct` as a JSON object, keys in order; whole numbers become integers.
///
/// # Errors
/// When it is nested too deep.
pub fn to_json(fields: &Struct) -> Result<Value, StructError> {
    fields_to_json(fields, 0)
}

fn fields_from_json(object: &Map<String, Value>, depth: usize) -> Result<Struct, StructError> {
    let fields = object
        .iter()
        .map(|(key, value)| Ok((key.clone(), value_from_json(value, depth + 1)?)));
    Ok(Struct {
        fields: fields.collect::<Result<_, StructError>>()?,
    })
}

fn value_from_json(value: &Value, depth: usize) -> Result<Proto, StructError> {
    if depth > MAX_DEPTH {
        return Err(StructError::TooDeep);
    }
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            let values = items
                .iter()
                .map(|item| value_from_json(item, depth + 1))
                .collect::<Result<_, _>>()?;
            Kind::ListValue(ListValue { values })
        }
        Value::Object(object) => Kind::StructValue(fields_from_json(object, depth)?),
    };
    Ok(Proto { kind: Some(kind) })
}

fn fields_to_json(fields: &Struct, depth: usize) -> Result<Value, StructError> {
    let mut keys: Vec<&String> = fields.fields.keys().collect();
    keys.sort_unstable();
    let mut object = Map::new();
    for key in keys {
        if let Some(value) = fields.fields.get(key) {
            object.insert(key.clone(), value_to_json(value, depth + 1)?);
        }
    }
    Ok(Value::Object(object))
}

fn value_to_json(value: &Proto, depth: usize) -> Result<Value, StructError> {
    if depth > MAX_DEPTH {
        return Err(StructError::TooDeep);
    }
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => Value::Array(
            list.values
                .iter()
                .map(|item| value_to_json(item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(fields)) => fields_to_json(fields, depth)?,
    })
}

/// Integers up to 2^53 are exact in a double and read as integers again.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the range is checked first"
)]
fn number_to_json(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Value::Number((number as i64).into());
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let json = serde_json::json!({"a": [1, -2.5, "x", null, true, {"b": {}}], "c": {"d": 9_007_199_254_740_992_i64}});
        assert_eq!(to_json(&from_json(&json).unwrap()).unwrap(), json);
    }

    #[test]
    fn depth_is_capped() {
        let mut json = serde_json::json!({});
        for _ in 0..70 {
            json = serde_json::json!({ "a": json });
        }
        assert_eq!(from_json(&json), Err(StructError::TooDeep));
        assert_eq!(
            from_json(&serde_json::json!([])),
            Err(StructError::NotObject)
        );
    }
}
