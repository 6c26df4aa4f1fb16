//! Entries in a cluster's counters that end by themselves.

use std::sync::Arc;

use lateen_proxy_model::{Cluster, ClusterShared};

/// One open connection of a cluster.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<ClusterShared>);

/// One request that waits for a connection.
pub(crate) struct PendingGuard(Arc<ClusterShared>);

/// One request under way.
pub(crate) struct RequestGuard(Arc<ClusterShared>);

impl ConnectionGuard {
    /// Counts a connection, unless the limit is reached; `first` is the worker's first one to its endpoint, which is
    /// always allowed: requests could wait for ever otherwise.
    pub(crate) fn enter(cluster: &Cluster, first: bool) -> Option<Self> {
        if !cluster
            .shared
            .connections
            .enter(cluster.limits.max_connections)
        {
            if !first {
                return None;
            }
            cluster.shared.connections.enter_anyway();
        }
        Some(Self(Arc::clone(&cluster.shared)))
    }
}

impl PendingGuard {
    pub(crate) fn enter(cluster: &Cluster) -> Option<Self> {
        let granted = cluster.shared.pending.enter(cluster.limits.max_pending);
        granted.then(|| Self(Arc::clone(&cluster.shared)))
    }
}

impl RequestGuard {
    /// `Ok(None)` without a limit: then nothing is counted, so that workers do not fight for the counter.
    pub(crate) fn enter(cluster: &Cluster) -> Result<Option<Self>, ()> {
        let limit = cluster.limits.max_requests;
        if limit == u32::MAX {
            return Ok(None);
        }
        match cluster.shared.requests.enter(limit) {
            true => Ok(Some(Self(Arc::clone(&cluster.shared)))),
            false => Err(()),
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.leave();
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.pending.leave();
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.leave();
    }
}
