//! Clusters: who can be called and how.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::breakers::{CircuitBreakers, ClusterShared};
use crate::codec::UpstreamCodec;
use crate::dns_cache::DnsCache;
use crate::endpoint::{EndpointMetadata, EndpointsRef, Locality};
use crate::health_check::{EndpointCheck, HealthCheck};
use crate::interned::{Interned, OnUse};
use crate::outlier::OutlierDetection;
use crate::plan::{Balancing, PlanSlot};
use crate::slot::Slot;
use crate::subset::Subsets;
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
        /// How they are looked up.
        dns: Arc<DnsSettings>,
    },
    /// The connection's original destination is the endpoint; with a port override it replaces the port.
    OriginalDst {
        /// Port to use in place of the original one.
        port_override: Option<u16>,
        /// Request header that names the endpoint before the connection does.
        header: Option<HeaderName>,
    },
    /// Requests go to the first of other clusters that can take them.
    Aggregate {
        /// In the order of preference; those that do not exist are left out.
        clusters: Arc<[ClusterRef]>,
    },
    /// The request's host is the endpoint, once a filter has had it looked up.
    Forward {
        /// Where it is looked up.
        cache: Arc<DnsCache>,
        /// Port of hosts that name none.
        port: u16,
    },
}

/// How host names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Time between look-ups.
    pub refresh: Duration,
    /// Most that is added to it.
    pub jitter: Duration,
    /// Time until a failed look-up is tried again: at first, and at most.
    pub failure: Option<(Duration, Duration)>,
    /// The answer's time to live takes the place of `refresh`, but not less than `min_refresh`.
    pub respect_ttl: bool,
    /// Least time between look-ups by an answer's time to live.
    pub min_refresh: Duration,
    /// Addresses that are used.
    pub family: DnsFamily,
    /// Servers that are asked; empty is the system's resolver.
    pub servers: Arc<[SocketAddr]>,
    /// All addresses of a name are one endpoint.
    pub one_endpoint: bool,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5),
            jitter: Duration::ZERO,
            failure: None,
            respect_ttl: false,
            min_refresh: Duration::from_secs(5),
            family: DnsFamily::Auto,
            servers: Arc::default(),
            one_endpoint: false,
        }
    }
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
    pub metadata: Interned<EndpointMetadata>,
    /// Host name that the endpoints have in place of `host`.
    pub hostname: Option<Arc<str>>,
    /// What it says of active health checks.
    pub check: Option<Arc<EndpointCheck>>,
    /// Where it runs.
    pub locality: Interned<Locality>,
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
    /// HTTP/2 where the endpoint agrees to it in the TLS handshake, else HTTP/1.1.
    Auto,
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
    /// By the cluster's kind ([`ClusterKind::OriginalDst`] and others that have no list of endpoints).
    ClusterProvided,
}

