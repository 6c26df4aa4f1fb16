//! Listeners and their filter chains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::chain::{ChainLookup, ChainMatch, Connection, Overlap};
use crate::cluster::ClusterRef;
use crate::codec::{CodecType, Http1Options, Http2Options, Http3Options};
use crate::filter::FilterEntry;
use crate::head::{HeadOptions, RouterOptions};
use crate::listener_filters::ListenerFilters;
use crate::metric::MetricOverrides;
use crate::mutation::{HeaderMutations, HeaderText};
use crate::network::{ConnectionLimit, NetworkFilterEntry};
use crate::route::{ClusterChoice, RouteTable, RouteTableRef};
use crate::socket::ListenSocket;
use crate::subset::SubsetRef;
use crate::tls::ServerTls;
use crate::tracing::{HttpTracing, RequestIdTracing};

/// Which way a listener's traffic flows, as its xDS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TrafficDirection {
    /// Not said: gateways and plain Envoy configurations.
    #[default]
    Unspecified,
    /// To the workload.
    Inbound,
    /// From the workload.
    Outbound,
}

/// Whether a listener has a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerBind {
    /// Bound; with `original_dst`, connections go to the listener whose address is their original destination, if any.
    Socket {
        /// Connections are handed to the listener of their original destination.
        use_original_dst: bool,
    },
    /// Only reached by hand-over (`bind_to_port: false`).
    HandOver,
}

/// One listener, compiled.
#[derive(Debug)]
pub struct Listener {
    /// Name, such as `0.0.0.0_9080`.
    pub name: Arc<str>,
    /// Tells it from other values but for its chains: equal only where nothing else changed.
    pub fingerprint: u128,
    /// Address it is bound to, or stands for.
    pub address: SocketAddr,
    /// Further addresses (dual stack).
    pub additional: Vec<SocketAddr>,
    /// Bound or reached by hand-over.
    pub bind: ListenerBind,
    /// Direction.
    pub direction: TrafficDirection,
    /// Sockets.
    pub socket: ListenSocket,
    /// What looks at connections first.
    pub filters: ListenerFilters,
    /// Most connections at a time.
    pub limit: Option<Arc<ConnectionLimit>>,
    /// Filter chains.
    pub chains: ChainTable,
    /// What the listener is exempt from.
    pub exempt: Exemptions,
    /// Access logs for connections that no chain takes.
    pub access_log: Vec<AccessLogRef>,
}

/// Limits of the process that do not hold for a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exemptions {
    /// The limit of downstream connections.
    pub connection_limit: bool,
    /// What overload does.
    pub overload: bool,
}

/// The chains of one listener.
#[derive(Debug, Default)]
pub struct ChainTable {
    chains: Vec<(ChainMatch, Arc<FilterChain>)>,
    lookup: ChainLookup,
    default: Option<Arc<FilterChain>>,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Tells a chain from another value of itself: equal only for chains that were configured alike.
    pub fingerprint: u128,
    /// TLS that is terminated; `None` is plain text or passes TLS through.
    pub tls: Option<Arc<ServerTls>>,
    /// Time for the TLS handshake.
    pub handshake_timeout: Option<Duration>,
    /// Network filters before the terminal one, in order.
    pub filters: Vec<NetworkFilterEntry>,
    /// The terminal filter.
    pub filter: NetworkFilter,
    /// Metrics filter of a TCP chain (`istio.stats`).
    pub stats: Option<StatsFilter>,
    /// TCP metadata exchange is done on this chain.
    pub metadata_exchange: bool,
}

impl Listener {
    /// All addresses it is bound to or stands for.
    pub fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        std::iter::once(&self.address).chain(&self.additional)
    }
}

/// A chain's terminal filter.
#[derive(Debug)]
pub enum NetworkFilter {
    /// HTTP.
    Http(Arc<HttpManager>),
    /// TCP.
    Tcp(Arc<TcpProxy>),
    /// What the client sends is sent back.
    Echo,
    /// This is sent, then the connection is closed.
    DirectResponse(bytes::Bytes),
}

/// Which side a proxy reports for in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporter {
    /// The client's sidecar, or a gateway.
    Source,
    /// The server's sidecar.
    Destination,
}

