//! The network filters that stand before a chain's terminal one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::forward_proxy::SniForwardProxy;
use crate::global_rate_limit::ConnectionRateLimit;
use crate::local_rate_limit::LocalConnectionLimit;
use crate::mongo::MongoFilter;
use crate::network_authz::NetworkAuthz;

/// A network filter of a chain; they run in the order of the chain before the terminal filter takes over.
#[derive(Clone, Debug)]
pub struct NetworkFilterEntry {
    /// Name, by which people know it.
    pub name: Arc<str>,
    /// What it does.
    pub filter: ConnectionFilter,
}

/// What a network filter before the terminal one does.
#[derive(Clone, Debug)]
pub enum ConnectionFilter {
    /// No more than so many connections at a time.
    ConnectionLimit(Arc<ConnectionLimit>),
    /// Role-based access control.
    Rbac(Arc<crate::rbac::NetworkRbac>),
    /// The server name of the ClientHello is the name of the cluster.
    SniCluster,
    /// The server name of the ClientHello is looked up for clusters that forward to it.
    ForwardProxy(SniForwardProxy),
    /// Messages of MongoDB are counted.
    Mongo(Arc<MongoFilter>),
    /// Connections take tokens from a bucket.
    LocalRateLimit(Arc<LocalConnectionLimit>),
    /// A rate limit service is asked.
    RateLimit(Arc<ConnectionRateLimit>),
    /// An authorisation service is asked when the first bytes arrive.
    Authz(Arc<NetworkAuthz>),
}

/// A limit on the connections of a chain, shared by all workers. Envoy's `ConnectionLimit`.
#[derive(Debug)]
pub struct ConnectionLimit {
    /// Statistics prefix.
    pub stat_prefix: Arc<str>,
    /// Most connections at a time.
    pub max: u64,
    /// Connections above the limit are held so long before they are closed.
    pub delay: Option<Duration>,
    active: AtomicU64,
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<ConnectionLimit>);

impl ConnectionLimit {
    /// A limit without connections.
    pub fn new(stat_prefix: Arc<str>, max: u64, delay: Option<Duration>) -> Self {
        Self {
            stat_prefix,
            max,
            delay,
            active: AtomicU64::new(0),
        }
    }

    /// Lets a connection in, unless the limit is reached.
    pub fn enter(self: &Arc<Self>) -> Option<ConnectionPermit> {
        self.active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < self.max).then(|| active + 1)
            })
            .is_ok()
            .then(|| ConnectionPermit(Arc::clone(self)))
    }

    /// Connections that are let in now.
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let limit = Arc::new(ConnectionLimit::new("l".into(), 2, None));
        let first = limit.enter();
        let second = limit.enter();
        assert!(first.is_some() && second.is_some() && limit.enter().is_none());
        drop(first);
        assert_eq!(limit.active(), 1);
        assert!(limit.enter().is_some());
    }
}