impl LbPolicy {
    /// Whether requests with the same hash go to the same endpoint.
    pub fn is_hashed(self) -> bool {
        matches!(self, Self::RingHash { .. } | Self::Maglev { .. })
    }
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

/// Settings of upstream connections that few clusters have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionOptions {
    /// Age after which a connection takes no more requests.
    pub max_duration: Option<Duration>,
    /// Most that is added to the age, in percent of it.
    pub max_duration_jitter: f64,
    /// Connections ahead of need, for each that is needed; at most 3.
    pub preconnect: f64,
    /// Every downstream connection has upstream connections of its own.
    pub per_downstream: bool,
    /// Connections of an endpoint end when active checks find it unhealthy.
    pub close_on_failure: bool,
    /// Local addresses beside `bind`, for other families.
    pub extra_bind: Vec<IpAddr>,
    /// Port that connections come from.
    pub bind_port: u16,
    /// Binding to an address that is not there is allowed.
    pub freebind: bool,
    /// Options set on each socket.
    pub socket: Vec<UpstreamOption>,
    /// Which family of an endpoint's addresses is tried first (`None` is that of the first address), and how many of it
    /// before each of the other.
    pub first_family: (Option<AddressFamily>, u32),
    /// Header that gives the server's name in place of the host.
    pub sni_header: Option<HeaderName>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An option of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamOption {
    /// `SO_MARK`.
    Mark(u32),
    /// `IP_TOS` or `IPV6_TCLASS`.
    Tos(u32),
    /// `SO_SNDBUF`.
    SendBuffer(u32),
    /// `SO_RCVBUF`.
    ReceiveBuffer(u32),
    /// `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `SO_REUSEADDR`.
    ReuseAddress(bool),
    /// `TCP_USER_TIMEOUT`, milliseconds.
    UserTimeout(u32),
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
    pub balancing: Interned<Balancing>,
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
    pub codec: Interned<UpstreamCodec>,
    /// Transport sockets in order of preference; empty is plain text.
    pub transports: Vec<TransportMatch>,
    /// Limits of requests of default priority.
    pub limits: Interned<CircuitBreakers>,
    /// Limits of requests of high priority.
    pub high: Interned<CircuitBreakers>,
    /// Connections to one endpoint.
    pub max_connections_per_host: Option<u32>,
    /// Active health checks.
    pub health_check: Option<Arc<HealthCheck>>,
    /// Endpoints go when discovery says so, well or not.
    pub remove_healthy: bool,
    /// Division by metadata.
    pub subsets: Option<Arc<Subsets>>,
    /// Further settings of connections.
    pub options: Interned<ConnectionOptions>,
    /// Passive health checks.
    pub outlier: Option<Interned<OutlierDetection>>,
    /// TCP keep-alive.
    pub keepalive: Option<Interned<TcpKeepalive>>,
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
    pub shared: Arc<OnUse<ClusterShared>>,
    /// Shares of its endpoints.
    pub plan: PlanSlot,
}

impl Cluster {
    /// A cluster with Envoy's defaults, except that nothing is limited.
    pub fn new(name: impl Into<Arc<str>>, kind: ClusterKind) -> Self {
        Self {
            name: name.into(),
            kind,
            lb: LbPolicy::RoundRobin,
            balancing: Interned::default(),
            panic_threshold: 50,
            connect_timeout: Duration::from_secs(5),
            http: HttpProtocol::Http1,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: None,
            max_concurrent_streams: None,
            codec: Interned::default(),
            transports: Vec::new(),
            limits: Interned::default(),
            high: Interned::default(),
            max_connections_per_host: None,
            health_check: None,
            remove_healthy: true,
            subsets: None,
            options: Interned::default(),
            outlier: None,
            keepalive: None,
            bind: None,
            proxy_protocol: None,
            alpn_override_off: false,
            metadata_exchange: false,
            service: ServiceInfo::default(),
            shared: Arc::default(),
            plan: PlanSlot::default(),
        }
    }

    /// The TLS settings for an endpoint with this metadata: the first transport whose criteria it meets. The index names
    /// the choice in pools; `None` is plain text.
    pub fn transport(&self, metadata: &EndpointMetadata) -> (usize, Option<&Arc<ClientTls>>) {
        self.transport_of(|key| metadata.transport.get(key).map(|value| &**value))
    }

    /// The same for texts from anywhere.
    pub fn transport_of<'m>(
        &self,
        text: impl Fn(&str) -> Option<&'m str>,
    ) -> (usize, Option<&Arc<ClientTls>>) {
        self.transports
            .iter()
            .enumerate()
            .find(|(_, entry)| {
                let mut criteria = entry.criteria.iter();
                criteria.all(|(key, value)| text(key) == Some(&**value))
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
            ClusterKind::OriginalDst { .. }
            | ClusterKind::Aggregate { .. }
            | ClusterKind::Forward { .. } => None,
        }
    }

    /// The limits of a priority.
    pub fn limits_of(&self, high: bool) -> &CircuitBreakers {
        if high { &self.high } else { &self.limits }
    }

    /// Retries that may be under way together.
    pub fn max_retries(&self, high: bool) -> u32 {
        let limits = self.limits_of(high);
        let Some(budget) = &limits.retry_budget else {
            return limits.max_retries;
        };
        let now = self.shared.of(high);
        let under_way = f64::from(now.requests.now()) + f64::from(now.pending.now());
        // Rounding down is what a share of requests means.
        let share = (under_way * budget.percent / 100.0) as u32;
        share.max(budget.min_concurrency)
    }
}