/// The `istio.stats` filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsFilter {
    /// The request's host stands in for an unknown service (`disable_host_header_fallback: false`).
    pub host_header_fallback: bool,
    /// Changes to the standard metrics.
    pub overrides: Option<Arc<MetricOverrides>>,
    /// Time between two reports of an open TCP connection; `None` is the default.
    pub report_interval: Option<Duration>,
}

/// An access log, by index of the process-wide table of sinks that `telemetry` keeps: compiled once and shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessLogRef(pub u32);

/// TCP proxying. Envoy's `TcpProxy`.
#[derive(Debug)]
pub struct TcpProxy {
    /// Statistics prefix.
    pub stat_prefix: Arc<str>,
    /// Cluster or weighted clusters.
    pub cluster: ClusterChoice,
    /// Time without any byte either way; `None` is no limit.
    pub idle_timeout: Option<Duration>,
    /// Longest life of a connection; `None` is no limit.
    pub max_duration: Option<Duration>,
    /// Up to so many percent more, at random.
    pub max_duration_jitter: f64,
    /// Most tries to connect.
    pub max_connect_attempts: u32,
    /// Shortest and longest wait between tries; it doubles each time and is taken at random below that.
    pub backoff: Option<(Duration, Duration)>,
    /// When the access log is written beside the connection's end.
    pub log_moments: LogMoments,
    /// Access logs.
    pub access_log: Vec<AccessLogRef>,
    /// Labels that the endpoint must have, for clusters with subsets.
    pub subset: Option<SubsetRef>,
    /// Clusters that balance by hash get that of the client's address.
    pub hash_source: bool,
    /// The upstream is connected to once the client has sent something, of which no more than so many bytes wait.
    pub early_data: Option<usize>,
    /// Bytes go through HTTP proxies.
    pub tunnel: Option<Box<TcpTunnel>>,
}

/// A tunnel through an HTTP proxy.
#[derive(Clone, Debug)]
pub struct TcpTunnel {
    /// Where the tunnel leads, as host and port.
    pub host: HeaderText,
    /// Path of a POST request that is sent in place of CONNECT.
    pub post: Option<PathAndQuery>,
    /// Headers of the request.
    pub headers: HeaderMutations,
}

/// When a connection is logged beside its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMoments {
    /// When it begins.
    pub start: bool,
    /// When its upstream connection is there.
    pub connected: bool,
    /// Every so often.
    pub interval: Option<Duration>,
}

/// Where routes come from.
#[derive(Debug)]
pub enum RouteSource {
    /// RDS, by name; requests wait until it is first known.
    Rds(RouteTableRef),
    /// Inline.
    Inline(Arc<RouteTable>),
}

/// How paths are made canonical before anything reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PathNormalization {
    /// RFC 3986 normalisation: dot segments, `\` to `/`, percent-encoded unreserved characters decoded.
    pub normalize: bool,
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// `%2F` and `%5C` are decoded first.
    pub unescape_slashes: bool,
}

/// What is done with `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardClientCert {
    /// Removed.
    #[default]
    Sanitize,
    /// Left alone on mTLS connections, removed on others.
    ForwardOnly,
    /// Appended to on mTLS connections.
    AppendForward,
    /// Replaced on mTLS connections, removed on others.
    SanitizeSet,
    /// Left alone always.
    AlwaysForwardOnly,
}

/// Details of the client's certificate that go into `x-forwarded-client-cert`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct XfccDetails {
    /// `Subject`.
    pub subject: bool,
    /// `Cert`.
    pub cert: bool,
    /// `Chain`.
    pub chain: bool,
    /// `URI`.
    pub uri: bool,
    /// `DNS`.
    pub dns: bool,
}

