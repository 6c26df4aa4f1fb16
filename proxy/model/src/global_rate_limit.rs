//! Rate limits that a service knows: what is asked, and what becomes of its answers.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use crate::cluster::ClusterRef;
use crate::filter_stats::FilterStats;
use crate::mutation::HeaderMutations;
use crate::rate_limit::{RateLimits, VirtualHostLimits};
use crate::route::Percentage;

/// A gRPC service that a filter calls.
#[derive(Clone, Debug)]
pub struct GrpcService {
    /// Its cluster.
    pub cluster: ClusterRef,
    /// `:authority`; the cluster's name without one.
    pub authority: Option<HeaderValue>,
    /// Metadata sent along.
    pub metadata: Vec<(HeaderName, HeaderValue)>,
    /// Time for a call; `None` leaves that to the filter.
    pub timeout: Option<Duration>,
}

/// The HTTP rate limit filter.
#[derive(Debug)]
pub struct GlobalRateLimit {
    /// Domain of the limits.
    pub domain: Box<str>,
    /// Which limits of routes it applies.
    pub stage: u32,
    /// Where its descriptors come from when it has rate limits of its own; otherwise the route's.
    pub limits: Option<RateLimits>,
    /// Requests it looks at; `None` is all.
    pub only: Option<RequestOrigin>,
    /// The service.
    pub service: GrpcService,
    /// Time for a call; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Share of requests that are refused when the service fails.
    pub deny_on_failure: Percentage,
    /// gRPC callers are told RESOURCE_EXHAUSTED in place of UNAVAILABLE.
    pub resource_exhausted: bool,
    /// `x-ratelimit-*` headers are sent.
    pub headers: bool,
    /// `x-envoy-ratelimited` is sent with refusals.
    pub ratelimited: bool,
    /// `retry-after` is sent with 429.
    pub retry_after: bool,
    /// Status of a refusal.
    pub status: StatusCode,
    /// Status when the service fails.
    pub status_on_error: StatusCode,
    /// Changes of refusals.
    pub response_headers: HeaderMutations,
    /// Share of requests that are asked about.
    pub enabled: Percentage,
    /// Share of those that are refused when they are over the limit.
    pub enforced: Percentage,
    /// Where metadata of the service's answers is noted.
    pub namespace: Arc<str>,
    /// What is put before the names of its counters, which are the cluster's.
    pub stat_prefix: Box<str>,
}

/// Whether a request is of this mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOrigin {
    /// `x-envoy-internal: true`.
    Internal,
    /// Any other.
    External,
}

/// What a route says of the filter.
#[derive(Clone, Debug)]
pub struct GlobalRateLimitRoute {
    /// Whether the limits of the virtual host count.
    pub host_limits: VirtualHostLimits,
    /// Limits in place of all others.
    pub limits: Option<RateLimits>,
    /// Domain in place of the filter's.
    pub domain: Option<Box<str>>,
}

/// The network rate limit filter: asked once for each connection.
#[derive(Debug)]
pub struct ConnectionRateLimit {
    /// Domain of the limits.
    pub domain: Box<str>,
    /// Keys and values of each descriptor.
    pub descriptors: Vec<Vec<(Box<str>, Box<str>)>>,
    /// The service.
    pub service: GrpcService,
    /// Time for a call; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Connections are closed when the service fails.
    pub deny_on_failure: bool,
    /// Counters, by the places of [`ConnectionRateLimit::COUNTERS`].
    pub stats: FilterStats<6>,
}

impl ConnectionRateLimit {
    /// Names of its counters.
    pub const COUNTERS: [&str; 6] = [
        "total",
        "ok",
        "over_limit",
        "cx_closed",
        "error",
        "failure_mode_allowed",
    ];
}
