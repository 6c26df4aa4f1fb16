//! TLS settings and the secrets they point to. The `tls` room turns them into rustls configurations.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::slot::Slot;

/// A certificate chain with its key. Secrets named `default`, `file-cert:…` or `kubernetes://…`.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
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
}

impl SanMatcher {
    /// Whether `name` satisfies the matcher.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => name == &**wanted,
            Self::Prefix(wanted) => name.starts_with(&**wanted),
            Self::Suffix(wanted) => name.ends_with(&**wanted),
        }
    }
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
    pub alpn: Vec<Vec<u8>>,
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
    /// The compiled configuration of the `tls` room.
    pub compiled: ArcSwapOption<CompiledServer>,
}

/// Cache of [`ServerTls::compiled`].
#[derive(Debug)]
pub struct CompiledServer {
    /// Identity it was made from.
    pub identity: Arc<Identity>,
    /// Roots it was made from.
    pub trust: Option<Arc<TrustBundle>>,
    /// With ALPN.
    pub config: Arc<rustls::ServerConfig>,
    /// Without ALPN, for clients whose protocols do not overlap with ours (no overlap is no error).
    pub config_without_alpn: Arc<rustls::ServerConfig>,
}
