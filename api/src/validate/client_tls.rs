//! Rules on TLS towards a service.

use std::fmt::{Arguments, Display};

use super::report::Report;
use crate::networking::{ClientTlsMode, ClientTlsSettings};

/// What a credential's name begins with when a ConfigMap holds it.
const CONFIG_MAP: &str = "configmap://";

/// TLS towards a service.
pub(super) fn client_tls(report: &mut Report<'_>, field: impl Display, tls: &ClientTlsSettings) {
    if let Some(path) = tls.credential_name.strip_prefix(CONFIG_MAP) {
        config_map(report, format_args!("{field}.credentialName"), path);
    }
    let simple = tls.mode == ClientTlsMode::Simple;
    if !simple && tls.mode != ClientTlsMode::Mutual {
        return;
    }
    let named = !tls.credential_name.is_empty();
    if tls.insecure_skip_verify == Some(true) {
        let checked = !tls.ca_certificates.is_empty()
            || !tls.subject_alt_names.is_empty()
            || (simple && named);
        let rest = if simple { " and credentialName" } else { "" };
        report.require(
            !checked,
            format_args!("{field}.insecureSkipVerify"),
            format_args!("nothing is verified: take caCertificates, subjectAltNames{rest} out"),
        );
    }
    if named {
        let files = [
            ("clientCertificate", &tls.client_certificate),
            ("privateKey", &tls.private_key),
            ("caCertificates", &tls.ca_certificates),
            ("caCrl", &tls.ca_crl),
        ];
        for (name, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
            report.error(
                format_args!("{field}.{name}"),
                "credentialName holds certificates, key and authorities: keep one of the two",
            );
        }
    } else if !simple {
        for (name, file) in [
            ("clientCertificate", &tls.client_certificate),
            ("privateKey", &tls.private_key),
        ] {
            report.require(
                !file.is_empty(),
                format_args!("{field}.{name}"),
                "MUTUAL needs clientCertificate and privateKey, or credentialName",
            );
        }
    }
}

fn config_map(report: &mut Report<'_>, field: Arguments<'_>, path: &str) {
    match path.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            let own = report.namespace();
            report.require(
                namespace == own,
                field,
                format_args!("the ConfigMap is in the namespace `{namespace}`: only `{own}`, the object's own, can be used"),
            );
        }
        _ => report.error(
            field,
            format_args!("`{CONFIG_MAP}{path}` is not of the form {CONFIG_MAP}namespace/name"),
        ),
    }
}
