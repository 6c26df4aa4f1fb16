//! Forwarding to whatever host a request names.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::dns_cache::DnsCache;

/// The dynamic forward proxy as an HTTP filter: a request to a cluster of that kind waits until its host is looked up.
#[derive(Clone, Debug)]
pub struct ForwardProxy {
    /// The cache that the cluster reads.
    pub cache: Arc<DnsCache>,
}

/// The same for connections, by the server name of their ClientHello.
#[derive(Clone, Debug)]
pub struct SniForwardProxy {
    /// The cache that the cluster reads.
    pub cache: Arc<DnsCache>,
    /// Port that upstreams are reached at.
    pub port: u16,
}

/// What a route makes of the host before it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardHost {
    /// As it came.
    Unchanged,
    /// This host.
    Literal(HeaderValue),
    /// The value of this header, where it is there.
    Header(HeaderName),
}
