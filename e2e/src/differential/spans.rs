//! What a collector of spans was sent, in a form that can be compared.

use serde_json::Value;

/// A line for each span of a report in Zipkin's JSON: kind, name, whether it has a parent or is shared, and its tags.
pub(super) fn lines(name: &str, body: &[u8]) -> Vec<String> {
    let Ok(Value::Array(spans)) = serde_json::from_slice(body) else {
        return vec![format!("{name} cannot be read")];
    };
    let of_probe = |span: &&Value| {
        let url = span.pointer("/tags/http.url").and_then(Value::as_str);
        url.is_some_and(|url| url.ends_with(super::PROBE))
    };
    let told = spans.iter().filter(|span| !of_probe(span));
    told.map(|span| format!("{name} {}", line(span))).collect()
}

fn line(span: &Value) -> String {
    let text = |key: &str| span.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut tags: Vec<String> = span
        .get("tags")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| match key.as_str() {
            // Random, and told by the request's own header.
            "guid:x-request-id" => key.clone(),
            _ => format!("{key}={}", value.as_str().unwrap_or_default()),
        })
        .collect();
    tags.sort();
    format!(
        "{} {:?} parent {} shared {} service {:?}\n  {}",
        text("kind"),
        text("name"),
        !text("parentId").is_empty(),
        span.get("shared").is_some_and(|shared| shared == true),
        span.pointer("/localEndpoint/serviceName")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        tags.join("\n  ")
    )
}