/// The HTTP connection manager.
#[derive(Debug)]
pub struct HttpManager {
    /// Statistics prefix.
    pub stat_prefix: Arc<str>,
    /// Routes.
    pub routes: RouteSource,
    /// HTTP filters before the router, in order.
    pub filters: Vec<FilterEntry>,
    /// `Server` header of answers; `None` passes the upstream's through.
    pub server_name: Option<http::HeaderValue>,
    /// The connection's own address is the client's (gateways); else `x-forwarded-for` is trusted.
    pub use_remote_address: bool,
    /// Trusted proxies in front.
    pub xff_trusted_hops: u32,
    /// `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// Its details.
    pub xfcc: XfccDetails,
    /// Paths.
    pub paths: PathNormalization,
    /// A request with `#` in its path is refused (400); else the fragment is cut.
    pub reject_fragment: bool,
    /// A request id is made when absent.
    pub generate_request_id: bool,
    /// How request ids and tracing hang together.
    pub request_id: RequestIdTracing,
    /// Tracing; `None` does nothing about it.
    pub tracing: Option<Box<HttpTracing>>,
    /// The request id of an outside client is kept.
    pub preserve_external_request_id: bool,
    /// Upgrades allowed, lower case (`websocket`, `connect`).
    pub upgrades: Vec<Box<str>>,
    /// A `100-continue` expectation is passed to the upstream.
    pub proxy_100_continue: bool,
    /// Which protocol is spoken.
    pub codec: CodecType,
    /// HTTP/1.
    pub http1: Http1Options,
    /// HTTP/2.
    pub http2: Http2Options,
    /// HTTP/3.
    pub http3: Http3Options,
    /// Bytes of request headers, at most.
    pub max_headers_bytes: usize,
    /// Request headers, at most.
    pub max_headers_count: u32,
    /// Time to read on after an answer that ends a connection; `None` closes at once.
    pub delayed_close: Option<Duration>,
    /// Time without any byte on a stream; `None` is no limit.
    pub stream_idle_timeout: Option<Duration>,
    /// Time for the whole request; `None` is no limit.
    pub request_timeout: Option<Duration>,
    /// Time for the request's headers; `None` is no limit.
    pub request_headers_timeout: Option<Duration>,
    /// Time without any stream on the connection; `None` is no limit.
    pub idle_timeout: Option<Duration>,
    /// Longest life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Requests after which a connection is closed.
    pub max_requests_per_connection: Option<u32>,
    /// When requests are logged beside their end.
    pub log_moments: LogMoments,
    /// Access logs.
    pub access_log: Vec<AccessLogRef>,
    /// Longest life of a stream; `None` is no limit.
    pub max_stream_duration: Option<Duration>,
    /// What is done with heads.
    pub head: HeadOptions,
    /// The router's own options.
    pub router: RouterOptions,
}

impl ChainTable {
    /// Compiles the conditions of the chains; `default` is taken when none of them fits.
    ///
    /// # Errors
    /// When two chains would take the same connections.
    pub fn new(
        chains: Vec<(ChainMatch, Arc<FilterChain>)>,
        default: Option<Arc<FilterChain>>,
    ) -> Result<Self, Overlap> {
        let rules: Vec<&ChainMatch> = chains.iter().map(|(rule, _)| rule).collect();
        Ok(Self {
            lookup: ChainLookup::new(&rules)?,
            chains,
            default,
        })
    }

    /// The chain that takes the connection.
    pub fn find(&self, connection: &Connection<'_>) -> Option<&Arc<FilterChain>> {
        self.lookup
            .find(connection)
            .and_then(|place| self.chains.get(place))
            .map(|(_, chain)| chain)
            .or(self.default.as_ref())
    }

    /// Chains with their conditions, in the order given.
    pub fn chains(&self) -> &[(ChainMatch, Arc<FilterChain>)] {
        &self.chains
    }

    /// The chain for connections that no other takes.
    pub fn default_chain(&self) -> Option<&Arc<FilterChain>> {
        self.default.as_ref()
    }

    /// All chains, the default one last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        let chains = self.chains.iter().map(|(_, chain)| chain);
        chains.chain(&self.default)
    }
}

impl TcpProxy {
    /// The only cluster, when the choice is not weighted.
    pub fn single_cluster(&self) -> Option<&ClusterRef> {
        match &self.cluster {
            ClusterChoice::One(cluster) => Some(cluster),
            ClusterChoice::Header(_) | ClusterChoice::Weighted { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
