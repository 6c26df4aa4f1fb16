//! Commands for handshakes and the certificates in them.

use lateen_proxy_model::{CertificateChain, CertificateDetails, Handshake};

use super::super::{Value, unspaced};
use crate::Exchange;
use crate::access_log::time::TimeFormat;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super::super) struct TlsOperator {
    side: Side,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Downstream,
    Upstream,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Version,
    Cipher,
    Group,
    /// Sessions are resumed by tickets, and those have no id.
    Session,
    /// Why the handshake failed.
    Failure,
    Peer(Part),
    Own(Part),
}

/// A part of a certificate, or of its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Text),
    Names(Names),
    /// This text of each certificate of the chain.
    Each(Text),
    Start(TimeFormat),
    End(TimeFormat),
    Pem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Subject,
    Issuer,
    Serial,
    Sha256,
    Sha1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Uri,
    Dns,
    Email,
    Ip,
    Other,
}

impl Text {
    fn of(self, certificate: &CertificateDetails) -> &str {
        match self {
            Self::Subject => &certificate.subject,
            Self::Issuer => &certificate.issuer,
            Self::Serial => &certificate.serial,
            Self::Sha256 => &certificate.sha256,
            Self::Sha1 => &certificate.sha1,
        }
    }
}

impl Names {
    fn of(self, certificate: &CertificateDetails) -> &[Box<str>] {
        match self {
            Self::Uri => &certificate.uris,
            Self::Dns => &certificate.dns,
            Self::Email => &certificate.emails,
            Self::Ip => &certificate.ips,
            Self::Other => &certificate.others,
        }
    }
}

impl TlsOperator {
    /// The command of this name; `Ok(None)` when there is none.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Result<Option<Self>, String> {
        let (side, rest) = if let Some(rest) = name.strip_prefix("DOWNSTREAM_") {
            (Side::Downstream, rest)
        } else if let Some(rest) = name.strip_prefix("UPSTREAM_") {
            (Side::Upstream, rest)
        } else {
            return Ok(None);
        };
        let downstream = side == Side::Downstream;
        let wanted = match (rest, argument) {
            ("TLS_VERSION", None) => Wanted::Version,
            ("TLS_CIPHER", None) => Wanted::Cipher,
            ("TLS_GROUP", None) => Wanted::Group,
            ("TLS_SESSION_ID", None) if downstream => Wanted::Session,
            ("TRANSPORT_FAILURE_REASON", None) if downstream => Wanted::Failure,
            ("PEER_CERT_V_START", format) => Wanted::Peer(Part::Start(time(format)?)),
            ("PEER_CERT_V_END", format) => Wanted::Peer(Part::End(time(format)?)),
            (_, Some(_)) => return Ok(None),
            // Known to the access log by another way.
            ("PEER_URI_SAN", None) if !downstream => return Ok(None),
            (rest, None) => match Part::of(rest, downstream) {
                Some(wanted) => wanted,
                None => return Ok(None),
            },
        };
        Ok(Some(Self { side, wanted }))
    }

    pub(super) fn value<'a>(&'a self, exchange: &Exchange<'a>) -> Value<'a> {
        let text = |text: &'a str| match text.is_empty() {
            true => Value::Absent,
            false => Value::Bytes(text.as_bytes()),
        };
        let handshake: Option<&'a Handshake> = match self.side {
            Side::Downstream => exchange.downstream_tls,
            Side::Upstream => exchange.upstream_tls,
        };
        if self.wanted == Wanted::Failure {
            return unspaced(exchange.downstream_failure);
        }
        let Some(handshake) = handshake else {
            return Value::Absent;
        };
        match &self.wanted {
            Wanted::Version => text(handshake.version),
            Wanted::Cipher => text(handshake.cipher),
            Wanted::Group => text(handshake.group),
            Wanted::Failure | Wanted::Session => Value::Absent,
            Wanted::Peer(part) => part.value(handshake.peer.as_deref()),
            Wanted::Own(part) => part.value(handshake.own.as_deref()),
        }
    }
}

impl Part {
    fn of(name: &str, downstream: bool) -> Option<Wanted> {
        if let Some(rest) = name.strip_prefix("LOCAL_") {
            let part = match rest {
                "SUBJECT" if downstream => Self::Text(Text::Subject),
                "EMAIL_SAN" | "OTHERNAME_SAN" if !downstream => return None,
                _ => Self::names(rest)?,
            };
            return Some(Wanted::Own(part));
        }
        let rest = name.strip_prefix("PEER_")?;
        Some(Wanted::Peer(match rest {
            "SUBJECT" => Self::Text(Text::Subject),
            "ISSUER" => Self::Text(Text::Issuer),
            "CERT" => Self::Pem,
            "URI_SAN" | "DNS_SAN" | "IP_SAN" => Self::names(rest)?,
            _ if !downstream => return None,
            "SERIAL" => Self::Text(Text::Serial),
            "FINGERPRINT_256" => Self::Text(Text::Sha256),
            "FINGERPRINT_1" => Self::Text(Text::Sha1),
            "CHAIN_SERIALS" => Self::Each(Text::Serial),
            "CHAIN_FINGERPRINTS_256" => Self::Each(Text::Sha256),
            "CHAIN_FINGERPRINTS_1" => Self::Each(Text::Sha1),
            _ => Self::names(rest)?,
        }))
    }

    fn names(name: &str) -> Option<Self> {
        Some(Self::Names(match name {
            "URI_SAN" => Names::Uri,
            "DNS_SAN" => Names::Dns,
            "EMAIL_SAN" => Names::Email,
            "IP_SAN" => Names::Ip,
            "OTHERNAME_SAN" => Names::Other,
            _ => return None,
        }))
    }

    fn value<'a>(&'a self, chain: Option<&'a dyn CertificateChain>) -> Value<'a> {
        let certificates = chain.map(CertificateChain::certificates);
        let Some((chain, (all, leaf))) =
            chain.zip(certificates.and_then(|all| Some((all, all.first()?))))
        else {
            return Value::Absent;
        };
        let owned = |text: String| match text.is_empty() {
            true => Value::Absent,
            false => Value::Owned(text),
        };
        match self {
            Self::Text(text) => match text.of(leaf) {
                "" => Value::Absent,
                text => Value::Bytes(text.as_bytes()),
            },
            Self::Names(names) => owned(names.of(leaf).join(",")),
            Self::Each(text) => {
                let each: Vec<_> = all.iter().map(|one| text.of(one)).collect();
                owned(each.join(","))
            }
            Self::Start(format) => Value::Time(leaf.not_before, format),
            Self::End(format) => Value::Time(leaf.not_after, format),
            Self::Pem => owned(chain.pem(false)),
        }
    }
}

fn time(format: Option<&str>) -> Result<TimeFormat, String> {
    TimeFormat::parse(format.unwrap_or_default())
}
