//! A SARIF 2.1.0 log within the limits of GitHub's code scanning: at most 25,000 results, each with a place in a file.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::{View, documentation_url, object, page, place};
use crate::code::{Code, Level};
use crate::message::Message;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// More results make the whole upload fail; the worst come first.
const MOST_RESULTS: usize = 25_000;
/// More characters of a result's text are cut off by the service.
const MOST_TEXT: usize = 1000;

pub(super) fn render(view: &View, messages: &[Message]) -> String {
    let mut worst: Vec<&Message> = messages.iter().collect();
    worst.sort_by_key(|message| message.code.level);
    worst.truncate(MOST_RESULTS);
    let codes: BTreeSet<Code> = worst.iter().map(|message| message.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let results: Vec<Value> = worst
        .iter()
        .map(|message| result(view, message, &codes, &mut seen))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "lateenctl analyze",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().copied().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": true}],
            "results": results,
        }],
    });
    // A tree of texts and numbers can always be written.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn rule(code: Code) -> Value {
    let mut rule = json!({
        "id": code.id,
        "name": code.name,
        "shortDescription": {"text": words(code.name)},
        "help": {
            "text": format!("`lateenctl analyze --explain {}` prints {}: cause, example and cure.", code.id, page(code)),
        },
        "defaultConfiguration": {"level": level(code.level)},
        "properties": {"tags": ["service-mesh"], "precision": "high", "problem.severity": severity(code.level)},
    });
    // The field takes absolute addresses only.
    let url = documentation_url(code);
    if let (true, Some(fields)) = (url.starts_with("https://"), rule.as_object_mut()) {
        fields.insert("helpUri".to_owned(), Value::String(url));
    }
    rule
}

fn result(view: &View, message: &Message, codes: &[Code], seen: &mut HashMap<u64, u32>) -> Value {
    let hash = fingerprint(message);
    let count = seen.entry(hash).or_default();
    *count += 1;
    let object = object(message);
    let mut text = if object.is_empty() {
        message.text.clone()
    } else {
        format!("{object}: {}", message.text)
    };
    if text.chars().count() > MOST_TEXT {
        text = text.chars().take(MOST_TEXT - 1).chain(['…']).collect();
    }
    let mut location = json!({"physicalLocation": physical(view, message)});
    if let (Some(origin), Some(fields)) = (&message.origin, location.as_object_mut()) {
        let mut logical =
            json!({"name": origin.name, "kind": "resource", "fullyQualifiedName": object});
        if !message.field.is_empty()
            && let Some(logical) = logical.as_object_mut()
        {
            let whole = format!("{object} {}", message.field);
            logical.insert("fullyQualifiedName".to_owned(), Value::String(whole));
        }
        fields.insert("logicalLocations".to_owned(), json!([logical]));
    }
    let mut result = json!({
        "ruleId": message.code.id,
        "ruleIndex": codes.binary_search(&message.code).unwrap_or_default(),
        "level": level(message.code.level),
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": format!("{hash:016x}:{count}")},
    });
    if !message.cluster.is_empty()
        && let Some(fields) = result.as_object_mut()
    {
        fields.insert("properties".to_owned(), json!({"cluster": message.cluster}));
    }
    result
}

/// The place in a file. What comes from a cluster gets the path that its manifest might have, since results without one are refused.
fn physical(view: &View, message: &Message) -> Value {
    let mut region = Map::new();
    let file = if let Some(place) = place(message) {
        let line = view.line_number(message, place).max(1);
        region.insert("startLine".to_owned(), json!(line));
        if place.column > 0 && line == place.line {
            region.insert("startColumn".to_owned(), json!(place.column));
        }
        match &*place.file {
            "-" => "stdin".to_owned(),
            file => view.path(file).to_owned(),
        }
    } else {
        region.insert("startLine".to_owned(), json!(1));
        match object(message) {
            object if object.is_empty() => "mesh".to_owned(),
            object => format!("cluster/{}", object.replace(' ', "/")),
        }
    };
    let mut artifact = Map::new();
    artifact.insert("uri".to_owned(), Value::String(uri(&file)));
    if !file.starts_with('/') {
        artifact.insert("uriBaseId".to_owned(), json!("%SRCROOT%"));
    }
    json!({"artifactLocation": artifact, "region": region})
}

/// A path as a URI reference.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    if path.starts_with('/') {
        out.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~@+,=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "note",
    }
}

const fn severity(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "recommendation",
    }
}

/// The words of a code's name: `ReferencedResourceNotFound` as `Referenced resource not found`.
fn words(name: &str) -> String {
    let mut out = String::new();
    let characters: Vec<char> = name.chars().collect();
    for (number, character) in characters.iter().enumerate() {
        let next_is_lower = characters
            .get(number + 1)
            .is_some_and(|next| next.is_ascii_lowercase());
        let after_lower = number > 0 && characters[number - 1].is_ascii_lowercase();
        if number > 0 && character.is_ascii_uppercase() && (after_lower || next_is_lower) {
            out.push(' ');
            out.push(if next_is_lower {
                character.to_ascii_lowercase()
            } else {
                *character
            });
        } else {
            out.push(*character);
        }
    }
    out
}

/// What makes a message the same in another version of its file (FNV-1a): not the line, which moves.
fn fingerprint(message: &Message) -> u64 {
    let object = object(message);
    let parts = [
        message.code.id,
        &message.cluster,
        &object,
        &message.field,
        &message.text,
    ];
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_words_and_paths_become_uris() {
        for (name, text) in [
            (
                "ReferencedResourceNotFound",
                "Referenced resource not found",
            ),
            ("InvalidApplicationUID", "Invalid application UID"),
            (
                "UnsupportedGatewayAPIVersion",
                "Unsupported gateway API version",
            ),
            ("Deprecated", "Deprecated"),
        ] {
            assert_eq!(words(name), text);
        }
        assert_eq!(uri("a b/ü.yaml"), "a%20b/%C3%BC.yaml");
        assert_eq!(uri("/tmp/a.yaml"), "file:///tmp/a.yaml");
    }
}
