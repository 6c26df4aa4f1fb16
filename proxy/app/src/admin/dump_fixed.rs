//! Endpoints and secrets of a dump as Envoy shows them: with what was not said, and without keys.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use prost::Message;
use serde_json::{Value, json};

const REDACTED: &str = "[redacted]";
const ASSIGNMENT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// A secret's message whose keys and passwords are replaced; `None` for bytes that are no secret.
pub(super) fn redacted(body: &Bytes) -> Option<Bytes> {
    let mut secret = Secret::decode(body.clone()).ok()?;
    match &mut secret.r#type {
        Some(Type::TlsCertificate(own)) => {
            redact(&mut own.private_key);
            redact(&mut own.password);
        }
        Some(Type::GenericSecret(own)) => redact(&mut own.secret),
        Some(Type::SessionTicketKeys(own)) => {
            for key in &mut own.keys {
                hide(key);
            }
        }
        Some(Type::ValidationContext(_)) | None => {}
    }
    Some(secret.encode_to_vec().into())
}

fn redact(source: &mut Option<DataSource>) {
    if let Some(source) = source {
        hide(source);
    }
}

/// Names of files and variables stay.
fn hide(source: &mut DataSource) {
    match &mut source.specifier {
        Some(Specifier::InlineString(text)) => *text = REDACTED.to_owned(),
        Some(Specifier::InlineBytes(bytes)) => *bytes = REDACTED.as_bytes().to_vec(),
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) | None => {}
    }
}

/// The endpoints that clusters hold themselves, of a list of a dump's clusters.
pub(super) fn held(clusters: &Value) -> Vec<Value> {
    let entries = clusters.as_array().into_iter().flatten();
    let clusters = entries.map(|entry| &entry["cluster"]);
    let others = clusters.filter(|cluster| cluster["type"] != "EDS");
    others
        .map(|cluster| {
            let mut shown = json!({ "@type": ASSIGNMENT, "cluster_name": cluster["name"] });
            for field in ["endpoints", "policy"] {
                if let Some(value) = cluster["load_assignment"].get(field) {
                    shown[field] = value.clone();
                }
            }
            complete(&mut shown);
            json!({ "endpoint_config": shown })
        })
        .collect()
}

/// Adds what Envoy tells of each endpoint, whether it was said or not.
pub(super) fn complete(assignment: &mut Value) {
    if assignment["policy"]
        .get("overprovisioning_factor")
        .is_none()
    {
        assignment["policy"]["overprovisioning_factor"] = 140.into();
    }
    let localities = assignment.get_mut("endpoints");
    let localities = localities.and_then(Value::as_array_mut);
    for locality in localities.into_iter().flatten() {
        absent(locality, "locality", json!({}));
        absent(locality, "load_balancing_weight", 0.into());
        let endpoints = locality.get_mut("lb_endpoints");
        let endpoints = endpoints.and_then(Value::as_array_mut);
        for one in endpoints.into_iter().flatten() {
            absent(one, "load_balancing_weight", 1.into());
            absent(&mut one["endpoint"], "health_check_config", json!({}));
            let health = match one["health_status"].as_str() {
                Some("UNHEALTHY" | "DRAINING" | "TIMEOUT") => "UNHEALTHY",
                Some("DEGRADED") => "DEGRADED",
                _ => "HEALTHY",
            };
            one["health_status"] = health.into();
        }
    }
}

/// A message as JSON has it: without fields that have their default.
pub(super) fn said(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let fields = fields.into_iter().map(|(name, value)| (name, said(value)));
    let default =
        |value: &Value| value == "" || value == 0 || *value == json!({}) || *value == json!([]);
    fields.filter(|(_, value)| !default(value)).collect()
}

/// A dump without the lists that have no entry.
pub(super) fn without_empty_lists(mut dump: Value) -> Value {
    if let Some(fields) = dump.as_object_mut() {
        fields.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    }
    dump
}

fn absent(value: &mut Value, field: &str, default: Value) {
    if value.get(field).is_none() && (value.is_object() || value.is_null()) {
        value[field] = default;
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
        GenericSecret, TlsCertificate,
    };

    use super::*;

    fn text(text: &str) -> DataSource {
        DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let certificate = TlsCertificate {
            certificate_chain: Some(text("public")),
            private_key: Some(text("hidden")),
            password: Some(text("hidden")),
            ..TlsCertificate::default()
        };
        let generic = GenericSecret {
            secret: Some(text("hidden")),
            ..GenericSecret::default()
        };
        for kind in [
            Type::TlsCertificate(certificate),
            Type::GenericSecret(generic),
        ] {
            let secret = Secret {
                name: "own".to_owned(),
                r#type: Some(kind),
            };
            let shown = redacted(&secret.encode_to_vec().into()).expect("a secret");
            let shown = String::from_utf8_lossy(&shown).into_owned();
            assert!(
                shown.contains(REDACTED) && !shown.contains("hidden"),
                "{shown}"
            );
        }
        assert_eq!(redacted(&Bytes::from_static(b"\xff")), None);
    }

    #[test]
    fn defaults_and_empty_lists_are_left_out() {
        let message =
            json!({ "id": "a", "cluster": "", "version": { "patch": 0, "minor": 1 }, "list": [] });
        assert_eq!(
            said(message),
            json!({ "id": "a", "version": { "minor": 1 } })
        );
        let dump = json!({ "@type": "x", "static_clusters": [], "version_info": "" });
        assert_eq!(
            without_empty_lists(dump),
            json!({ "@type": "x", "version_info": "" })
        );
    }

    #[test]
    fn what_was_not_said_of_endpoints_is_shown() {
        let clusters = json!([
            { "cluster": { "name": "a", "type": "STATIC", "load_assignment": { "cluster_name": "x",
                "endpoints": [{ "lb_endpoints": [{ "health_status": "DRAINING", "endpoint": {} }] }] } } },
            { "cluster": { "name": "b", "type": "EDS" } },
        ]);
        let found = held(&clusters);
        assert_eq!(found.len(), 1);
        let shown = &found[0]["endpoint_config"];
        assert_eq!(shown["cluster_name"], "a");
        assert_eq!(shown["policy"]["overprovisioning_factor"], 140);
        let one = &shown["endpoints"][0]["lb_endpoints"][0];
        assert_eq!(
            (&one["health_status"], &one["load_balancing_weight"]),
            (&json!("UNHEALTHY"), &json!(1))
        );
    }
}
