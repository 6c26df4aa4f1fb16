//! Clusters: who can be called and how.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::codec::UpstreamCodec;
use crate::endpoint::{Endpoint, EndpointMetadata, EndpointsRef, Locality};
use crate::plan::{Balancing, PlanSlot};
use crate::slot::Slot;
use crate::tls::ClientTls;

/// The slot of a cluster; routes and TCP proxies hold it.
pub type ClusterRef = Arc<Slot<Cluster>>;

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug)]
pub enum ClusterKind {
    /// From EDS, or given inline: the slot is filled by `state`.
    Endpoints(EndpointsRef),
    /// Host names resolved in the background into the slot. `strict`: every address is an endpoint, else the first.
    Dns {
        /// Filled by the resolver.
        endpoints: EndpointsRef,
        /// Host names to look up.
        hosts: Arc<[DnsHost]>,
        /// STRICT_DNS, not LOGICAL_DNS.
        strict: bool,
        /// Time between look-ups.
        refresh: Duration,
        /// Addresses that are used.
        family: DnsFamily,
    },
    /// The connection's original destination is the endpoint; with a port override it replaces the port.
    OriginalDst {
        /// Port to use in place of the original one.
        port_override: Option<u16>,
    },
}

/// A host name of a DNS cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsHost {
    /// Host name, or an address.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    /// Weight of each of its addresses.
    pub weight: u32,
    /// Metadata of each of its addresses.
    pub metadata: EndpointMetadata,
    /// Where it runs.
    pub locality: Locality,
    /// Priority of the locality.
    pub priority: u32,
    /// Weight of the locality.
    pub locality_weight: u32,
}

/// Which addresses of a host name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 where there is any, else IPv4.
    Auto,
    /// IPv4 where there is any, else IPv6.
    V4Preferred,
    /// IPv4 alone.
    V4Only,
    /// IPv6 alone.
    V6Only,
    /// Both.
    All,
}

/// Protocol spoken to the cluster's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge or by ALPN.
    Http2,
    /// As the downstream request came.
    Downstream,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LbPolicy {
    /// Of two at random, the one with fewer requests under way (`choices` candidates).
    LeastRequest {
        /// Candidates looked at, at least 2.
        choices: u32,
    },
    /// In turn, by weight.
    RoundRobin,
    /// At random, whatever the weights.
    Random,
    /// By the request's hash, on a ring of points (ketama).
    RingHash {
        /// Points at least, unless `max` is smaller.
        min: u64,
        /// Points at most.
        max: u64,
    },
    /// By the request's hash, in a table of this prime size.
    Maglev {
        /// Entries.
        size: u32,
    },
    /// By the cluster's kind ([`ClusterKind::OriginalDst`]).
    ClusterProvided,
}

impl LbPolicy {
    /// Whether requests with the same hash go to the same endpoint.
    pub fn is_hashed(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
}

/// Limits of one cluster, shared by all workers. `u32::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// Connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way.
    pub max_retries: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: u32::MAX,
            max_pending: u32::MAX,
            max_requests: u32::MAX,
            max_retries: u32::MAX,
        }
    }
}

/// Passive health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx answers in a row that eject; 0 turns the detector off.
    pub consecutive_5xx: u32,
    /// 502, 503, 504 or connection failures in a row that eject; 0 turns the detector off.
    pub consecutive_gateway_errors: u32,
    /// Failures without an answer count in a row of their own, and not as gateway errors.
    pub split_local: bool,
    /// Failures without an answer in a row that eject, where they are told apart; 0 turns the detector off.
    pub consecutive_local_failures: u32,
    /// Ejects endpoints whose success rate is far below the mean; `bound` is the distance in thousandths of the standard
    /// deviation.
    pub success_rate: Option<RateDetector>,
    /// Ejects endpoints of whose requests at least `bound` percent fail.
    pub failure_percentage: Option<RateDetector>,
    /// Time between sweeps.
    pub interval: Duration,
    /// Ejection time of the first ejection; grows with each.
    pub base_ejection_time: Duration,
    /// Longest ejection, unless the base time is longer.
    pub max_ejection_time: Duration,
    /// Most of the cluster's endpoints that may be ejected, in percent.
    pub max_ejection_percent: u32,
    /// One endpoint may be ejected whatever the percentage.
    pub always_eject_one: bool,
}

/// A detector that looks at the requests of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDetector {
    /// Endpoints with enough requests that it takes.
    pub min_hosts: u32,
    /// Requests of an endpoint that are enough.
    pub volume: u32,
    /// Where ejection begins.
    pub bound: u32,
    /// Percent of due ejections that are made.
    pub enforcing: u32,
}

/// TCP keep-alive of upstream connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes without answer that end the connection.
    pub probes: Option<u32>,
}

