//! Certificates as `config_dump` and `certs` show them. Keys never leave the process.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lateen_proxy_agent::{CertificateInfo, certificate_info};
use lateen_proxy_state::SecretStore;
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value, json};

use super::timestamp;

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// `[redacted]` in base64, which takes the place of keys.
const REDACTED: &str = "W3JlZGFjdGVkXQ==";
/// Fields whose sources of data are keys or passwords.
const SENSITIVE: [&str; 5] = [
    "private_key",
    "private_key_provider",
    "pkcs12",
    "password",
    "session_ticket_keys",
];

/// Body of `SecretsConfigDump`, without those that are shown elsewhere.
pub(super) fn dump(secrets: &SecretStore, elsewhere: impl Fn(&str) -> bool) -> Value {
    let mut active = Vec::new();
    for (name, identity) in secrets.identities() {
        if elsewhere(&name) {
            continue;
        }
        let content = json!({
            "certificate_chain": { "inline_bytes": inline(&identity.chain) },
            "private_key": { "inline_bytes": REDACTED },
        });
        active.push(entry(
            plain(&name),
            "tls_certificate",
            content,
            issued(&identity.chain),
        ));
    }
    for (name, trust) in secrets.trusts() {
        if elsewhere(&name) {
            continue;
        }
        let content = json!({ "trusted_ca": { "inline_bytes": inline(&trust.roots) } });
        active.push(entry(
            plain(&name),
            "validation_context",
            content,
            issued(&trust.roots),
        ));
    }
    let (identities, trusts) = secrets.wanted();
    let warming: Vec<Value> = identities
        .iter()
        .chain(&trusts)
        .map(|name| {
            json!({
                "name": plain(name),
                "version_info": "uninitialized",
                "secret": { "@type": SECRET, "name": plain(name) },
            })
        })
        .collect();
    json!({ "dynamic_active_secrets": active, "dynamic_warming_secrets": warming })
}

/// Takes keys and passwords out of what is shown of a resource.
pub(super) fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if SENSITIVE.contains(&&**name) && !field.is_string() {
                    blank(field);
                } else {
                    redact(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

/// Puts a mark in the place of what is given inline; names of files and variables stay.
fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (&**name, field) {
                    ("inline_bytes", Value::String(text)) => REDACTED.clone_into(text),
                    ("inline_string", Value::String(text)) => "[redacted]".clone_into(text),
                    (_, field) => blank(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

/// The name that a secret has in its source.
fn plain(key: &str) -> &str {
    key.split('\0').next().unwrap_or_default()
}

/// The page `certs`.
pub(super) fn certs(secrets: &SecretStore) -> Value {
    let roots: Vec<Value> = secrets
        .trusts()
        .iter()
        .flat_map(|(name, trust)| details(name, &trust.roots))
        .collect();
    let chains = secrets.identities();
    let mut certificates: Vec<Value> = chains
        .iter()
        .map(|(name, identity)| json!({ "ca_cert": roots, "cert_chain": details(name, &identity.chain) }))
        .collect();
    if certificates.is_empty() && !roots.is_empty() {
        certificates.push(json!({ "ca_cert": roots, "cert_chain": [] }));
    }
    json!({ "certificates": certificates })
}

fn entry(name: &str, field: &str, content: Value, updated: SystemTime) -> Value {
    let mut secret = Map::new();
    secret.insert("@type".to_owned(), SECRET.into());
    secret.insert("name".to_owned(), name.into());
    secret.insert(field.to_owned(), content);
    json!({ "name": name, "last_updated": timestamp(updated), "secret": secret })
}

fn details(name: &str, chain: &[CertificateDer<'_>]) -> Vec<Value> {
    chain
        .iter()
        .filter_map(|certificate| certificate_info(certificate).ok())
        .map(|info| detail(name, &info))
        .collect()
}

fn detail(name: &str, info: &CertificateInfo) -> Value {
    let uris = info.uris.iter().map(|uri| json!({ "uri": uri }));
    let names = uris.chain(info.dns_names.iter().map(|name| json!({ "dns": name })));
    let left = info
        .validity
        .not_after
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO);
    json!({
        "path": format!("<inline> {name}"),
        "serial_number": info.serial,
        "subject_alt_names": names.collect::<Vec<_>>(),
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": timestamp(info.validity.not_before),
        "expiration_time": timestamp(info.validity.not_after),
    })
}

/// When the first certificate was issued: secrets carry no other time.
fn issued(chain: &[CertificateDer<'_>]) -> SystemTime {
    let info = chain
        .first()
        .and_then(|certificate| certificate_info(certificate).ok());
    info.map_or(SystemTime::UNIX_EPOCH, |info| info.validity.not_before)
}

/// PEM, in the base64 that proto JSON has for bytes.
fn inline(chain: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for certificate in chain {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    STANDARD.encode(pem)
}
