//! Secrets of Gateways that are not there or hold no valid certificate.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use lateen_api::object::{Kind, Object};
use x509_parser::pem::parse_x509_pem;

use super::{not_found, selector_without_pods};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{INVALID_GATEWAY_CREDENTIAL, REFERENCED_RESOURCE_NOT_FOUND};
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "gateway.SecretAnalyzer",
    description: "Finds Gateways whose secrets do not exist or hold no valid certificate",
    inputs: &[
        Input::Kind(Kind::Gateway),
        Input::Kind(Kind::Pod),
        Input::Kind(Kind::Secret),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

type Labels = BTreeMap<String, String>;

fn run(cluster: &Cluster, messages: &mut Messages) {
    // With files alone the secrets are often kept elsewhere.
    let secrets_are_told = !cluster.files_only || cluster.has(Kind::Secret);
    let mut namespaces: HashMap<&Labels, Option<&str>> = HashMap::new();
    let mut faults: HashMap<(&str, &str), Option<String>> = HashMap::new();
    for object in cluster.of(Kind::Gateway) {
        let Some(gateway) = object.spec.as_gateway() else {
            continue;
        };
        let selector = &gateway.selector;
        let namespace = namespaces
            .entry(selector)
            .or_insert_with(|| namespace_of_pods(cluster, selector));
        let Some(namespace) = *namespace else {
            selector_without_pods(messages, object, selector);
            continue;
        };
        for (index, server) in gateway.servers.iter().enumerate() {
            let name = server.tls.as_ref().map_or("", |tls| &tls.credential_name);
            if name.is_empty() {
                continue;
            }
            let key = name.split_once('/').unwrap_or((namespace, name));
            let field = format!("spec.servers[{index}].tls.credentialName");
            let Some(secret) = cluster.find(Kind::Secret, key.0, key.1) else {
                if secrets_are_told {
                    let advice = format!(
                        "add the Secret to namespace {}, where the gateway runs",
                        key.0
                    );
                    let text = not_found("credentialName", name, &advice);
                    messages.scalar(REFERENCED_RESOURCE_NOT_FOUND, object, &field, text);
                }
                continue;
            };
            let fault = faults.entry(key).or_insert_with(|| {
                let secret = secret.spec.as_secret();
                secret.and_then(|secret| fault(secret, cluster.now))
            });
            if let Some(fault) = fault {
                report(object, (namespace, name, fault), &field, messages);
            }
        }
    }
}

fn report(
    object: &Object,
    (namespace, secret, fault): (&str, &str, &str),
    field: &str,
    messages: &mut Messages,
) {
    let text = format!(
        "Gateway {}, whose pods run in namespace {namespace}, cannot serve with the Secret {secret}: {fault}",
        object.key.name
    );
    messages.scalar(INVALID_GATEWAY_CREDENTIAL, object, field, text);
}

/// The namespace of the first pod that a selector selects; the gateway that files have by default counts if there is no other.
fn namespace_of_pods<'a>(cluster: &'a Cluster, selector: &Labels) -> Option<&'a str> {
    let mut default = None;
    for pod in cluster.pods().matching_with_templates(None, selector) {
        if !cluster.is_default(pod.object) {
            return Some(pod.namespace());
        }
        default = Some(pod.namespace());
    }
    default
}

/// Why a gateway cannot serve with a secret; `None` if it can.
fn fault(secret: &Secret, now: Timestamp) -> Option<String> {
    let pairs = [("tls.crt", "tls.key"), ("cert", "key")];
    let found = pairs.into_iter().find_map(|(certificate, key)| {
        value(secret, key)?;
        Some((certificate, value(secret, certificate)?))
    });
    match found {
        Some((entry, certificate)) => certificate_fault(entry, certificate, now),
        None => Some("it has neither tls.crt and tls.key nor cert and key; add them".to_owned()),
    }
}

fn value<'a>(secret: &'a Secret, entry: &str) -> Option<&'a [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(entry));
    let bytes = secret.data.as_ref().and_then(|data| data.get(entry));
    let value = match (text, bytes) {
        (Some(text), _) => text.as_bytes(),
        (None, Some(bytes)) => &bytes.0,
        (None, None) => return None,
    };
    (!value.is_empty()).then_some(value)
}

fn certificate_fault(entry: &str, certificate: &[u8], now: Timestamp) -> Option<String> {
    let pem = match parse_x509_pem(certificate) {
        Ok((_, pem)) => pem,
        Err(_) => return Some(format!("{entry} is not a PEM certificate; replace it")),
    };
    let Ok(certificate) = pem.parse_x509() else {
        return Some(format!("{entry} is not an X.509 certificate; replace it"));
    };
    if now == Timestamp::UNIX_EPOCH {
        return None;
    }
    let validity = certificate.validity();
    let date = |seconds: i64| {
        Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
    };
    let now = now.as_second();
    if now > validity.not_after.timestamp() {
        let at = date(validity.not_after.timestamp());
        return Some(format!(
            "the certificate in {entry} expired at {at}; renew it"
        ));
    }
    if now < validity.not_before.timestamp() {
        let at = date(validity.not_before.timestamp());
        return Some(format!(
            "the certificate in {entry} is not valid before {at}; replace it or correct the clock"
        ));
    }
    None
}
