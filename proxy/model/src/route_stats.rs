//! What is counted by route and by kind of request: Envoy's `stat_prefix` of routes and its virtual clusters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::RequestView;
use crate::matcher::HeaderMatcher;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A kind of request that is counted by itself.
#[derive(Clone, Debug)]
pub struct VirtualCluster {
    /// Its name in statistics.
    pub name: Arc<str>,
    /// What its requests have; all must hold.
    pub headers: Vec<HeaderMatcher>,
}

/// What a virtual host counts by itself.
#[derive(Debug, Default)]
pub struct HostStats {
    /// The virtual host's name.
    pub host: Arc<str>,
    /// Kinds of requests, the first that holds counts. Where there are any, others are a kind too.
    pub clusters: Vec<VirtualCluster>,
}

/// Where requests of a route are counted, beside its cluster.
#[derive(Debug)]
pub struct RouteStats {
    id: u64,
    /// Its virtual host.
    pub host: Arc<HostStats>,
    /// The route's name in statistics; empty where it has none.
    pub route: Arc<str>,
}

impl RouteStats {
    /// `None` where nothing is counted.
    pub fn new(host: &Arc<HostStats>, route: Arc<str>) -> Option<Arc<Self>> {
        let any = !route.is_empty() || !host.clusters.is_empty();
        any.then(|| {
            Arc::new(Self {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                host: Arc::clone(host),
                route,
            })
        })
    }

    /// A number that no other value of this process has: the key of per-worker tables.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The place of the kind that a request is of; the number of all is that of the others.
    pub fn kind(&self, request: &RequestView<'_>) -> usize {
        let clusters = &self.host.clusters;
        let is_of = |cluster: &VirtualCluster| cluster.headers.iter().all(|it| it.matches(request));
        clusters.iter().position(is_of).unwrap_or(clusters.len())
    }
}
