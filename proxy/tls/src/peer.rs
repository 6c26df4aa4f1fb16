//! What a verified certificate says of the peer.

use std::net::IpAddr;
use std::sync::Arc;

use lateen_proxy_model::{PeerIdentity, SanKind};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::details::{ShownChain, hashed};
use crate::subject;

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
    /// All that was shown.
    pub shown: Arc<ShownChain>,
}

impl PeerCertificate {
    /// Takes a leaf certificate apart; `None` when it is no X.509.
    pub fn parse(leaf: &CertificateDer<'_>) -> Option<Self> {
        Self::of(&ShownChain::new(std::slice::from_ref(leaf)))
    }

    /// Takes the leaf of a chain apart; `None` when it is no X.509.
    pub(crate) fn of(shown: &Arc<ShownChain>) -> Option<Self> {
        let leaf = shown.leaf();
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let names = Names::of(&certificate);
        let sha256 = hashed(&aws_lc_rs::digest::SHA256, leaf);
        Some(Self {
            identity: names
                .uris
                .iter()
                .find(|uri| uri.starts_with("spiffe://"))
                .map(|uri| PeerIdentity(Arc::from(&**uri))),
            subject: subject::text(certificate.subject()).into(),
            uris: names.uris.into(),
            dns: names.dns.into(),
            sha256: sha256.into(),
            shown: Arc::clone(shown),
        })
    }
}

/// The subject alternative names that count, on exact bytes: names with control characters are left out (S14).
pub(crate) struct Names {
    pub(crate) uris: Vec<Box<str>>,
    pub(crate) dns: Vec<Box<str>>,
    /// Names of other types.
    pub(crate) others: Vec<(SanKind, Box<str>)>,
}

impl Names {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self {
            uris: Vec::new(),
            dns: Vec::new(),
            others: Vec::new(),
        };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else {
            return names;
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::URI(text) if is_clean(text) => names.uris.push((*text).into()),
                GeneralName::DNSName(text) if is_clean(text) => names.dns.push((*text).into()),
                GeneralName::RFC822Name(text) if is_clean(text) => {
                    names.others.push((SanKind::Email, (*text).into()));
                }
                GeneralName::IPAddress(bytes) => {
                    let ip = address(bytes).map(|ip| (SanKind::Ip, ip.to_string().into()));
                    names.others.extend(ip);
                }
                GeneralName::OtherName(oid, value) => {
                    let kind = SanKind::Other(oid.to_id_string().into());
                    let text = other_name(value).filter(|text| is_clean(text));
                    names.others.extend(text.map(|text| (kind, text.into())));
                }
                _ => {}
            }
        }
        names
    }
}

impl Names {
    /// All names, as failures tell them.
    pub(crate) fn listed(&self) -> String {
        let others = self.others.iter().map(|(_, name)| name);
        let all: Vec<&str> = self
            .uris
            .iter()
            .chain(&self.dns)
            .chain(others)
            .map(|name| &**name)
            .collect();
        all.join(", ")
    }
}

/// The address in a name, which is 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(bytes));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The text of another name: a string within an explicit tag.
fn other_name(bytes: &[u8]) -> Option<&str> {
    let inner = value(bytes, 0xa0)?;
    [0x0c, 0x16, 0x13]
        .into_iter()
        .find_map(|tag| value(inner, tag))
        .and_then(|text| std::str::from_utf8(text).ok())
}

/// What stands in an element of this tag, whose length is below 128.
fn value(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let ([own, length], rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(*length);
    (*own == tag && length < 128).then(|| rest.get(..length))?
}

fn is_clean(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
