//! What a TLS handshake agreed on, for logs and header rules.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// What a handshake agreed on.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Version, as OpenSSL names it: `TLSv1.3`.
    pub version: &'static str,
    /// Cipher suite, as OpenSSL names it.
    pub cipher: &'static str,
    /// Key exchange group, as OpenSSL names it.
    pub group: &'static str,
    /// What the peer showed.
    pub peer: Option<Arc<dyn CertificateChain>>,
    /// What this proxy showed.
    pub own: Option<Arc<dyn CertificateChain>>,
}

/// Certificates as they were shown, taken apart when somebody asks.
pub trait CertificateChain: fmt::Debug + Send + Sync {
    /// Each of them, leaf first; those that are no X.509 are left out.
    fn certificates(&self) -> &[CertificateDetails];

    /// The leaf (or all of them) as PEM, URL-encoded.
    fn pem(&self, whole: bool) -> String;
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct CertificateDetails {
    /// Subject (RFC 2253).
    pub subject: Box<str>,
    /// Issuer (RFC 2253).
    pub issuer: Box<str>,
    /// Serial number in lower-case hexadecimal digits.
    pub serial: Box<str>,
    /// SHA-256 of the DER, in lower-case hexadecimal digits.
    pub sha256: Box<str>,
    /// SHA-1 of the DER, in lower-case hexadecimal digits.
    pub sha1: Box<str>,
    /// Begin of its validity.
    pub not_before: SystemTime,
    /// End of its validity.
    pub not_after: SystemTime,
    /// URI names.
    pub uris: Vec<Box<str>>,
    /// DNS names.
    pub dns: Vec<Box<str>>,
    /// E-mail addresses.
    pub emails: Vec<Box<str>>,
    /// IP addresses.
    pub ips: Vec<Box<str>>,
    /// Names of other types, without their object identifiers.
    pub others: Vec<Box<str>>,
}

impl Handshake {
    /// The peer's leaf.
    pub fn peer_leaf(&self) -> Option<&CertificateDetails> {
        self.peer.as_ref()?.certificates().first()
    }

    /// This proxy's leaf.
    pub fn own_leaf(&self) -> Option<&CertificateDetails> {
        self.own.as_ref()?.certificates().first()
    }
}
