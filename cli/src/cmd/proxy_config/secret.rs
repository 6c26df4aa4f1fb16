//! `proxy-config secret`: the certificates that a proxy holds. Keys are never in a dump.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::dump::{ConfigDump, at, field, items, text};
use crate::table::Table;

/// What there is to say about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    name: String,
    kind: &'static str,
    state: &'static str,
    valid: bool,
    serial: String,
    not_after: String,
    not_before: String,
    trust_domain: Option<String>,
}

/// Where secrets stand in a dump, and their state there.
const LISTS: [(&str, &str); 3] = [
    ("static_secrets", "ACTIVE"),
    ("dynamic_active_secrets", "ACTIVE"),
    ("dynamic_warming_secrets", "WARMING"),
];

/// The certificates of a dump, in its order. `now` decides about validity.
pub(crate) fn read(dump: &ConfigDump, now: Timestamp) -> Vec<Secret> {
    let Some(part) = dump.part("SecretsConfigDump") else {
        return Vec::new();
    };
    LISTS
        .iter()
        .flat_map(|(list, state)| {
            items(part, list)
                .iter()
                .flat_map(move |item| secrets(item, state, now))
        })
        .collect()
}

/// The part of the dump that has secrets, as istioctl prints it.
pub(crate) fn json(dump: &ConfigDump) -> Value {
    dump.part("SecretsConfigDump")
        .cloned()
        .unwrap_or_else(|| json!({}))
}

/// The table of certificates; the trust domain is shown only when that of each one is known.
pub(crate) fn table(secrets: &[Secret], prefix: &str) -> Table {
    let first = if prefix.is_empty() {
        "RESOURCE NAME"
    } else {
        "NAME"
    };
    let columns = [
        first,
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ];
    let domains = secrets.iter().all(|secret| secret.trust_domain.is_some());
    let mut table = Table::new(columns.into_iter().chain(domains.then_some("TRUST DOMAIN")));
    for secret in secrets {
        let name = format!("{prefix}{}", secret.name);
        let valid = secret.valid.to_string();
        let cells = [
            &name,
            secret.kind,
            secret.state,
            &valid,
            &secret.serial,
            &secret.not_after,
            &secret.not_before,
        ]
        .map(str::to_owned);
        table.row(
            cells
                .into_iter()
                .chain(secret.trust_domain.clone().filter(|_| domains)),
        );
    }
    table
}

fn secrets(item: &Value, state: &'static str, now: Timestamp) -> Vec<Secret> {
    let Some(secret) = field(item, "secret") else {
        return Vec::new();
    };
    let name = [text(secret, "name"), text(item, "name")]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    if let Some(chain) = at(secret, &["tls_certificate", "certificate_chain"]) {
        return described(
            name,
            "Cert Chain",
            state,
            certificates(chain)
                .first()
                .map_or(&[][..], std::slice::from_ref),
            now,
        );
    }
    let context = at(secret, &["validation_context"]).or_else(|| {
        at(
            secret,
            &["combined_validation_context", "default_validation_context"],
        )
    });
    match context.and_then(|context| field(context, "trusted_ca")) {
        Some(roots) => described(name, "CA", state, &certificates(roots), now),
        None => Vec::new(),
    }
}

/// The DER of each certificate in a data source.
fn certificates(source: &Value) -> Vec<Vec<u8>> {
    let pem = match text(source, "inline_bytes") {
        "" => text(source, "inline_string").as_bytes().to_vec(),
        bytes => STANDARD.decode(bytes).unwrap_or_default(),
    };
    Pem::iter_from_buffer(&pem)
        .filter_map(Result::ok)
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| block.contents)
        .collect()
}

fn described(
    name: &str,
    kind: &'static str,
    state: &'static str,
    certificates: &[Vec<u8>],
    now: Timestamp,
) -> Vec<Secret> {
    let unknown = || Secret {
        name: name.to_owned(),
        kind,
        state,
        valid: false,
        serial: "-".to_owned(),
        not_after: "-".to_owned(),
        not_before: "-".to_owned(),
        trust_domain: None,
    };
    if certificates.is_empty() {
        return vec![unknown()];
    }
    let one = |der: &Vec<u8>| match x509_parser::parse_x509_certificate(der) {
        Err(_) => unknown(),
        Ok((_, certificate)) => {
            let validity = certificate.validity();
            let (from, until) = (
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            );
            Secret {
                valid: (from..=until).contains(&now.as_second()),
                serial: format!("{:x}", certificate.serial),
                not_after: time(until),
                not_before: time(from),
                trust_domain: trust_domain(&certificate),
                ..unknown()
            }
        }
    };
    certificates.iter().map(one).collect()
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |time| time.to_string())
}

/// The trust domain of the certificate's SPIFFE id.
fn trust_domain(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => {
                Some(uri.strip_prefix("spiffe://")?.split('/').next()?.to_owned())
            }
            _ => None,
        })
}
