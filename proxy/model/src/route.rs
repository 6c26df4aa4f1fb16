//! Route tables: virtual hosts, matches and actions, in the order they are tried.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use http::uri::Scheme;
use regex::Regex;

use crate::cluster::ClusterRef;
use crate::filter::Overrides;
use crate::matcher::{HeaderMatcher, QueryMatcher, StringMatcher};
use crate::mutation::HeaderMutations;
use crate::rate_limit::RouteRateLimits;
use crate::slot::Slot;
use crate::subset::SubsetRef;
use crate::tracing::RouteTracing;

/// The slot of a route table, filled by RDS or inline.
pub type RouteTableRef = Arc<Slot<RouteTable>>;

/// A share of requests, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentage(pub u32);

impl Percentage {
    /// Every request.
    pub const ALL: Self = Self(1_000_000);

    /// Whether a request with the draw `0..1_000_000` falls into the share.
    pub fn holds(self, draw: u32) -> bool {
        draw < self.0
    }
}

/// One route configuration. Envoy's `RouteConfiguration`.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Name, such as `9080`.
    pub name: Arc<str>,
    /// Virtual hosts in the order given.
    pub hosts: Vec<Arc<VirtualHost>>,
    /// Host, lower case, to index in `hosts`.
    pub exact: HashMap<Box<str>, usize, RandomState>,
    /// What follows the `*` of `*.x`, longest first.
    pub suffix: Vec<(Box<str>, usize)>,
    /// What precedes the `*` of `x.*`, longest first.
    pub prefix: Vec<(Box<str>, usize)>,
    /// The host `*`.
    pub any: Option<usize>,
    /// The port is taken off the request's host before it is compared.
    pub ignore_port: bool,
    /// Header changes of all routes, applied after the route's own.
    pub request_headers: HeaderMutations,
    /// The same for answers.
    pub response_headers: HeaderMutations,
}

/// Whether plain-text requests are sent elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequireTls {
    /// No.
    #[default]
    None,
    /// Every plain-text request is redirected to https (301).
    All,
}

/// One virtual host.
#[derive(Debug, Default)]
pub struct VirtualHost {
    /// Name, such as `reviews.default.svc.cluster.local:9080`.
    pub name: Arc<str>,
    /// Routes in the order they are tried.
    pub routes: Vec<Arc<Route>>,
    /// `x-envoy-attempt-count` is sent upstream.
    pub include_attempt_count: bool,
    /// Redirect to https.
    pub require_tls: RequireTls,
    /// Header changes of all its routes.
    pub request_headers: HeaderMutations,
    /// The same for answers.
    pub response_headers: HeaderMutations,
    /// Retry policy of routes that have none.
    pub retry: Option<Arc<RetryPolicy>>,
}

