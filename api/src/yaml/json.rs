//! JSON values as trees without places, so that what an API server gives is read as files are.

use serde_json::Value;

use super::resolve::Scalar;
use super::tree::{Content, Entry, Mark, Node};

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let scalar = |text: String, is_text| Content::Scalar(Scalar { text, is_text });
        let content = match value {
            Value::Null => scalar("null".to_owned(), false),
            Value::Bool(value) => scalar(value.to_string(), false),
            Value::Number(number) => scalar(number.to_string(), false),
            Value::String(text) => scalar(text.clone(), true),
            Value::Array(items) => Content::List(items.iter().map(Self::from).collect()),
            Value::Object(fields) => Content::Map(
                fields
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_at: Mark::default(),
                        value: Self::from(value),
                    })
                    .collect(),
            ),
        };
        Self {
            at: Mark::default(),
            content,
        }
    }
}
