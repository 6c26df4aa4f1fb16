//! What the data path says about one exchange. Everything is borrowed: a record costs no allocation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{DynamicMetadata, Handshake, MetricOverrides, PeerView};

use crate::{Flags, Peer, Service};

/// Which way a connection goes through this proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Side {
    /// Into the pod: reported as `destination`.
    Inbound,
    /// Out of the pod: reported as `source`.
    #[default]
    Outbound,
    /// Through a gateway: reported as `source`.
    Gateway,
}

/// The downstream's (or upstream's) application protocol, as the access log shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// `HTTP/2`
    Http2,
    /// `HTTP/3`
    Http3,
}

/// Headers that the access log may ask for: a whole [`HeaderMap`] or the few values that were kept of it.
pub trait HeaderSource {
    /// The first value of this header.
    fn header(&self, name: &HeaderName) -> Option<&HeaderValue>;

    /// How many there are.
    fn count(&self) -> usize;

    /// Bytes of their names and values, but for `host`, which is a pseudo header elsewhere.
    fn bytes(&self) -> usize;
}

/// Why a record is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    /// The exchange or connection has ended.
    #[default]
    End,
    /// It begins.
    Start,
    /// The upstream connection is there; of HTTP, a tunnel is.
    Connected,
    /// It goes on.
    Periodic,
}

impl LogType {
    /// Whether all is known.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::End)
    }

    /// Its number in Envoy's enumeration.
    #[must_use]
    pub const fn number(self, http: bool) -> u32 {
        match (self, http) {
            (Self::Connected, false) => 1,
            (Self::Periodic, false) => 2,
            (Self::End, false) => 3,
            (Self::Start, true) => 4,
            (Self::Periodic, true) => 5,
            (Self::End, true) => 6,
            (Self::Connected, true) => 10,
            (Self::Start, false) => 14,
        }
    }

    /// Its name there.
    #[must_use]
    pub const fn name(self, http: bool) -> &'static str {
        match (self, http) {
            (Self::Connected, false) => "TcpUpstreamConnected",
            (Self::Periodic, false) => "TcpPeriodic",
            (Self::End, false) => "TcpConnectionEnd",
            (Self::Start, true) => "DownstreamStart",
            (Self::Periodic, true) => "DownstreamPeriodic",
            (Self::End, true) => "DownstreamEnd",
            (Self::Connected, true) => "DownstreamTunnelSuccessfullyEstablished",
            (Self::Start, false) => "TcpConnectionStart",
        }
    }
}

/// What HTTP exchanges and TCP connections have in common. Absent values are logged as `-` and counted as `unknown`.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// Why it is logged.
    pub log_type: LogType,
    /// Direction, which decides the `reporter` label and which side `peer` is.
    pub side: Side,
    /// When the request (or connection) arrived.
    pub start: SystemTime,
    /// From arrival to the last byte either way.
    pub duration: Duration,
    /// Why the answer is not plainly the upstream's.
    pub flags: Flags,
    /// Body bytes from the downstream (all bytes for TCP).
    pub bytes_received: u64,
    /// Body bytes to the downstream (all bytes for TCP).
    pub bytes_sent: u64,
    /// Envoy's response code details (`via_upstream`, `route_not_found`, …).
    pub details: Option<&'a str>,
    /// Why the connection was ended by this proxy.
    pub termination_details: Option<&'a str>,
    /// Why the upstream's TLS or TCP failed.
    pub upstream_failure: Option<&'a str>,
    /// Endpoint chosen.
    pub upstream_host: Option<SocketAddr>,
    /// This proxy's address on the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// Name of the cluster chosen.
    pub cluster: Option<&'a str>,
    /// The cluster's `alt_stat_name`, if it has one.
    pub cluster_alt_name: Option<&'a str>,
    /// Address the downstream asked for.
    pub downstream_local: Option<SocketAddr>,
    /// The downstream's address; with trusted forwarding headers, the client's.
    pub downstream_remote: Option<SocketAddr>,
    /// The downstream's address on the connection itself.
    pub downstream_direct_remote: Option<SocketAddr>,
    /// SNI of the downstream's TLS, or as inspected.
    pub sni: Option<&'a str>,
    /// Name of the route.
    pub route: Option<&'a str>,
    /// Metadata of the workload on the other side.
    pub peer: Option<&'a Arc<Peer>>,
    /// SPIFFE URI of the workload on the other side, when mutual TLS proved it.
    pub peer_principal: Option<&'a Arc<str>>,
    /// The service asked for, from the cluster's metadata.
    pub service: Option<&'a Arc<Service>>,
    /// Changes to the standard metrics.
    pub metric_overrides: Option<&'a Arc<MetricOverrides>>,
    /// What filters found out.
    pub metadata: Option<&'a DynamicMetadata>,
    /// Trace and span.
    pub trace: Option<(u128, u64)>,
    /// The downstream's verified certificate.
    pub certificate: Option<PeerView<'a>>,
    /// The downstream speaks TLS with this proxy.
    pub tls: bool,
    /// The downstream's handshake.
    pub downstream_tls: Option<&'a Handshake>,
    /// The upstream's handshake.
    pub upstream_tls: Option<&'a Handshake>,
    /// Why the downstream's TLS failed.
    pub downstream_failure: Option<&'a str>,
    /// True if the mesh connection (downstream for inbound, upstream for outbound) is mutual TLS.
    pub mtls: bool,
}

