//! Certificates for logs and headers, taken apart when somebody asks.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use lateen_proxy_model::{CertificateChain, CertificateDetails, Handshake, SanKind};
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, NamedGroup, ProtocolVersion};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::peer::Names;
use crate::subject;

/// Certificates of one side of a handshake.
#[derive(Debug)]
pub struct ShownChain {
    der: Vec<CertificateDer<'static>>,
    details: OnceLock<Box<[CertificateDetails]>>,
}

impl ShownChain {
    /// Leaf first.
    pub(crate) fn new(chain: &[CertificateDer<'_>]) -> Arc<Self> {
        let owned = |one: &CertificateDer<'_>| one.clone().into_owned();
        Arc::new(Self {
            der: chain.iter().map(owned).collect(),
            details: OnceLock::new(),
        })
    }

    /// The leaf; empty when there is none.
    pub fn leaf(&self) -> &[u8] {
        self.der.first().map(|der| &**der).unwrap_or_default()
    }
}

impl CertificateChain for ShownChain {
    fn certificates(&self) -> &[CertificateDetails] {
        self.details
            .get_or_init(|| self.der.iter().filter_map(|der| details(der)).collect())
    }

    fn pem(&self, whole: bool) -> String {
        let count = if whole { self.der.len() } else { 1 };
        self.der.iter().take(count).map(|der| pem(der)).collect()
    }
}

/// What a finished handshake agreed on.
pub(crate) fn handshake(
    state: &CommonState,
    peer: Option<Arc<ShownChain>>,
    own: Option<Arc<ShownChain>>,
) -> Handshake {
    let suite = state.negotiated_cipher_suite();
    let group = state.negotiated_key_exchange_group();
    Handshake {
        version: match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: suite.map_or("", |suite| cipher(suite.suite())),
        group: group.map_or("", |group| group_name(group.name())),
        peer: peer.map(|chain| chain as _),
        own: own.map(|chain| chain as _),
    }
}

fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => "",
    }
}

fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => "",
    }
}

fn details(der: &CertificateDer<'_>) -> Option<CertificateDetails> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = Names::of(&certificate);
    let of = |wanted: fn(&SanKind) -> bool| {
        let others = names.others.iter();
        others
            .filter(|(kind, _)| wanted(kind))
            .map(|(_, name)| name.clone())
            .collect()
    };
    let validity = certificate.validity();
    let serial: String = certificate.raw_serial().iter().fold(String::new(), hex);
    let serial = serial.trim_start_matches('0');
    Some(CertificateDetails {
        subject: subject::text(certificate.subject()).into(),
        issuer: subject::text(certificate.issuer()).into(),
        // Whole bytes, without those that are zero in front.
        serial: match serial.len() % 2 {
            1 => format!("0{serial}").into(),
            _ => serial.into(),
        },
        sha256: hashed(&SHA256, der).into(),
        sha1: hashed(&SHA1_FOR_LEGACY_USE_ONLY, der).into(),
        not_before: time(validity.not_before.timestamp()),
        not_after: time(validity.not_after.timestamp()),
        emails: of(|kind| *kind == SanKind::Email),
        ips: of(|kind| *kind == SanKind::Ip),
        others: of(|kind| matches!(kind, SanKind::Other(_))),
        uris: names.uris,
        dns: names.dns,
    })
}

/// A digest in hexadecimal digits.
pub(crate) fn hashed(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    digest(algorithm, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), hex)
}

fn hex(mut text: String, byte: &u8) -> String {
    let _ = write!(text, "{byte:02x}");
    text
}

fn time(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(seconds.unsigned_abs());
    let moment = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(since),
        false => SystemTime::UNIX_EPOCH.checked_add(since),
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// PEM, URL-encoded.
fn pem(der: &[u8]) -> String {
    let mut out = String::with_capacity(der.len() * 2);
    out.push_str("-----BEGIN%20CERTIFICATE-----%0A");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            encode(group, &mut out);
        }
        out.push_str("%0A");
    }
    out.push_str("-----END%20CERTIFICATE-----%0A");
    out
}

/// Up to three bytes in Base64, its signs URL-encoded.
fn encode(group: &[u8], out: &mut String) {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    for at in 0..4 {
        let index = (bits >> (18 - 6 * at)) as usize & 63;
        match SIGNS.get(index) {
            _ if at > group.len() => out.push_str("%3D"),
            Some(b'+') => out.push_str("%2B"),
            Some(b'/') => out.push_str("%2F"),
            Some(sign) => out.push(char::from(*sign)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pem;

    #[test]
    fn pem_has_lines_of_64_signs() {
        let text = pem(&[0xfb; 50]);
        let lines: Vec<_> = text.split("%0A").collect();
        assert_eq!(lines[0], "-----BEGIN%20CERTIFICATE-----");
        assert_eq!(lines[1].replace("%2B", "+").replace("%2F", "/").len(), 64);
        assert_eq!(lines[2], "%2B%2Fs%3D");
        assert_eq!(lines[3], "-----END%20CERTIFICATE-----");
    }
}
