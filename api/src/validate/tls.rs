//! Rules on TLS of a server on a gateway or a sidecar.

use std::collections::HashSet;
use std::fmt::Arguments;

use super::report::Report;
use crate::networking::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

/// Cipher suites by the names that OpenSSL gives them.
const CIPHERS: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// TLS of a server, by itself.
pub(super) fn server_tls(report: &mut Report<'_>, field: Arguments<'_>, tls: &ServerTlsSettings) {
    ciphers(report, field, tls);
    if tls.mode == ServerTlsMode::IstioMutual {
        return mesh_certificate(report, field, tls);
    }
    let pair = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let sources = [
        !tls.credential_name.is_empty(),
        !tls.credential_names.is_empty(),
        pair,
        !tls.tls_certificates.is_empty(),
    ];
    report.require(
        sources.iter().filter(|set| **set).count() < 2,
        field,
        "the certificate comes from one of credentialName, credentialNames, tlsCertificates, and serverCertificate with privateKey",
    );
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            passthrough(report, field, tls);
        }
        _ if !tls.credential_name.is_empty() || !tls.credential_names.is_empty() => {}
        mode => files(report, field, tls, mode == ServerTlsMode::Simple),
    }
}

/// The fields that say where certificates come from, by name, and whether they are set.
fn certificates(tls: &ServerTlsSettings) -> [(&'static str, bool); 6] {
    [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ]
}

fn mesh_certificate(report: &mut Report<'_>, field: Arguments<'_>, tls: &ServerTlsSettings) {
    for (name, set) in certificates(tls) {
        report.require(
            !set,
            format_args!("{field}.{name}"),
            "ISTIO_MUTUAL uses the mesh's certificate: take this out",
        );
    }
}

fn passthrough(report: &mut Report<'_>, field: Arguments<'_>, tls: &ServerTlsSettings) {
    let crl = !tls.ca_crl.is_empty();
    for (name, set) in certificates(tls).into_iter().chain([("caCrl", crl)]) {
        if set {
            report.warning(
                format_args!("{field}.{name}"),
                format_args!(
                    "has no effect: {} does not open connections, so take it out",
                    tls.mode
                ),
            );
        }
    }
    report.require(
        !crl || tls.credential_name.is_empty(),
        format_args!("{field}.caCrl"),
        "excludes credentialName",
    );
}

fn files(report: &mut Report<'_>, field: Arguments<'_>, tls: &ServerTlsSettings, simple: bool) {
    if tls.tls_certificates.is_empty() {
        let files = (tls.server_certificate.as_str(), tls.private_key.as_str());
        pair(report, field, files);
    }
    for (i, certificate) in tls.tls_certificates.iter().enumerate() {
        let files = (
            certificate.server_certificate.as_str(),
            certificate.private_key.as_str(),
        );
        pair(report, format_args!("{field}.tlsCertificates[{i}]"), files);
    }
    if tls.tls_certificates.len() > 2 {
        report.warning(
            format_args!("{field}.tlsCertificates"),
            "two certificates can be used, one RSA and one ECDSA: take the others out",
        );
    }
    if simple {
        report.require(
            tls.ca_crl.is_empty(),
            format_args!("{field}.caCrl"),
            "has no meaning in SIMPLE, where clients show no certificate: take it out",
        );
    } else {
        report.require(
            !tls.ca_certificates.is_empty(),
            format_args!("{field}.caCertificates"),
            format_args!(
                "{} checks clients' certificates against it: name the file, or use credentialName",
                tls.mode
            ),
        );
    }
}

fn pair(report: &mut Report<'_>, field: Arguments<'_>, (certificate, key): (&str, &str)) {
    for (name, file) in [("serverCertificate", certificate), ("privateKey", key)] {
        report.require(
            !file.is_empty(),
            format_args!("{field}.{name}"),
            "a server needs serverCertificate with privateKey, or credentialName",
        );
    }
}

fn ciphers(report: &mut Report<'_>, field: Arguments<'_>, tls: &ServerTlsSettings) {
    let mut seen = HashSet::new();
    for (i, name) in tls.cipher_suites.iter().enumerate() {
        let at = format_args!("{field}.cipherSuites[{i}]");
        if !is_cipher(name) {
            report.warning(
                at,
                format_args!("the cipher suite `{name}` is not known, and left out"),
            );
        } else if !seen.insert(name.as_str()) {
            report.warning(at, format_args!("the cipher suite `{name}` is given twice"));
        }
    }
    let old = matches!(
        tls.min_protocol_version,
        TlsProtocol::V1_0 | TlsProtocol::V1_1
    );
    if old && tls.cipher_suites.is_empty() {
        report.warning(
            format_args!("{field}.minProtocolVersion"),
            format_args!(
                "no default cipher suite works with {}: list cipherSuites that do",
                tls.min_protocol_version
            ),
        );
    }
}

/// Whether a text is a cipher suite, or an expression about some, which begins with a sign.
fn is_cipher(text: &str) -> bool {
    let expression = text.chars().next().is_none_or(|c| !c.is_alphanumeric());
    expression || text == "ALL" || CIPHERS.contains(&text)
}
