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

use crate::Gauge;
use crate::cluster::ClusterRef;
use crate::cors::CorsPolicy;
use crate::facts::DynamicMetadata;
use crate::filter::Overrides;
use crate::internal_redirect::InternalRedirect;
use crate::matcher::{CookieMatcher, HeaderMatcher, QueryMatcher};
use crate::metadata_matcher::MetadataMatcher;
use crate::mutation::{HeaderMutations, HeaderText, Template};
use crate::rate_limit::RouteRateLimits;
use crate::retry::RetryPolicy;
use crate::route_stats::RouteStats;
use crate::slot::Slot;
use crate::subset::SubsetRef;
use crate::tracing::RouteTracing;
use crate::upstream::RawUpstream;
use crate::wildcard::Wildcards;

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
    /// What follows the `*` of `*.x`.
    pub suffix: Wildcards,
    /// What precedes the `*` of `x.*`.
    pub prefix: Wildcards,
    /// The host `*`.
    pub any: Option<usize>,
    /// The port is taken off the request's host before it is compared.
    pub ignore_port: bool,
    /// Header changes of all routes, applied after the route's own.
    pub request_headers: HeaderMutations,
    /// The same for answers.
    pub response_headers: HeaderMutations,
    /// Header changes of the table come first and those of the route last.
    pub most_specific_last: bool,
    /// Path parameters (`;x=y` at the end of a segment) do not count where paths are compared.
    pub ignore_path_parameters: bool,
    /// Headers taken from requests of the outside.
    pub internal_only: Vec<HeaderName>,
    /// Routes that are counted by themselves.
    pub counted: Vec<Arc<RouteStats>>,
}

/// Whether plain-text requests are sent elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequireTls {
    /// No.
    #[default]
    None,
    /// Every plain-text request is redirected to https (301).
    All,
    /// Those from outside are.
    External,
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
    /// `x-envoy-attempt-count` is sent downstream.
    pub attempt_count_in_response: bool,
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
    /// A CONNECT request; no other condition on the path holds for one.
    Connect,
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
    /// Cookies; all must hold.
    pub cookies: Vec<CookieMatcher>,
    /// The client's certificate.
    pub tls: Option<TlsCondition>,
    /// What filters left; all must hold.
    pub metadata: Vec<MetadataMatcher>,
    /// Share of matching requests that take the route.
    pub fraction: Option<Percentage>,
    /// Only gRPC requests.
    pub grpc: bool,
}

/// A condition on the client's certificate; `None` does not ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsCondition {
    /// There is one.
    pub presented: Option<bool>,
    /// It was verified.
    pub validated: Option<bool>,
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
    /// What the configuration says of it, for policies.
    pub metadata: Option<Box<DynamicMetadata>>,
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
    /// Taken off the client's `grpc-timeout`.
    pub grpc_timeout_offset: Duration,
    /// Longest life of the stream; `None` is the connection manager's, zero no limit.
    pub max_stream: Option<Duration>,
    /// How `grpc-timeout` limits the life of the stream.
    pub grpc_stream: Option<GrpcStream>,
    /// Time without any byte either way; `None` is the connection manager's.
    pub idle_timeout: Option<Duration>,
    /// Bytes of a request's body kept for tries; `None` is the listener's.
    pub buffer_limit: Option<usize>,
    /// Retries.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Where its requests are counted beside the cluster.
    pub stats: Option<Arc<RouteStats>>,
    /// A try that takes too long goes on beside the next one.
    pub hedge: bool,
    /// Redirects of upstreams that are followed here.
    pub internal_redirect: Option<Box<InternalRedirect>>,
    /// Path changes.
    pub path_rewrite: Option<PathRewrite>,
    /// Host changes.
    pub host_rewrite: Option<HostRewrite>,
    /// A host that is changed is added to `x-forwarded-host`.
    pub append_forwarded_host: bool,
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
    /// Upgrades that this route allows or forbids, lower case; others are as the connection manager says.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// CONNECT ends here: its bytes go on as they are.
    pub connect: Option<ConnectEnd>,
}

/// What ends at this proxy and goes on as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectEnd {
    /// How the connection begins.
    pub upstream: RawUpstream,
    /// The bodies of POST requests too.
    pub post: bool,
}

/// How `grpc-timeout` limits the life of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStream {
    /// Highest value taken over; zero any.
    pub max: Duration,
    /// Taken off.
    pub offset: Duration,
}

/// The cluster of a route.
#[derive(Debug)]
pub enum ClusterChoice {
    /// Always this one.
    One(ClusterRef),
    /// The one that this header names.
    Header(HeaderName),
    /// By weight.
    Weighted {
        /// Candidates.
        clusters: Vec<WeightedCluster>,
        /// Sum of weights, above 0.
        total: u32,
        /// Where the draw comes from.
        draw: WeightedDraw,
    },
}