/// A condition on the path without query.
#[derive(Clone, Debug)]
pub enum PathMatcher {
    /// Starts with; plain text, so `/foo` holds for `/foobar`.
    Prefix {
        /// Text to start with.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Equal to.
    Exact {
        /// Text to equal.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Equal to, or followed by `/`.
    SegmentPrefix {
        /// Text without trailing slash.
        value: Box<str>,
        /// Compare without ASCII case.
        ignore_case: bool,
    },
    /// Full match.
    Regex(Regex),
}

/// What a request must look like.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// Path.
    pub path: PathMatcher,
    /// Headers and pseudo-headers; all must hold.
    pub headers: Vec<HeaderMatcher>,
    /// Query parameters; all must hold.
    pub query: Vec<QueryMatcher>,
    /// Share of matching requests that take the route.
    pub fraction: Option<Percentage>,
    /// Only gRPC requests.
    pub grpc: bool,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Name, for the access log; may be empty.
    pub name: Arc<str>,
    /// Condition.
    pub matches: RouteMatch,
    /// What happens.
    pub action: RouteAction,
    /// Header changes of the request.
    pub request_headers: HeaderMutations,
    /// Header changes of the answer.
    pub response_headers: HeaderMutations,
    /// What it says of the filters of the chain.
    pub overrides: Overrides,
    /// Cross-origin policy of the route's older field, for a filter that [`Route::overrides`] gives none.
    pub cors: Option<Arc<CorsPolicy>>,
    /// What it says of tracing.
    pub tracing: Option<Arc<RouteTracing>>,
}

/// What happens to a request.
#[derive(Debug)]
pub enum RouteAction {
    /// Sent to a cluster.
    Forward(Box<RouteForward>),
    /// Answered with a redirect.
    Redirect(Redirect),
    /// Answered here.
    Direct(DirectResponse),
}

/// How a request is sent on.
#[derive(Debug)]
pub struct RouteForward {
    /// To which cluster.
    pub cluster: ClusterChoice,
    /// Status when the cluster does not exist.
    pub cluster_not_found: StatusCode,
    /// Time from the end of the request to the end of the answer, retries included; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Highest value of `grpc-timeout` taken over as timeout; `Some(0)` any; `None` the header is ignored.
    pub grpc_timeout_max: Option<Duration>,
    /// Time without any byte either way; `None` is the connection manager's.
    pub idle_timeout: Option<Duration>,
    /// Retries.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Path changes.
    pub path_rewrite: Option<PathRewrite>,
    /// Host changes.
    pub host_rewrite: Option<HostRewrite>,
    /// Copies sent elsewhere.
    pub mirrors: Vec<Mirror>,
    /// For consistent hashing.
    pub hash: Vec<HashPolicy>,
    /// What rate limits count its requests by; boxed, as few routes have any.
    pub rate_limits: Option<Box<RouteRateLimits>>,
    /// Labels that the endpoint must have, for clusters with subsets.
    pub subset: Option<SubsetRef>,
    /// Requests count against the limits of high priority.
    pub high: bool,
    /// Upgrades allowed on this route beside the connection manager's, lower case.
    pub upgrades: Vec<Box<str>>,
}

/// The cluster of a route.
#[derive(Debug)]
pub enum ClusterChoice {
    /// Always this one.
    One(ClusterRef),
    /// By weight.
    Weighted {
        /// Candidates.
        clusters: Vec<WeightedCluster>,
        /// Sum of weights, above 0.
        total: u32,
    },
}

/// One candidate of [`ClusterChoice::Weighted`].
#[derive(Debug)]
pub struct WeightedCluster {
    /// Cluster.
    pub cluster: ClusterRef,
    /// Share of the total.
    pub weight: u32,
    /// Labels that the endpoint must have, with those of the route.
    pub subset: Option<SubsetRef>,
    /// Header changes of the request.
    pub request_headers: HeaderMutations,
    /// Header changes of the answer.
    pub response_headers: HeaderMutations,
    /// Host changes; beats the route's.
    pub host_rewrite: Option<HostRewrite>,
    /// What it says of the filters of the chain, over what the route says; `None` is just the route's.
    pub overrides: Option<Overrides>,
}

/// A change of the path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// The matched prefix (or the whole exact path) is replaced.
    Prefix(Box<str>),
    /// Every match of the expression is replaced; `\1` and so on are groups (RE2 syntax).
    Regex {
        /// Expression.
        pattern: Regex,
        /// Replacement in the `regex` crate's syntax.
        replacement: Box<str>,
    },
}

/// A change of `:authority`.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// To this text.
    Literal(HeaderValue),
    /// To the endpoint's host name.
    Auto,
}

/// A copy of each request, whose answer is dropped.
#[derive(Debug)]
pub struct Mirror {
    /// Where to.
    pub cluster: ClusterRef,
    /// Share of requests.
    pub fraction: Percentage,
    /// `-shadow` is appended to the host.
    pub shadow_suffix: bool,
}

/// A part of a request's hash.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub subject: HashSubject,
    /// Later policies do not count when there is a hash by now.
    pub terminal: bool,
}

/// What the hash of a request is made from.
#[derive(Clone, Debug)]
pub enum HashSubject {
    /// A header's values.
    Header {
        /// Name.
        name: HeaderName,
        /// Applied to each value first.
        rewrite: Option<Rewrite>,
    },
    /// A cookie's value; with a time to live the cookie is made when absent.
    Cookie {
        /// Name.
        name: Box<str>,
        /// Path of a cookie that is made.
        path: Box<str>,
        /// Time to live of a cookie that is made; zero is a session cookie, `None` makes none.
        ttl: Option<Duration>,
        /// Further attributes of a cookie that is made, each after `; `.
        attributes: Box<str>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(Box<str>),
}

/// A regular expression and what its matches become.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The expression.
    pub pattern: Regex,
    /// Text with `${1}` for groups.
    pub replacement: Box<str>,
}