/// One finished HTTP exchange.
#[derive(Clone)]
pub struct HttpRecord<'a> {
    /// What it shares with TCP.
    pub exchange: Exchange<'a>,
    /// Request method.
    pub method: &'a str,
    /// Request target's path and query as forwarded.
    pub path: &'a str,
    /// `Host` or `:authority`.
    pub authority: Option<&'a str>,
    /// Downstream's protocol.
    pub protocol: Protocol,
    /// Upstream's protocol.
    pub upstream_protocol: Option<Protocol>,
    /// Response status; 0 if none was produced.
    pub status: u16,
    /// True if the request's content type starts with `application/grpc`.
    pub grpc: bool,
    /// `grpc-status` of the response, of headers or trailers.
    pub grpc_status: Option<u32>,
    /// gRPC messages counted in the request and in the response.
    pub grpc_messages: Option<(u64, u64)>,
    /// Attempts made at the upstream.
    pub attempts: u32,
    /// From arrival to the last byte of the request.
    pub request_duration: Option<Duration>,
    /// From arrival to the first byte of the upstream's response.
    pub response_duration: Option<Duration>,
    /// Request headers (see [`crate::AccessLog::request_headers`] for which ones are ever asked for).
    pub request_headers: Option<&'a dyn HeaderSource>,
    /// Response headers.
    pub response_headers: Option<&'a dyn HeaderSource>,
    /// Response trailers.
    pub response_trailers: Option<&'a dyn HeaderSource>,
    /// A server forced the request to be traced (Envoy's meaning of traceable).
    pub traceable: bool,
    /// The request is a health check.
    pub health_check: bool,
    /// What an answer made here was going to say.
    pub local_reply_body: Option<&'a [u8]>,
    /// Take the authority as destination service where the cluster names none (off for inbound and gateways).
    pub host_header_fallback: bool,
}

/// One TCP connection, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct TcpRecord<'a> {
    /// What it shares with HTTP; bytes are totals since the connection's start.
    pub exchange: Exchange<'a>,
}

impl Default for Exchange<'_> {
    fn default() -> Self {
        Self {
            log_type: LogType::End,
            tls: false,
            side: Side::default(),
            start: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            flags: Flags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            details: None,
            termination_details: None,
            upstream_failure: None,
            upstream_host: None,
            upstream_local: None,
            cluster: None,
            cluster_alt_name: None,
            downstream_local: None,
            downstream_remote: None,
            downstream_direct_remote: None,
            sni: None,
            route: None,
            peer: None,
            peer_principal: None,
            service: None,
            metric_overrides: None,
            metadata: None,
            trace: None,
            certificate: None,
            downstream_tls: None,
            upstream_tls: None,
            downstream_failure: None,
            mtls: false,
        }
    }
}

impl Default for HttpRecord<'_> {
    fn default() -> Self {
        Self {
            exchange: Exchange::default(),
            method: "",
            path: "",
            authority: None,
            protocol: Protocol::Http11,
            upstream_protocol: None,
            status: 0,
            grpc: false,
            grpc_status: None,
            grpc_messages: None,
            attempts: 0,
            request_duration: None,
            response_duration: None,
            request_headers: None,
            response_headers: None,
            response_trailers: None,
            traceable: false,
            health_check: false,
            local_reply_body: None,
            host_header_fallback: false,
        }
    }
}

impl Side {
    /// Value of the `reporter` label.
    #[must_use]
    pub const fn reporter(self) -> &'static str {
        match self {
            Self::Inbound => "destination",
            Self::Outbound | Self::Gateway => "source",
        }
    }
}

impl Protocol {
    /// As the access log writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

impl From<http::Version> for Protocol {
    fn from(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_09 | http::Version::HTTP_10 => Self::Http10,
            http::Version::HTTP_2 => Self::Http2,
            http::Version::HTTP_3 => Self::Http3,
            _ => Self::Http11,
        }
    }
}

impl HeaderSource for HeaderMap {
    fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.get(name)
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| bytes(name, value)).sum()
    }
}

fn bytes(name: &HeaderName, value: &HeaderValue) -> usize {
    match *name == http::header::HOST {
        true => 0,
        false => name.as_str().len() + value.len(),
    }
}

/// Kept values of a few headers, in pairs; see [`crate::AccessLog::capture`].
impl HeaderSource for Vec<(HeaderName, HeaderValue)> {
    fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.iter()
            .find(|(kept, _)| kept == name)
            .map(|(_, value)| value)
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| bytes(name, value)).sum()
    }
}
