//! The filter that answers health checks of this proxy itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderValue;

use crate::cluster::ClusterRef;
use crate::matcher::HeaderMatcher;

/// Answers, or marks, requests that check whether this proxy is well.
#[derive(Clone, Debug)]
pub struct HealthFilter {
    /// Checks go on to the upstream; else they end here.
    pub pass_through: bool,
    /// What makes a request a check: all of them.
    pub headers: Vec<HeaderMatcher>,
    /// Clusters, and how many percent of their endpoints must be healthy.
    pub clusters: Vec<(ClusterRef, f64)>,
    /// Somebody asked that checks fail.
    pub failing: Arc<AtomicBool>,
    /// This proxy's own cluster, said in answers to checks.
    pub own_cluster: HeaderValue,
}
