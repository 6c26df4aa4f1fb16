//! Active health checks: what is asked of endpoints, and what was found.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use crate::matcher::StringMatcher;

/// How a cluster's endpoints are checked.
#[derive(Debug)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: CheckKind,
    /// When it is asked.
    pub times: CheckTimes,
    /// Failures in a row until a healthy endpoint is not used.
    pub unhealthy_threshold: u32,
    /// Successes in a row until it is used again.
    pub healthy_threshold: u32,
    /// A connection serves more than one check.
    pub reuse_connection: bool,
    /// ALPN protocols in place of the cluster's own.
    pub alpn: Vec<Vec<u8>>,
    /// Metadata that chooses the transport socket in place of the endpoint's own.
    pub transport: Option<Vec<(Box<str>, Box<str>)>>,
    /// Every failure is logged, not only changes.
    pub log_failures: bool,
    /// Every success is logged.
    pub log_successes: bool,
    /// File that events are appended to, a JSON object a line.
    pub event_log: Option<Box<str>>,
}

/// Times of checks.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckTimes {
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// Longest wait before the first check.
    pub initial_jitter: Option<Duration>,
    /// Most that is added to an interval.
    pub interval_jitter: Option<Duration>,
    /// The same in percent of the interval.
    pub interval_jitter_percent: u32,
    /// Interval for clusters that were never used.
    pub no_traffic: Duration,
    /// The same for healthy endpoints.
    pub no_traffic_healthy: Duration,
    /// Interval for unhealthy endpoints.
    pub unhealthy: Duration,
    /// Wait after the first failure.
    pub unhealthy_edge: Duration,
    /// Wait after the first success.
    pub healthy_edge: Duration,
}

/// What is asked.
#[derive(Debug)]
pub enum CheckKind {
    /// A request.
    Http(Box<HttpCheck>),
    /// `grpc.health.v1.Health/Check`.
    Grpc(Box<GrpcCheck>),
    /// A connection, and maybe bytes.
    Tcp(TcpCheck),
}

/// A request and the answers that are well.
#[derive(Debug)]
pub struct HttpCheck {
    /// Method.
    pub method: Method,
    /// Path.
    pub path: Box<str>,
    /// Host; empty is the endpoint's or the cluster's name.
    pub host: Box<str>,
    /// Headers that are sent besides; they take the place of own ones.
    pub add: HeaderMap,
    /// Headers that are not sent.
    pub remove: Vec<HeaderName>,
    /// Statuses that are well; empty is 200 alone.
    pub expected: Vec<RangeInclusive<u16>>,
    /// Statuses that count towards the threshold; others end an endpoint's use at once.
    pub retriable: Vec<RangeInclusive<u16>>,
    /// Sent as body.
    pub send: Vec<u8>,
    /// Texts that the body must hold, in this order.
    pub receive: Vec<Vec<u8>>,
    /// Bytes of the body that are looked at.
    pub buffer: usize,
    /// Spoken over HTTP/2.
    pub http2: bool,
    /// What `x-envoy-upstream-healthchecked-cluster` must say.
    pub service: Option<StringMatcher>,
}

/// A gRPC check.
#[derive(Debug)]
pub struct GrpcCheck {
    /// Service asked for; empty is the server.
    pub service: Box<str>,
    /// Authority; empty is the endpoint's or the cluster's name.
    pub authority: Box<str>,
    /// Metadata.
    pub metadata: HeaderMap,
}

/// A TCP check.
#[derive(Debug, Default)]
pub struct TcpCheck {
    /// Sent first.
    pub send: Vec<u8>,
    /// Texts that must come, in this order; empty asks for the connection alone.
    pub receive: Vec<Vec<u8>>,
    /// PROXY protocol version that is sent first, as from the proxy itself.
    pub proxy_protocol: Option<u8>,
}

/// What an endpoint says of its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCheck {
    /// Address in place of the endpoint's own, with the port.
    pub address: Option<SocketAddr>,
    /// Port in place of the endpoint's own; 0 keeps it.
    pub port: u16,
    /// Host in place of the check's own.
    pub hostname: Option<Arc<str>>,
    /// It is not checked, and well.
    pub disabled: bool,
}

/// What checks found of an endpoint, as bits.
#[derive(Debug, Default)]
pub struct ActiveHealth(AtomicU8);

impl ActiveHealth {
    /// Checks fail.
    pub const FAILED: u8 = 1;
    /// No check has ended yet.
    pub const PENDING: u8 = 1 << 1;
    /// It says that it is degraded.
    pub const DEGRADED: u8 = 1 << 2;
    /// It said `x-envoy-immediate-health-check-fail` and does not count for panic.
    pub const EXCLUDED: u8 = 1 << 3;
    /// The last failure was a time-out.
    pub const TIMED_OUT: u8 = 1 << 4;
    /// Discovery does not know it any more; it goes when it fails.
    pub const LEAVING: u8 = 1 << 5;
    /// A health checker knows it.
    pub const KNOWN: u8 = 1 << 6;

    /// All bits.
    pub fn bits(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether one of `bits` is set.
    pub fn has(&self, bits: u8) -> bool {
        self.bits() & bits != 0
    }

    /// Sets bits; whether that changed anything.
    pub fn set(&self, bits: u8) -> bool {
        self.0.fetch_or(bits, Ordering::Relaxed) & bits != bits
    }

    /// Clears bits; whether that changed anything.
    pub fn clear(&self, bits: u8) -> bool {
        self.0.fetch_and(!bits, Ordering::Relaxed) & bits != 0
    }

    /// Takes over what was found of the same endpoint before it was described anew.
    pub fn carry(&self, before: &Self) {
        self.0
            .store(before.bits() & !Self::LEAVING, Ordering::Relaxed);
    }

    /// An endpoint that was not seen before waits for its first check.
    pub fn meet(&self) {
        if !self.has(Self::KNOWN) {
            self.set(Self::KNOWN | Self::FAILED | Self::PENDING);
        }
    }
}

/// `cluster.<name>.health_check.*`.
#[derive(Debug, Default)]
pub struct CheckStats {
    /// Checks begun.
    pub attempt: AtomicU64,
    /// Checks that succeeded.
    pub success: AtomicU64,
    /// Checks that failed in any way.
    pub failure: AtomicU64,
    /// Failures that requests found.
    pub passive_failure: AtomicU64,
    /// Failures of the network.
    pub network_failure: AtomicU64,
    /// Answers that did not name the service.
    pub verify_cluster: AtomicU64,
}
