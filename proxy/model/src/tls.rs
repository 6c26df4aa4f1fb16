//! TLS settings and the secrets they point to. The `tls` room turns them into rustls configurations.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::interned::Interned;
use crate::slot::Slot;

/// A certificate chain with its key. Secrets named `default`, `file-cert:…` or `kubernetes://…`.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// An OCSP answer that is stapled to handshakes.
    pub ocsp: Option<Box<[u8]>>,
}

/// Trusted roots. Secrets named `ROOTCA`, `file-root:…`.
#[derive(Debug)]
pub struct TrustBundle {
    /// Root certificates.
    pub roots: Vec<CertificateDer<'static>>,
}

/// The slot of an identity, filled and rotated by its source.
pub type IdentityRef = Arc<Slot<Identity>>;

/// The slot of a trust bundle.
pub type TrustRef = Arc<Slot<TrustBundle>>;

/// What a subject alternative name of type URI or DNS must be, on exact bytes (S14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanMatcher {
    /// Exactly this name.
    Exact(Box<str>),
    /// Starts with this text, such as `spiffe://cluster.local/`.
    Prefix(Box<str>),
    /// Ends with this text.
    Suffix(Box<str>),
    /// Contains this text.
    Contains(Box<str>),
    /// The whole name is of this regular expression.
    Regex(SanRegex),
    /// This, without looking at the case of ASCII letters; the text of the matcher is lower case.
    IgnoreCase(Box<SanMatcher>),
    /// This, for names of one type alone.
    Typed(SanKind, Box<SanMatcher>),
}

/// Type of a subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// URI.
    Uri,
    /// DNS.
    Dns,
    /// E-mail address.
    Email,
    /// IP address, as text.
    Ip,
    /// Another name, by its object identifier.
    Other(Box<str>),
}

/// A regular expression; two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct SanRegex(pub regex::Regex);

impl PartialEq for SanRegex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for SanRegex {}

/// What is asked of a peer's certificate beside its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerChecks {
    /// SHA-256 of the public key must be one of these, or the certificate's one of `hashes`; empty asks for none.
    pub spki: Vec<[u8; 32]>,
    /// SHA-256 of the certificate must be one of these, or the public key's one of `spki`; empty asks for none.
    pub hashes: Vec<[u8; 32]>,
    /// Revoked certificates.
    pub crls: Vec<rustls::pki_types::CertificateRevocationListDer<'static>>,
    /// Only the leaf is looked up in the lists.
    pub leaf_crl_only: bool,
    /// Certificates that fail the checks are accepted too; their owner counts as nobody.
    pub accept_untrusted: bool,
    /// Certificates may have expired.
    pub allow_expired: bool,
    /// Most certificates between the leaf and a root.
    pub max_depth: Option<u32>,
}

/// Which algorithms may be used; empty lists allow all that rustls has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    /// Cipher suites of TLS 1.2; those of TLS 1.3 are always there.
    pub suites: Vec<rustls::CipherSuite>,
    /// Key exchange groups.
    pub groups: Vec<rustls::NamedGroup>,
}

/// How sessions are resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// By tickets.
    pub tickets: bool,
    /// By sessions kept here.
    pub sessions: bool,
    /// Keys of tickets; none are made up and kept to this process.
    pub keys: Vec<[u8; 80]>,
    /// Life of a ticket.
    pub lifetime: std::time::Duration,
}

/// TLS of QUIC. Envoy's `QuicDownstreamTransport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicTls {
    /// Clients that come back may send requests with their first packet. They are served once the handshake is done,
    /// so that nobody can send them twice.
    pub early_data: bool,
}

impl Default for Resumption {
    fn default() -> Self {
        Self {
            tickets: true,
            sessions: true,
            keys: Vec::new(),
            lifetime: std::time::Duration::from_secs(7200),
        }
    }
}

impl SanMatcher {
    /// Whether `name` satisfies the matcher.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => name == &**wanted,
            Self::Prefix(wanted) => name.starts_with(&**wanted),
            Self::Suffix(wanted) => name.ends_with(&**wanted),
            Self::Contains(wanted) => name.contains(&**wanted),
            Self::Regex(wanted) => wanted.0.is_match(name),
            Self::IgnoreCase(inner) => inner.matches(&name.to_ascii_lowercase()),
            Self::Typed(_, inner) => inner.matches(name),
        }
    }

    /// Whether a name of this type satisfies the matcher. A matcher without type is for the common types. A DNS name of a
    /// certificate may be a wildcard for one label of the exact name that is asked for.
    pub fn matches_name(&self, kind: &SanKind, name: &str) -> bool {
        match self {
            Self::Typed(wanted, inner) if wanted == kind => match (kind, &**inner) {
                (SanKind::Dns, Self::Exact(wanted)) => covers(name, wanted),
                _ => inner.matches(name),
            },
            Self::Typed(..) => false,
            _ => !matches!(kind, SanKind::Other(_)) && self.matches(name),
        }
    }
}

