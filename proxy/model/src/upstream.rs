//! What the relay needs of balancing and dialling: the traits that join the rooms, and what goes over them.
//!
//! Both are implemented once, per worker, and used with static dispatch.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Version;

use crate::cluster::{Cluster, ClusterRef};
use crate::endpoint::Endpoint;
use crate::handshake::Handshake;
use crate::peer::PeerIdentity;
use crate::retry::{Labels, TriedPriorities};
use crate::session::SessionHost;
use crate::subset::SubsetCriteria;

/// What is asked of the balancer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Where the connection wanted to go, for clusters that follow it.
    pub original_dst: Option<SocketAddr>,
    /// Endpoints (by [`Endpoint::id`]) that were tried before.
    pub tried: &'a [u64],
    /// Choices made before a tried endpoint is taken after all; 0 takes the first.
    pub selection_attempts: u32,
    /// Endpoints with these labels are avoided like those that were tried.
    pub avoid: &'a [Labels],
    /// Priorities that were tried are left out.
    pub priorities: Option<&'a TriedPriorities>,
    /// Hash of the request, for clusters that balance by it; without one the choice is random.
    pub hash: Option<u64>,
    /// Labels that the endpoint must have, for clusters with subsets.
    pub subset: Option<&'a SubsetCriteria>,
    /// Headers of the request, where the cluster may be told its endpoint by one.
    pub headers: Option<&'a http::HeaderMap>,
    /// Server name of the connection's ClientHello, and the port that goes with it, for clusters that forward to it.
    pub server_name: Option<(&'a str, Option<u16>)>,
    /// The endpoint that the request's session wants.
    pub session: Option<SessionHost>,
}

/// How a request to an endpoint ended, for passive health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Success,
    /// A 5xx other than those of [`Outcome::GatewayError`].
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No connection, or no answer: a gateway error, unless the cluster tells them apart.
    LocalFailure,
}

/// The load of an endpoint, as it says in an answer (ORCA).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Share of the application's capacity in use.
    pub application: f64,
    /// Share of the processor in use.
    pub cpu: f64,
    /// Requests a second.
    pub rps: f64,
    /// Errors a second.
    pub eps: f64,
    /// Other figures by name, such as `named_metrics.x` and `utilization.y`.
    pub metrics: Vec<(String, f64)>,
}

/// Chooses endpoints of clusters.
pub trait Balance {
    /// An endpoint of `cluster` (the value of `slot`), or `None` when none may be chosen.
    fn choose(
        &self,
        slot: &ClusterRef,
        cluster: &Cluster,
        choice: &Choice<'_>,
    ) -> Option<Arc<Endpoint>>;

    /// The cluster that takes a request to one that is made of others; `None` when none can, or for any other cluster.
    fn member(&self, _cluster: &Cluster) -> Option<(ClusterRef, Arc<Cluster>)> {
        None
    }

    /// Tells how a request to `endpoint` ended.
    fn report(&self, cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome);

    /// Tells that an endpoint of `cluster` failed at once, by what it said itself.
    fn failed(&self, cluster: &Cluster);

    /// Tells of the load that `endpoint` reported; only asked where weights follow it.
    fn load(&self, cluster: &Cluster, endpoint: &Endpoint, report: &LoadReport);
}

/// Where a request or connection is sent.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The cluster's slot: names the pool.
    pub slot: &'a ClusterRef,
    /// Its value.
    pub cluster: &'a Arc<Cluster>,
    /// The endpoint chosen.
    pub endpoint: &'a Arc<Endpoint>,
    /// Protocol of the downstream request, for clusters that follow it.
    pub downstream: Version,
    /// The `istio.alpn` filter is on: ALPN by the request's protocol where the cluster allows it.
    pub istio_alpn: bool,
    /// The request's host, for `auto_sni`.
    pub host: Option<&'a str>,
    /// Client and destination of the downstream connection, for the PROXY protocol.
    pub downstream_addresses: Option<(SocketAddr, SocketAddr)>,
    /// Where connections come from in place of the cluster's own address.
    pub source: Option<UpstreamSource>,
    /// The request has high priority.
    pub high: bool,
    /// A number that no other downstream connection of this worker has.
    pub connection: u64,
}

/// An address, which need not be this host's, that upstream connections come from (`IP_TRANSPARENT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamSource {
    /// The address.
    pub ip: IpAddr,
    /// `SO_MARK` of the connections, by which their packets find the way back; 0 is none.
    pub mark: u32,
}

/// What is known of an upstream connection.
#[derive(Clone, Debug)]
pub struct UpstreamConnection {
    /// Our end.
    pub local: Option<SocketAddr>,
    /// The endpoint's end.
    pub remote: SocketAddr,
    /// Verified SPIFFE identity of the endpoint.
    pub peer: Option<PeerIdentity>,
    /// The connection is TLS.
    pub tls: bool,
    /// What its handshake agreed on.
    pub handshake: Option<Arc<Handshake>>,
    /// ALPN protocol the endpoint chose.
    pub alpn: Option<Vec<u8>>,
    /// Protocol spoken.
    pub version: Version,
}

/// Why no answer came from an endpoint. Envoy's stream reset reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// A circuit breaker's limit.
    Overflow,
    /// The cluster has as many connection pools as it may.
    NoPool,
    /// TCP or TLS could not be set up.
    ConnectFailure,
    /// TCP and TLS took longer than the cluster's connect timeout.
    ConnectTimeout,
    /// The connection ended under the request.
    ConnectionTermination,
    /// The endpoint reset the stream.
    RemoteReset,
    /// The endpoint did not take the stream (HTTP/2 REFUSED_STREAM, GOAWAY).
    RemoteRefused,
    /// The endpoint broke the protocol.
    ProtocolError,
    /// The request's own body failed: the downstream went away.
    LocalReset,
}

impl ResetReason {
    /// As access logs and local replies name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::NoPool => "no healthy upstream",
            Self::ConnectFailure => "remote connection failure",
            Self::ConnectTimeout => "connection timeout",
            Self::ConnectionTermination => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RemoteRefused => "remote refused stream reset",
            Self::ProtocolError => "protocol error",
            Self::LocalReset => "local reset",
        }
    }

    /// Whether no connection was there at all.
    pub fn is_connect_failure(self) -> bool {
        matches!(self, Self::ConnectFailure | Self::ConnectTimeout)
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ResetReason {}

/// A request that got no answer.
#[derive(Clone, Debug)]
pub struct SendFailure {
    /// Why.
    pub reason: ResetReason,
    /// What the transport said, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub transport: Option<Arc<str>>,
    /// Bytes of the request may have reached the endpoint.
    pub started: bool,
    /// The connection, when there was one.
    pub connection: Option<Arc<UpstreamConnection>>,
}

/// In the extensions of a request: its body goes to the endpoint as it is, over a connection of its own, and what comes
/// back is the body of a plain success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawUpstream {
    /// Version of the PROXY protocol's header that is sent first.
    pub proxy_protocol: Option<u8>,
}

/// Sends requests over pooled connections.
pub trait Dial<B> {
    /// The body of answers.
    type Body;

    /// Sends `request` (path as URI, `Host` as header) to the target and gives its answer's head.
    fn send(
        &self,
        target: Target<'_>,
        request: http::Request<B>,
    ) -> impl Future<Output = Result<(http::Response<Self::Body>, Arc<UpstreamConnection>), SendFailure>>;
}
