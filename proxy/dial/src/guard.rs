//! Entries in a cluster's counters that end by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lateen_proxy_model::{Cluster, ClusterShared, Endpoint, OnUse, Target};

/// One open connection of a cluster.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<OnUse<ClusterShared>>, bool, Arc<Endpoint>);

/// One request that waits for a connection.
pub(crate) struct PendingGuard(Arc<OnUse<ClusterShared>>, bool, Arc<Endpoint>);

/// One request under way.
pub(crate) struct RequestGuard(Arc<OnUse<ClusterShared>>, bool);

/// One pool of a cluster.
pub(crate) struct PoolGuard(Arc<OnUse<ClusterShared>>, bool);

impl ConnectionGuard {
    /// Counts a connection, unless the limit is reached; `first` is the worker's first one to its endpoint, which is
    /// always allowed: requests could wait for ever otherwise.
    pub(crate) fn enter(
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
        high: bool,
        first: bool,
    ) -> Option<Self> {
        let connections = &cluster.shared.of(high).connections;
        let open = &endpoint.stats.cx_active;
        let full = |most: u32| open.load(Ordering::Relaxed) >= most;
        if !first && cluster.max_connections_per_host.is_some_and(full) {
            return None;
        }
        if !connections.enter(cluster.limits_of(high).max_connections) {
            if !first {
                return None;
            }
            connections.enter_anyway();
        }
        open.fetch_add(1, Ordering::Relaxed);
        endpoint.stats.cx_total.fetch_add(1, Ordering::Relaxed);
        let totals = &cluster.shared.connections;
        totals.total.fetch_add(1, Ordering::Relaxed);
        Some(Self(
            Arc::clone(&cluster.shared),
            high,
            Arc::clone(endpoint),
        ))
    }
}

impl PendingGuard {
    pub(crate) fn enter(target: &Target<'_>) -> Option<Self> {
        let (cluster, high) = (target.cluster, target.high);
        let limit = cluster.limits_of(high).max_pending;
        if !cluster.shared.of(high).pending.enter(limit) {
            return None;
        }
        let waiting = &target.endpoint.stats.rq_pending;
        waiting.fetch_add(1, Ordering::Relaxed);
        Some(Self(
            Arc::clone(&cluster.shared),
            high,
            Arc::clone(target.endpoint),
        ))
    }
}

impl PoolGuard {
    pub(crate) fn enter(cluster: &Cluster, high: bool) -> Option<Self> {
        let limit = cluster.limits_of(high).max_pools;
        let granted = cluster.shared.of(high).pools.enter(limit);
        granted.then(|| Self(Arc::clone(&cluster.shared), high))
    }
}

impl RequestGuard {
    /// `Ok(None)` where nobody asks how many there are: then nothing is counted, so that workers do not fight for the
    /// counter.
    pub(crate) fn enter(cluster: &Cluster, high: bool) -> Result<Option<Self>, ()> {
        let limits = cluster.limits_of(high);
        if limits.max_requests == u32::MAX && limits.retry_budget.is_none() {
            return Ok(None);
        }
        match cluster.shared.of(high).requests.enter(limits.max_requests) {
            true => Ok(Some(Self(Arc::clone(&cluster.shared), high))),
            false => Err(()),
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.of(self.1).connections.leave();
        let totals = &self.0.connections;
        totals.destroyed.fetch_add(1, Ordering::Relaxed);
        self.2.stats.cx_active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.of(self.1).pending.leave();
        self.2.stats.rq_pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.of(self.1).requests.leave();
    }
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        self.0.of(self.1).pools.leave();
    }
}
