//! A JSON list with an object a message.

use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use serde::Serialize as _;

use super::{View, documentation_url, object};
use crate::message::Message;

pub(super) fn render(view: &View, messages: &[Message]) -> String {
    let list = values(view, messages);
    let mut out = Vec::new();
    let mut writer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"\t"));
    // A list of texts can always be written, and is UTF-8.
    let written = list.serialize(&mut writer).is_ok();
    debug_assert!(written);
    out.push(b'\n');
    String::from_utf8(out).unwrap_or_default()
}

/// The messages as values, keys by name.
pub(super) fn values(view: &View, messages: &[Message]) -> Value {
    messages
        .iter()
        .map(|message| Value::Object(fields(view, message)))
        .collect()
}

fn fields(view: &View, message: &Message) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |key: &str, text: String| {
        fields.insert(key.to_owned(), Value::String(text));
    };
    if !message.cluster.is_empty() {
        put("cluster", message.cluster.clone());
    }
    put("code", message.code.id.to_owned());
    put("documentationUrl", documentation_url(message.code));
    put("level", message.code.level.as_str().to_owned());
    put("message", message.text.clone());
    if message.origin.is_some() {
        put("origin", object(message));
    }
    if let Some(reference) = view.reference(message) {
        put("reference", reference);
    }
    fields
}
