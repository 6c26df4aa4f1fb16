//! Rules on TLS, of servers and towards services.

use super::report::Report;
use crate::networking::{ClientTlsMode, ClientTlsSettings, ServerTlsMode, ServerTlsSettings};
use crate::protocol::Protocol;

/// TLS of a server, against the protocol of its port.
pub(super) fn server(
    report: &mut Report<'_>,
    field: &str,
    tls: Option<&ServerTlsSettings>,
    protocol: Protocol,
) {
    let Some(tls) = tls else {
        report.require(
            !protocol.is_tls(),
            field,
            format_args!("a port of protocol {protocol} needs TLS settings"),
        );
        return;
    };
    let passthrough = matches!(
        tls.mode,
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
    );
    if !protocol.is_tls() && !protocol.is_unsupported() {
        let plain = tls.server_certificate.is_empty()
            && tls.private_key.is_empty()
            && tls.ca_certificates.is_empty();
        let fits = protocol.is_http() && passthrough && plain;
        report.require(
            fits,
            field,
            format_args!("a port of protocol {protocol} has no TLS settings but httpsRedirect"),
        );
        return;
    }
    match tls.mode {
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {}
        ServerTlsMode::IstioMutual => mesh_certificate(report, field, tls),
        ServerTlsMode::Simple => own_certificate(report, field, tls, false),
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => {
            own_certificate(report, field, tls, true)
        }
    }
}

fn mesh_certificate(report: &mut Report<'_>, field: &str, tls: &ServerTlsSettings) {
    let none = tls.server_certificate.is_empty()
        && tls.private_key.is_empty()
        && tls.ca_certificates.is_empty()
        && tls.tls_certificates.is_empty()
        && tls.credential_name.is_empty()
        && tls.credential_names.is_empty();
    report.require(
        none,
        field,
        "ISTIO_MUTUAL uses the mesh's certificate: take files and credentialName out",
    );
}

fn own_certificate(report: &mut Report<'_>, field: &str, tls: &ServerTlsSettings, mutual: bool) {
    let pair = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let sources = [
        !tls.credential_name.is_empty(),
        !tls.credential_names.is_empty(),
        pair,
        !tls.tls_certificates.is_empty(),
    ];
    match sources.iter().filter(|set| **set).count() {
        1 => {}
        0 => report.error(
            field,
            "a certificate is needed: credentialName, or serverCertificate with privateKey",
        ),
        _ => report.error(
            field,
            "only one of credentialName, credentialNames, tlsCertificates and files may be set",
        ),
    }
    let by_name = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
    if mutual && !by_name && tls.ca_certificates.is_empty() {
        report.error(
            &format!("{field}.caCertificates"),
            "is needed to check client certificates",
        );
    }
    if !mutual && !by_name {
        report.require(
            tls.ca_crl.is_empty(),
            &format!("{field}.caCrl"),
            "has no meaning without client certificates",
        );
    }
}

/// TLS towards a service.
pub(super) fn client(report: &mut Report<'_>, field: &str, tls: Option<&ClientTlsSettings>) {
    let Some(tls) =
        tls.filter(|tls| matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual))
    else {
        return;
    };
    let files = [
        &tls.client_certificate,
        &tls.private_key,
        &tls.ca_certificates,
        &tls.ca_crl,
    ];
    if !tls.credential_name.is_empty() {
        let none = files.iter().all(|file| file.is_empty());
        report.require(
            none,
            &format!("{field}.credentialName"),
            "only one of credentialName and files may be set",
        );
    } else if tls.mode == ClientTlsMode::Mutual {
        let pair = !tls.client_certificate.is_empty() && !tls.private_key.is_empty();
        report.require(
            pair,
            field,
            "MUTUAL needs clientCertificate and privateKey, or credentialName",
        );
    }
    if tls.insecure_skip_verify == Some(true) {
        let checked = !tls.ca_certificates.is_empty() || !tls.subject_alt_names.is_empty();
        report.require(
            !checked,
            &format!("{field}.insecureSkipVerify"),
            "excludes caCertificates and subjectAltNames",
        );
    }
}
