//! Circuit breakers: limits of a cluster, and what is counted against them by all workers.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::endpoint::Endpoint;
use crate::health_check::CheckStats;
use crate::outlier::OutlierStats;
use crate::subset::SubsetStats;

/// Limits of one cluster, shared by all workers. `u32::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way.
    pub max_retries: u32,
    /// Retries under way relative to requests, in place of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
    /// Connection pools of all workers.
    pub max_pools: u32,
    /// What is left is shown in statistics.
    pub track_remaining: bool,
}

/// A limit of retries that follows the number of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Percent of requests under way and waiting.
    pub percent: f64,
    /// Retries that are always allowed.
    pub min_concurrency: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            max_pending: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
            retry_budget: None,
            max_pools: u32::MAX,
            track_remaining: false,
        }
    }
}

/// What all workers share of one cluster, kept over updates of the cluster.
#[derive(Debug, Default)]
pub struct ClusterShared {
    /// Requests of default priority.
    pub default: Breakers,
    /// Requests of high priority.
    pub high: Breakers,
    /// Totals of connections.
    pub connections: ConnectionStats,
    /// When rates were last looked at, in milliseconds of the balancer's clock.
    pub swept: AtomicU64,
    /// When weights were last taken from load reports, in milliseconds of the balancer's clock.
    pub reweighed: AtomicU64,
    /// A request was sent to it, ever: health checks are rarer before.
    pub used: AtomicU32,
    /// Totals of passive health checks.
    pub outlier: OnceLock<Box<OutlierStats>>,
    /// Totals of active health checks.
    pub checks: OnceLock<Box<CheckStats>>,
    /// Totals of subsets.
    pub subsets: OnceLock<Box<SubsetStats>>,
}

/// Totals of a cluster's connections.
#[derive(Debug, Default)]
pub struct ConnectionStats {
    /// Opened, also in vain.
    pub total: AtomicU64,
    /// Of those, for HTTP/1.
    pub http1: AtomicU64,
    /// For HTTP/2.
    pub http2: AtomicU64,
    /// Not established.
    pub connect_fail: AtomicU64,
    /// Of those, because it took too long.
    pub connect_timeout: AtomicU64,
    /// Gone.
    pub destroyed: AtomicU64,
}

impl ClusterShared {
    /// The counters of a priority.
    pub fn of(&self, high: bool) -> &Breakers {
        if high { &self.high } else { &self.default }
    }

    /// Totals of passive health checks.
    pub fn outlier(&self) -> &OutlierStats {
        self.outlier.get_or_init(Box::default)
    }

    /// Totals of active health checks.
    pub fn checks(&self) -> &CheckStats {
        self.checks.get_or_init(Box::default)
    }

    /// Totals of subsets.
    pub fn subsets(&self) -> &SubsetStats {
        self.subsets.get_or_init(Box::default)
    }
}

/// What is counted against the limits of one priority.
#[derive(Debug, Default)]
pub struct Breakers {
    /// Connections open.
    pub connections: Gauge,
    /// Requests waiting for a connection.
    pub pending: Gauge,
    /// Requests under way.
    pub requests: Gauge,
    /// Retries under way.
    pub retries: Gauge,
    /// Connection pools.
    pub pools: Gauge,
}

/// A number of things under way, with a limit checked on entry.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU32,
    /// Entries that were refused.
    refused: AtomicU32,
}

impl Gauge {
    /// Counts one more unless `limit` is reached; the entry ends with [`Gauge::leave`].
    pub fn enter(&self, limit: u32) -> bool {
        let before = self.now.fetch_add(1, Ordering::Relaxed);
        if before >= limit {
            self.now.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Counts one more without asking for a limit.
    pub fn enter_anyway(&self) {
        self.now.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends an entry that [`Gauge::enter`] granted.
    pub fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are under way.
    pub fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// How many entries were refused so far.
    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Counts a request on an endpoint for as long as it lives.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Endpoint>);

impl ActiveRequest {
    /// Starts counting.
    pub fn on(endpoint: Arc<Endpoint>) -> Self {
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    /// The endpoint counted on.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}
