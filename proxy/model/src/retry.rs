//! When and how often a request is tried again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::endpoint::Endpoint;
use crate::matcher::HeaderMatcher;
use crate::subset::LabelValue;

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

    /// The condition of this name, of either kind.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "5xx" => Self::FIVE_XX,
            "gateway-error" => Self::GATEWAY_ERROR,
            "reset" => Self::RESET,
            "reset-before-request" => Self::RESET_BEFORE_REQUEST,
            "connect-failure" => Self::CONNECT_FAILURE,
            "retriable-4xx" => Self::RETRIABLE_4XX,
            "refused-stream" => Self::REFUSED_STREAM,
            "retriable-status-codes" => Self::RETRIABLE_STATUS_CODES,
            "retriable-headers" => Self::RETRIABLE_HEADERS,
            "envoy-ratelimited" => Self::ENVOY_RATELIMITED,
            "http3-post-connect-failure" => Self::HTTP3_POST_CONNECT,
            name => return Self::named_grpc(name),
        })
    }

    /// The condition on a gRPC status of this name.
    pub fn named_grpc(name: &str) -> Option<Self> {
        Some(match name {
            "cancelled" => Self::GRPC_CANCELLED,
            "deadline-exceeded" => Self::GRPC_DEADLINE_EXCEEDED,
            "internal" => Self::GRPC_INTERNAL,
            "resource-exhausted" => Self::GRPC_RESOURCE_EXHAUSTED,
            "unavailable" => Self::GRPC_UNAVAILABLE,
            _ => return None,
        })
    }

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

/// Labels (`envoy.lb`) that an endpoint may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<(Box<str>, LabelValue)>);

impl Labels {
    /// Whether an endpoint has all of them; of a list one value is enough.
    pub fn all_of(&self, endpoint: &Endpoint) -> bool {
        let has = |(key, wanted): &(Box<str>, LabelValue)| {
            let own = endpoint.metadata.labels.get(key);
            own.is_some_and(|own| match own {
                LabelValue::List(values) => own == wanted || values.contains(wanted),
                own => own == wanted,
            })
        };
        !self.0.is_empty() && self.0.iter().all(has)
    }
}

/// The priorities that one request tried.
#[derive(Debug, Default)]
pub struct TriedPriorities {
    /// After how many tries they are looked at.
    pub every: u32,
    /// Endpoints tried since all priorities were spent last.
    pub endpoints: RefCell<Vec<u64>>,
    /// Priorities left out, as bits.
    pub spent: Cell<u128>,
}

/// Waiting time between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Base of the exponential growth.
    pub base: Duration,
    /// Longest wait.
    pub max: Duration,
}

/// A header that says when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// Name.
    pub name: HeaderName,
    /// Its value is a Unix time in seconds; else it is a number of seconds from now.
    pub unix: bool,
}

/// Waiting times that the upstream asks for.
#[derive(Clone, Debug)]
pub struct RateLimitedBackoff {
    /// Headers, the first that can be read counts.
    pub headers: Vec<ResetHeader>,
    /// Longest wait that is taken over.
    pub max: Duration,
}

/// When and how often a request is tried again.
#[derive(Clone, Debug)]
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
    /// Only requests for which one of these holds are tried again; empty is all.
    pub request_headers: Vec<HeaderMatcher>,
    /// Time without a byte of one try's answer.
    pub per_try_idle: Option<Duration>,
    /// Waiting times that the upstream asks for.
    pub rate_limited: Option<RateLimitedBackoff>,
    /// Endpoints already tried are avoided.
    pub avoid_previous_hosts: bool,
    /// Endpoints with all labels of one of these are avoided.
    pub avoid_labels: Vec<Labels>,
    /// Priorities already tried are left out, looked at anew after each so many tries.
    pub avoid_priorities: Option<u32>,
    /// Choices made before a previous host is taken after all.
    pub host_selection_attempts: u32,
    /// Waiting times.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    /// One retry, on no condition, with Envoy's waiting times.
    fn default() -> Self {
        Self {
            on: RetryOn::default(),
            retries: 1,
            per_try_timeout: None,
            statuses: Vec::new(),
            headers: Vec::new(),
            request_headers: Vec::new(),
            per_try_idle: None,
            rate_limited: None,
            avoid_previous_hosts: false,
            avoid_labels: Vec::new(),
            avoid_priorities: None,
            host_selection_attempts: 1,
            backoff: Backoff {
                base: Duration::from_millis(25),
                max: Duration::from_millis(250),
            },
        }
    }
}