/// Conditions of a retry, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    /// Any 5xx, or no answer at all.
    pub const FIVE_XX: Self = Self(1);
    /// 502, 503 or 504.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// Disconnect, reset or read timeout.
    pub const RESET: Self = Self(1 << 2);
    /// Reset before the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 5);
    /// HTTP/2 REFUSED_STREAM.
    pub const REFUSED_STREAM: Self = Self(1 << 6);
    /// A status of [`RetryPolicy::statuses`].
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 7);
    /// A header of [`RetryPolicy::headers`].
    pub const RETRIABLE_HEADERS: Self = Self(1 << 8);
    /// `x-envoy-ratelimited`.
    pub const ENVOY_RATELIMITED: Self = Self(1 << 9);
    /// gRPC CANCELLED.
    pub const GRPC_CANCELLED: Self = Self(1 << 10);
    /// gRPC DEADLINE_EXCEEDED.
    pub const GRPC_DEADLINE_EXCEEDED: Self = Self(1 << 11);
    /// gRPC INTERNAL.
    pub const GRPC_INTERNAL: Self = Self(1 << 12);
    /// gRPC RESOURCE_EXHAUSTED.
    pub const GRPC_RESOURCE_EXHAUSTED: Self = Self(1 << 13);
    /// gRPC UNAVAILABLE.
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 14);
    /// HTTP/3 post-connect failure; kept so that a policy reads back as written.
    pub const HTTP3_POST_CONNECT: Self = Self(1 << 15);

    /// Whether any condition of `other` is asked for.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Waiting time between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Base of the exponential growth.
    pub base: Duration,
    /// Longest wait.
    pub max: Duration,
}

/// When and how often a request is tried again.
#[derive(Debug)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// Retries after the first try.
    pub retries: u32,
    /// Time for one try.
    pub per_try_timeout: Option<Duration>,
    /// Statuses for [`RetryOn::RETRIABLE_STATUS_CODES`].
    pub statuses: Vec<StatusCode>,
    /// Headers of an answer for [`RetryOn::RETRIABLE_HEADERS`].
    pub headers: Vec<HeaderMatcher>,
    /// Endpoints already tried are avoided.
    pub avoid_previous_hosts: bool,
    /// Choices made before a previous host is taken after all.
    pub host_selection_attempts: u32,
    /// Waiting times.
    pub backoff: Backoff,
}

/// A redirect.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// New host.
    pub host: Option<Box<str>>,
    /// New port.
    pub port: Option<u16>,
    /// New scheme.
    pub scheme: Option<Scheme>,
    /// The scheme becomes https.
    pub https: bool,
    /// New path.
    pub path: Option<Box<str>>,
    /// Replaces the matched prefix.
    pub prefix: Option<Box<str>>,
    /// The query is dropped.
    pub strip_query: bool,
    /// Status, 301 by default.
    pub status: StatusCode,
}

/// An answer made here.
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// Status.
    pub status: StatusCode,
    /// Body, at most 1 MiB.
    pub body: Bytes,
}

/// Injected faults.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// Delay and share of requests.
    pub delay: Option<(Duration, Percentage)>,
    /// Abort and share of requests.
    pub abort: Option<(FaultAbort, Percentage)>,
    /// All must hold for a fault to apply.
    pub headers: Vec<HeaderMatcher>,
}

/// How a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAbort {
    /// With an HTTP status.
    Http(StatusCode),
    /// With a gRPC status, on HTTP 200.
    Grpc(u32),
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// Origins allowed.
    pub origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`.
    pub methods: Option<HeaderValue>,
    /// `access-control-allow-headers`.
    pub headers: Option<HeaderValue>,
    /// `access-control-expose-headers`.
    pub expose: Option<HeaderValue>,
    /// `access-control-max-age`, seconds.
    pub max_age: Option<HeaderValue>,
    /// `access-control-allow-credentials: true`.
    pub credentials: bool,
    /// Pre-flights whose origin does not match are forwarded.
    pub forward_unmatched_preflights: bool,
}

impl PathMatcher {
    /// Whether the path, without query, satisfies the condition.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix { value, ignore_case } => has_prefix(path, value, *ignore_case),
            Self::Exact {
                value,
                ignore_case: true,
            } => path.eq_ignore_ascii_case(value),
            Self::Exact {
                value,
                ignore_case: false,
            } => path == &**value,
            Self::SegmentPrefix { value, ignore_case } => {
                has_prefix(path, value, *ignore_case)
                    && matches!(path.as_bytes().get(value.len()), None | Some(b'/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// Bytes of the path that a prefix rewrite replaces: all of it for exact and regex matches.
    pub fn matched_len(&self, path: &str) -> usize {
        match self {
            Self::Prefix { value, .. } | Self::SegmentPrefix { value, .. } => {
                value.len().min(path.len())
            }
            Self::Exact { .. } | Self::Regex(_) => path.len(),
        }
    }
}

fn has_prefix(path: &str, value: &str, ignore_case: bool) -> bool {
    path.as_bytes().get(..value.len()).is_some_and(|head| {
        if ignore_case {
            head.eq_ignore_ascii_case(value.as_bytes())
        } else {
            head == value.as_bytes()
        }
    })
}
