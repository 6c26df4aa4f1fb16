//! What several tests of this crate need.

use base64::Engine;
use rcgen::{CertificateParams, KeyPair, SanType};

/// PEM of any block.
pub(crate) fn pem(kind: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|c| std::str::from_utf8(c).unwrap_or_default())
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}

/// PEM of a request that asks for `uris`.
pub(crate) fn request(key: &KeyPair, uris: &[&str]) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().expect("uri")))
        .collect();
    params
        .serialize_request(key)
        .and_then(|request| request.pem())
        .expect("request")
}