/// Whether a certificate's DNS name covers a host: itself, or a wildcard for its first label.
fn covers(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(tail) = name.strip_prefix("*.") else {
        return false;
    };
    host.split_once('.')
        .is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(tail))
}

/// TLS towards an upstream.
#[derive(Debug)]
pub struct ClientTls {
    /// Server name to send; `None` sends none, or the request's host with `auto_sni`.
    pub sni: Option<Box<str>>,
    /// The request's host is sent as server name.
    pub auto_sni: bool,
    /// The endpoint's host name takes the place of the request's host.
    pub host_sni: bool,
    /// Protocols offered, in order.
    pub alpn: Interned<Vec<Vec<u8>>>,
    /// Certificate to show.
    pub identity: Option<IdentityRef>,
    /// Roots the server must chain to; `None` verifies nothing.
    pub trust: Option<TrustRef>,
    /// One must match a SAN of the server; empty asks for none.
    pub sans: Vec<SanMatcher>,
    /// The server's certificate must name the host that was asked for.
    pub auto_san: bool,
    /// Lowest and highest version as 12 or 13.
    pub versions: (u8, u8),
    /// What else is asked of the server's certificate.
    pub checks: Interned<PeerChecks>,
    /// Algorithms.
    pub algorithms: Interned<Algorithms>,
    /// The compiled configurations of the `tls` room, with the secrets they were made from.
    pub compiled: ArcSwapOption<CompiledClient>,
}

/// Cache of [`ClientTls::compiled`]: valid while both secrets are the ones it was made from.
#[derive(Debug)]
pub struct CompiledClient {
    /// Identity it was made from.
    pub identity: Option<Arc<Identity>>,
    /// Roots it was made from.
    pub trust: Option<Arc<TrustBundle>>,
    /// One configuration for each list of ALPN protocols that was asked for; the first is [`ClientTls::alpn`].
    pub configs: Vec<(Vec<Vec<u8>>, Arc<rustls::ClientConfig>)>,
}

/// TLS towards a downstream client.
#[derive(Debug)]
pub struct ServerTls {
    /// Certificate to show.
    pub identity: IdentityRef,
    /// Further certificates, chosen by server name and by the client's algorithms.
    pub more: Vec<IdentityRef>,
    /// A server name that no certificate has is answered with the best one for the client, not with the first.
    pub full_scan: bool,
    /// A client must name a server.
    pub require_sni: bool,
    /// Roots a client's certificate must chain to.
    pub trust: Option<TrustRef>,
    /// A client without certificate is refused.
    pub require_client_certificate: bool,
    /// One must match a SAN of the client; empty asks for none.
    pub sans: Vec<SanMatcher>,
    /// Protocols accepted, in order.
    pub alpn: Vec<Vec<u8>>,
    /// Lowest and highest version as 12 or 13.
    pub versions: (u8, u8),
    /// What else is asked of a client's certificate.
    pub checks: PeerChecks,
    /// Algorithms.
    pub algorithms: Algorithms,
    /// How sessions are resumed.
    pub resumption: Resumption,
    /// It is for QUIC, which asks for TLS 1.3.
    pub quic: Option<QuicTls>,
    /// The compiled configuration of the `tls` room.
    pub compiled: ArcSwapOption<CompiledServer>,
}

/// Cache of [`ServerTls::compiled`].
#[derive(Debug)]
pub struct CompiledServer {
    /// Identities it was made from.
    pub identities: Vec<Arc<Identity>>,
    /// Roots it was made from.
    pub trust: Option<Arc<TrustBundle>>,
    /// With ALPN.
    pub config: Arc<rustls::ServerConfig>,
    /// Tells whether a certificate that was accepted is trusted, where untrusted ones are accepted.
    pub strict: Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>,
    /// Without ALPN, for clients whose protocols do not overlap with ours (no overlap is no error).
    pub config_without_alpn: Arc<rustls::ServerConfig>,
}
