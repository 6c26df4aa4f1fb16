//! Who is at the other end.

use std::fmt;
use std::sync::Arc;

/// The verified SPIFFE URI of a peer's certificate, as exact text. Exists only after a verified handshake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity(pub Arc<str>);

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a peer says of its workload by metadata exchange (contract: telemetry, peer metadata); empty text is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerMetadata {
    /// Workload name.
    pub workload: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Canonical service.
    pub canonical_service: Arc<str>,
    /// Canonical revision.
    pub canonical_revision: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// Cluster id.
    pub cluster: Arc<str>,
}
