//! Listeners and their filter chains.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::OriginalDst;
use crate::cluster::ClusterRef;
use crate::codec::{CodecType, Http1Options, Http2Options};
use crate::endpoint::EndpointMetadata;
use crate::filter::FilterEntry;
use crate::network::NetworkFilterEntry;
use crate::route::{ClusterChoice, RouteTable, RouteTableRef};
use crate::tls::ServerTls;

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

/// Which inspectors look at a connection's first bytes.
#[derive(Clone, Debug, Default)]
pub struct Inspectors {
    /// The TLS inspector and the destination ports it stays away from (half-open ranges).
    pub tls: Option<Vec<(u32, u32)>>,
    /// The HTTP inspector and the destination ports it stays away from.
    pub http: Option<Vec<(u32, u32)>>,
    /// The original destination is read from the socket.
    pub original_dst: bool,
    /// PROXY protocol is read first.
    pub proxy_protocol: bool,
    /// Longest wait for first bytes; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// After the time out the connection goes on with what is known.
    pub continue_on_timeout: bool,
}

/// One listener, compiled.
#[derive(Debug)]
pub struct Listener {
    /// Name, such as `0.0.0.0_9080`.
    pub name: Arc<str>,
    /// Address it is bound to, or stands for.
    pub address: SocketAddr,
    /// Further addresses (dual stack).
    pub additional: Vec<SocketAddr>,
    /// Bound or reached by hand-over.
    pub bind: ListenerBind,
    /// Direction.
    pub direction: TrafficDirection,
    /// Inspectors.
    pub inspectors: Inspectors,
    /// Filter chains.
    pub chains: ChainTable,
    /// Access logs for connections that no chain takes.
    pub access_log: Vec<AccessLogRef>,
}

/// Condition of a filter chain; empty parts hold for every connection. Envoy's `FilterChainMatch`.
#[derive(Clone, Debug, Default)]
pub struct ChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination address.
    pub destination: Vec<IpNet>,
    /// Server names, lower case; `*.x` covers deeper names, `x` is exact.
    pub server_names: Vec<Box<str>>,
    /// Transport seen by the inspectors; empty holds for both.
    pub transport: Option<Transport>,
    /// ALPN protocols, or what the HTTP inspector saw (`http/1.0`, `http/1.1`, `h2c`).
    pub application: Vec<Box<str>>,
    /// Client address.
    pub source: Vec<IpNet>,
    /// Client ports.
    pub source_ports: Vec<u16>,
}

/// Transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// No TLS.
    RawBuffer,
    /// TLS.
    Tls,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Debug)]
pub struct Connection<'a> {
    /// Where the client wanted to go.
    pub destination: OriginalDst,
    /// The client's address.
    pub source: SocketAddr,
    /// Transport seen.
    pub transport: Transport,
    /// Server name of the ClientHello, lower case.
    pub server_name: Option<&'a str>,
    /// ALPN of the ClientHello, or the HTTP inspector's finding.
    pub application: &'a [Vec<u8>],
}

/// The chains of one listener, found in Envoy's order: destination port, destination address, server name, transport,
/// application protocol, source; at each step the most specific criterion that fits wins and the others are out.
#[derive(Debug, Default)]
pub struct ChainTable {
    /// Chains with their conditions, in the order given.
    pub chains: Vec<(ChainMatch, Arc<FilterChain>)>,
    /// Taken when no other fits.
    pub default: Option<Arc<FilterChain>>,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Name; may be empty.
    pub name: Arc<str>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsFilter {
    /// The request's host stands in for an unknown service (`disable_host_header_fallback: false`).
    pub host_header_fallback: bool,
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
    /// Most tries to connect.
    pub max_connect_attempts: u32,
    /// Access logs.
    pub access_log: Vec<AccessLogRef>,
    /// Endpoint metadata that must match, for subsets.
    pub metadata_match: EndpointMetadata,
    /// Clusters that balance by hash get that of the client's address.
    pub hash_source: bool,
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
    /// Access logs.
    pub access_log: Vec<AccessLogRef>,
}

impl ChainTable {
    /// The chain that takes the connection.
    pub fn find(&self, connection: &Connection<'_>) -> Option<&Arc<FilterChain>> {
        let mut left: Vec<&(ChainMatch, Arc<FilterChain>)> = self.chains.iter().collect();
        let port = connection.destination.port();
        narrow(&mut left, |rule| {
            rank(rule.destination_port.is_none(), || {
                rule.destination_port == Some(port)
            })
        });
        narrow(&mut left, |rule| {
            prefix_rank(&rule.destination, connection.destination.ip())
        });
        narrow(&mut left, |rule| {
            server_name_rank(&rule.server_names, connection.server_name)
        });
        narrow(&mut left, |rule| {
            rank(rule.transport.is_none(), || {
                rule.transport == Some(connection.transport)
            })
        });
        narrow(&mut left, |rule| {
            rank(rule.application.is_empty(), || {
                connection.application.iter().any(|seen| {
                    rule.application
                        .iter()
                        .any(|wanted| wanted.as_bytes() == &seen[..])
                })
            })
        });
        narrow(&mut left, |rule| {
            prefix_rank(&rule.source, connection.source.ip())
        });
        narrow(&mut left, |rule| {
            rank(rule.source_ports.is_empty(), || {
                rule.source_ports.contains(&connection.source.port())
            })
        });
        left.first()
            .map(|(_, chain)| chain)
            .or(self.default.as_ref())
    }
}

/// Keeps the rules of the highest rank; those that do not fit (`None`) are out.
fn narrow<T>(left: &mut Vec<&(ChainMatch, T)>, rank: impl Fn(&ChainMatch) -> Option<usize>) {
    let best = left.iter().filter_map(|(rule, _)| rank(rule)).max();
    left.retain(|(rule, _)| best.is_some() && rank(rule) == best);
}

fn rank(unset: bool, fits: impl Fn() -> bool) -> Option<usize> {
    if unset { Some(0) } else { fits().then_some(1) }
}

fn prefix_rank(nets: &[IpNet], ip: IpAddr) -> Option<usize> {
    if nets.is_empty() {
        return Some(0);
    }
    nets.iter()
        .filter(|net| net.contains(&ip))
        .map(|net| 1 + usize::from(net.prefix_len()))
        .max()
}

fn server_name_rank(names: &[Box<str>], seen: Option<&str>) -> Option<usize> {
    if names.is_empty() {
        return Some(0);
    }
    let seen = seen?;
    names
        .iter()
        .filter_map(|name| match name.strip_prefix('*') {
            Some("") => Some(1),
            Some(tail) => {
                (seen.len() > tail.len() && seen.ends_with(tail)).then_some(1 + tail.len())
            }
            None => (seen == &**name).then_some(usize::MAX),
        })
        .max()
}

impl TcpProxy {
    /// The only cluster, when the choice is not weighted.
    pub fn single_cluster(&self) -> Option<&ClusterRef> {
        match &self.cluster {
            ClusterChoice::One(cluster) => Some(cluster),
            ClusterChoice::Weighted { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
