//! What a verified certificate says of the peer.

use std::fmt::Write;
use std::sync::Arc;

use lateen_proxy_model::PeerIdentity;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The leaf certificate of a verified peer, taken apart once a connection.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// The first `spiffe://` URI.
    pub identity: Option<PeerIdentity>,
    /// Subject as an RFC 2253 text; empty for SPIFFE certificates.
    pub subject: Arc<str>,
    /// URI names.
    pub uris: Arc<[Box<str>]>,
    /// DNS names.
    pub dns: Arc<[Box<str>]>,
    /// SHA-256 of the DER, in lower-case hex.
    pub sha256: Arc<str>,
    /// The certificate itself.
    pub der: CertificateDer<'static>,
}

impl PeerCertificate {
    /// Takes a leaf certificate apart; `None` when it is no X.509.
    pub fn parse(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let names = Names::of(&certificate);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
        let mut sha256 = String::with_capacity(64);
        for byte in digest.as_ref() {
            let _ = write!(sha256, "{byte:02x}");
        }
        Some(Self {
            identity: names
                .uris
                .iter()
                .find(|uri| uri.starts_with("spiffe://"))
                .map(|uri| PeerIdentity(Arc::from(&**uri))),
            subject: certificate.subject().to_string().into(),
            uris: names.uris.into(),
            dns: names.dns.into(),
            sha256: sha256.into(),
            der: leaf.clone().into_owned(),
        })
    }
}

/// The subject alternative names that count, on exact bytes: names with control characters are left out (S14).
pub(crate) struct Names {
    pub(crate) uris: Vec<Box<str>>,
    pub(crate) dns: Vec<Box<str>>,
}

impl Names {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self {
            uris: Vec::new(),
            dns: Vec::new(),
        };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return names;
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(text) if is_clean(text) => names.uris.push((*text).into()),
                GeneralName::DNSName(text) if is_clean(text) => names.dns.push((*text).into()),
                _ => {}
            }
        }
        names
    }
}

fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
