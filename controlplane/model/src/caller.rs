//! Who calls: the connection a request came over, and the workload identity that authentication gave.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use lateen_api::identity::{IdentityError, SpiffeId};
use thiserror::Error;

/// What proved a caller's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerSource {
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
}

/// An authenticated workload, and what proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its identity.
    pub id: SpiffeId,
    /// What proved it.
    pub source: CallerSource,
}

/// Why no identity was given; the text is for the log, callers only learn that they are not authenticated.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// Neither token nor client certificate.
    #[error("no credentials: send a bearer token or a client certificate")]
    Missing,
    /// The token is not accepted.
    #[error("bearer token: {0}")]
    Token(String),
    /// The certificate carries no identity of this mesh.
    #[error("client certificate: {0}")]
    Certificate(String),
    /// What the credential names is no identity of a workload.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// The connection a request came over.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The peer's address.
    pub remote: SocketAddr,
    /// True over TLS.
    pub encrypted: bool,
    /// DER of the client's chain, leaf first, already verified against the mesh's roots by the TLS stack; empty without one.
    pub certificates: Arc<[Vec<u8>]>,
}

impl Connection {
    /// A connection without TLS.
    #[must_use]
    pub fn plain(remote: SocketAddr) -> Self {
        Self {
            remote,
            encrypted: false,
            certificates: Arc::new([]),
        }
    }

    /// True when the peer is this machine itself.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.remote.ip().to_canonical().is_loopback()
    }
}

/// Turns credentials into an identity. Nothing is trusted because of where it connects from.
pub trait Authenticate: Send + Sync {
    /// The caller behind a connection and its `authorization` header.
    ///
    /// # Errors
    /// [`AuthError`] when no credential is there or none is accepted.
    fn authenticate(
        &self,
        connection: &Connection,
        authorization: Option<&str>,
    ) -> Result<Caller, AuthError>;
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_counts_in_both_families() {
        let local =
            |ip: &str| Connection::plain(SocketAddr::new(ip.parse().expect("ip"), 1)).is_local();
        assert!(local("127.0.0.1") && local("::1") && local("::ffff:127.0.0.1"));
        assert!(!local("10.0.0.1") && !local("::ffff:10.0.0.1"));
    }
}