/// One entry of `transport_socket_matches`, or the cluster's own transport socket as the last with empty criteria.
#[derive(Clone, Debug)]
pub struct TransportMatch {
    /// Name, such as `tlsMode-istio`.
    pub name: Box<str>,
    /// Texts that the endpoint's metadata must hold; empty matches every endpoint.
    pub criteria: Vec<(Box<str>, Box<str>)>,
    /// TLS settings; `None` is plain text.
    pub tls: Option<Arc<ClientTls>>,
}

/// The Istio service behind a cluster (`filter_metadata.istio.services[0]`), for telemetry. Empty text is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Fully qualified host name.
    pub host: Arc<str>,
    /// Short name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// The service is outside the mesh (`filter_metadata.istio.external`).
    pub external: bool,
}

/// One cluster, compiled.
#[derive(Debug)]
pub struct Cluster {
    /// Name, such as `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// Where endpoints come from.
    pub kind: ClusterKind,
    /// How one is chosen.
    pub lb: LbPolicy,
    /// What else the choice depends on.
    pub balancing: Balancing,
    /// Panic threshold in percent: below this share of healthy endpoints, health is ignored. 0 never panics.
    pub panic_threshold: u32,
    /// Time for TCP connect and TLS handshake together.
    pub connect_timeout: Duration,
    /// Protocol of HTTP requests.
    pub http: HttpProtocol,
    /// Idle time after which a pooled connection is closed.
    pub idle_timeout: Option<Duration>,
    /// Requests after which a connection is closed; `None` never.
    pub max_requests_per_connection: Option<u32>,
    /// Concurrent streams of an HTTP/2 connection; `None` is the protocol's own default.
    pub max_concurrent_streams: Option<u32>,
    /// Options of HTTP/1 and HTTP/2.
    pub codec: UpstreamCodec,
    /// Transport sockets in order of preference; empty is plain text.
    pub transports: Vec<TransportMatch>,
    /// Limits.
    pub limits: CircuitBreakers,
    /// Passive health checks.
    pub outlier: Option<OutlierDetection>,
    /// TCP keep-alive.
    pub keepalive: Option<TcpKeepalive>,
    /// Local address upstream connections are bound to (127.0.0.6 for inbound clusters).
    pub bind: Option<IpAddr>,
    /// PROXY protocol version sent first: 1 or 2.
    pub proxy_protocol: Option<u8>,
    /// Overrides of ALPN by the `istio.alpn` filter are off (`istio.alpn_override: "false"`).
    pub alpn_override_off: bool,
    /// Upstream connections exchange peer metadata by ALPN `istio-peer-exchange` when they are TCP.
    pub metadata_exchange: bool,
    /// The service, for telemetry.
    pub service: ServiceInfo,
    /// Counters that outlive updates of the cluster.
    pub shared: Arc<ClusterShared>,
    /// Shares of its endpoints.
    pub plan: PlanSlot,
}

impl Cluster {
    /// The TLS settings for an endpoint with this metadata: the first transport whose criteria it meets. The index names
    /// the choice in pools; `None` is plain text.
    pub fn transport(&self, metadata: &EndpointMetadata) -> (usize, Option<&Arc<ClientTls>>) {
        self.transports
            .iter()
            .enumerate()
            .find(|(_, entry)| {
                entry
                    .criteria
                    .iter()
                    .all(|(key, value)| metadata.transport.get(key) == Some(value))
            })
            .map_or((usize::MAX, None), |(index, entry)| {
                (index, entry.tls.as_ref())
            })
    }

    /// The slot of the endpoints, unless the original destination is the endpoint.
    pub fn endpoints(&self) -> Option<&EndpointsRef> {
        match &self.kind {
            ClusterKind::Endpoints(slot)
            | ClusterKind::Dns {
                endpoints: slot, ..
            } => Some(slot),
            ClusterKind::OriginalDst { .. } => None,
        }
    }
}

/// What all workers share of one cluster, kept over updates of the cluster.
#[derive(Debug, Default)]
pub struct ClusterShared {
    /// Connections open.
    pub connections: Gauge,
    /// Requests waiting for a connection.
    pub pending: Gauge,
    /// Requests under way.
    pub requests: Gauge,
    /// Retries under way.
    pub retries: Gauge,
    /// When rates were last looked at, in milliseconds of the balancer's clock.
    pub swept: AtomicU64,
}

/// A number of things under way, with a limit checked on entry.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU32);

impl Gauge {
    /// Counts one more unless `limit` is reached; the entry ends with [`Gauge::leave`].
    pub fn enter(&self, limit: u32) -> bool {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        if before >= limit {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Counts one more without asking for a limit.
    pub fn enter_anyway(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends an entry that [`Gauge::enter`] granted.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are under way.
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
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