/// Where the draw for weighted clusters comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightedDraw {
    /// Chance.
    Random,
    /// A number in this header, or chance.
    Header(HeaderName),
    /// The hash of the route's policies, or chance.
    Hash,
}

/// One candidate of [`ClusterChoice::Weighted`].
#[derive(Debug)]
pub struct WeightedCluster {
    /// Cluster.
    pub cluster: NamedCluster,
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

/// A cluster, by its name or by what a header says.
#[derive(Clone, Debug)]
pub enum NamedCluster {
    /// This one.
    Fixed(ClusterRef),
    /// The one that this header names.
    Header(HeaderName),
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
    /// The path becomes this text.
    Template(Template),
}

/// A change of `:authority`.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// To this text.
    Literal(HeaderValue),
    /// To the endpoint's host name.
    Auto,
    /// To what this header says, when it says anything.
    Header(HeaderName),
    /// To the path, changed.
    Path(Rewrite),
    /// To this text.
    Template(Template),
}

/// A copy of each request, whose answer is dropped.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where to.
    pub cluster: NamedCluster,
    /// Share of requests.
    pub fraction: Percentage,
    /// `-shadow` is appended to the host.
    pub shadow_suffix: bool,
    /// Host of copies.
    pub host: Option<HeaderValue>,
    /// Header changes of copies, one after the other.
    pub headers: Vec<HeaderMutations>,
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
    /// Every match is replaced.
    pub rewrite: Option<Rewrite>,
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
    /// What is made of it.
    pub format: Option<BodyFormat>,
}

/// How the body of an answer made here is written.
#[derive(Clone, Debug)]
pub struct BodyFormat {
    /// Text.
    pub text: Template,
    /// Its type.
    pub content_type: HeaderText,
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
    /// Delays that requests ask for.
    pub delay_by_header: Option<HeaderShare>,
    /// Aborts that requests ask for.
    pub abort_by_header: Option<HeaderShare>,
    /// Body of aborts, in place of Envoy's.
    pub abort_body: Option<Bytes>,
    /// How fast answers are sent.
    pub rate: Option<(FaultRate, HeaderShare)>,
    /// Only requests to this cluster.
    pub cluster: Option<Box<str>>,
    /// Only requests of these nodes (`x-envoy-downstream-service-node`); empty is all.
    pub nodes: Vec<Box<str>>,
    /// Requests under way with a fault, at most.
    pub max_active: Option<u32>,
    /// Those that are.
    pub active: Arc<Gauge>,
}

/// A share of requests that a header may make smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderShare {
    /// The share, and the most that a header may ask for.
    pub share: Percentage,
    /// What 1 means in that header, in parts per million.
    pub unit: u32,
}

/// How fast an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultRate {
    /// KiB a second.
    Fixed(u64),
    /// As a header says.
    Header,
}

/// How a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAbort {
    /// With an HTTP status.
    Http(StatusCode),
    /// With a gRPC status, on HTTP 200.
    Grpc(u32),
}

impl RouteForward {
    /// Sends requests to a cluster and does nothing else.
    pub fn to(cluster: ClusterChoice) -> Self {
        Self {
            cluster,
            cluster_not_found: StatusCode::SERVICE_UNAVAILABLE,
            timeout: None,
            grpc_timeout_max: None,
            grpc_timeout_offset: Duration::ZERO,
            max_stream: None,
            grpc_stream: None,
            idle_timeout: None,
            buffer_limit: None,
            retry: None,
            stats: None,
            hedge: false,
            internal_redirect: None,
            path_rewrite: None,
            host_rewrite: None,
            append_forwarded_host: false,
            mirrors: Vec::new(),
            hash: Vec::new(),
            rate_limits: None,
            subset: None,
            high: false,
            upgrades: Vec::new(),
            connect: None,
        }
    }
}

impl RouteMatch {
    /// A condition on the path alone.
    pub fn on(path: PathMatcher) -> Self {
        Self {
            path,
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            tls: None,
            metadata: Vec::new(),
            fraction: None,
            grpc: false,
        }
    }
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
            Self::Connect => false,
        }
    }

    /// Bytes of the path that a prefix rewrite replaces: all of it for exact and regex matches.
    pub fn matched_len(&self, path: &str) -> usize {
        match self {
            Self::Prefix { value, .. } | Self::SegmentPrefix { value, .. } => {
                value.len().min(path.len())
            }
            Self::Exact { .. } | Self::Regex(_) | Self::Connect => path.len(),
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
