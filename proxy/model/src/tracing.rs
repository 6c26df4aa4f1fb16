//! Tracing, compiled: when requests are sampled, what spans say, and which collector gets them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::cluster::ClusterRef;

/// A share as a fraction, which a number falls into by its remainder (Envoy's `FractionalPercent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of `denominator`.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

/// The three steps of sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Requests that ask for it themselves (`x-client-trace-id`).
    pub client: Share,
    /// All others.
    pub random: Share,
    /// Of those sampled by either, and of those that a server forced.
    pub overall: Share,
}

/// Which way a connection manager's requests go, as spans say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// Inbound.
    #[default]
    Ingress,
    /// Outbound.
    Egress,
}

/// A tag that the configuration adds to spans.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomTag {
    /// Its name.
    pub name: Box<str>,
    /// Where its value comes from.
    pub source: TagSource,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TagSource {
    /// The configuration, or the environment when the configuration came.
    Literal(Box<str>),
    /// A request header.
    RequestHeader {
        /// Name.
        name: HeaderName,
        /// Taken when the header is absent; an empty one leaves the tag out.
        default: Box<str>,
    },
    /// What filters found out of the request.
    RequestMetadata {
        /// Namespace.
        namespace: Box<str>,
        /// Keys below it.
        path: Box<[Box<str>]>,
        /// Taken when there is no such value; an empty one leaves the tag out.
        default: Box<str>,
    },
}

/// The connection manager's tracing block.
#[derive(Debug)]
pub struct HttpTracing {
    /// Sampling, where a route has none of its own.
    pub sampling: Sampling,
    /// Tags of every span.
    pub tags: Box<[CustomTag]>,
    /// Characters of the path that `http.url` keeps.
    pub max_path: usize,
    /// Points in time within the request are told as events.
    pub verbose: bool,
    /// Each try at an upstream gets a span of its own.
    pub spawn_upstream: bool,
    /// The same, said by the router: the request's span is not that of a server then.
    pub child_spans: bool,
    /// The context is sent on.
    pub propagate: bool,
    /// Which way requests go.
    pub operation: Operation,
    /// Where spans go; without it only request ids are marked.
    pub provider: Option<Arc<TraceProvider>>,
}

/// How request ids and tracing hang together (`UuidRequestIdConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIdTracing {
    /// The decision is written into the id.
    pub pack_reason: bool,
    /// The id decides whether a request is sampled.
    pub decides: bool,
}

/// What a route says of tracing.
#[derive(Clone, Debug, Default)]
pub struct RouteTracing {
    /// Sampling in place of the connection manager's.
    pub sampling: Option<Sampling>,
    /// Tags beside, and by their names in place of, the connection manager's.
    pub tags: Box<[CustomTag]>,
    /// Name of spans.
    pub operation: Option<HeaderValue>,
    /// The name is told to the other side in `x-envoy-decorator-operation`.
    pub propagate: bool,
}

/// A service that is called over a cluster.
#[derive(Clone, Debug)]
pub struct ServiceTarget {
    /// The cluster.
    pub cluster: ClusterRef,
    /// `:authority` of calls.
    pub authority: HeaderValue,
    /// Path of calls over plain HTTP.
    pub path: Box<str>,
    /// Method of calls over gRPC.
    pub method: Option<&'static str>,
    /// Longest time for a call.
    pub timeout: Option<Duration>,
    /// Headers added to calls.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
}

/// Who gets spans.
#[derive(Debug)]
pub struct TraceProvider {
    /// The collector.
    pub target: ServiceTarget,
    /// Its format, and how contexts are written into headers.
    pub kind: TraceKind,
    /// Spans that may wait for their call; more are dropped and counted.
    pub max_spans: usize,
}

/// Kinds of collectors.
#[derive(Clone, Debug)]
pub enum TraceKind {
    /// OTLP, with W3C trace context.
    OpenTelemetry {
        /// Attributes of the resource, `service.name` among them.
        resource: Box<[(Box<str>, Box<str>)]>,
        /// Decides in place of the connection manager's sampling.
        sampler: Option<Sampler>,
    },
    /// Zipkin's JSON, with B3.
    Zipkin {
        /// `serviceName` of this proxy.
        service: Box<str>,
        /// Both sides of a call share one span.
        shared: bool,
        /// Address of this proxy.
        address: Option<IpAddr>,
        /// New trace ids have 128 bits.
        wide: bool,
        /// W3C trace context beside B3.
        w3c: bool,
    },
}

/// A sampler of OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Everything.
    Always,
    /// As the parent; without one as the other sampler.
    Parent(Box<Sampler>),
    /// A share of the trace ids.
    Ratio(Share),
}

impl Share {
    /// Everything.
    pub const ALL: Self = Self {
        numerator: 100,
        denominator: 100,
    };

    /// Whether `number` falls into the share.
    pub fn holds(self, number: u64) -> bool {
        number % u64::from(self.denominator.max(1)) < u64::from(self.numerator)
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            client: Share::ALL,
            random: Share::ALL,
            overall: Share::ALL,
        }
    }
}

impl Default for RequestIdTracing {
    fn default() -> Self {
        Self {
            pack_reason: true,
            decides: true,
        }
    }
}

impl Sampler {
    /// Whether a span of this trace is sampled; `parent` is the decision that came with the request.
    pub fn samples(&self, trace_id: u128, parent: Option<bool>) -> bool {
        match self {
            Self::Always => true,
            Self::Parent(other) => parent.unwrap_or_else(|| other.samples(trace_id, None)),
            Self::Ratio(share) => {
                // The low half of the id, as a number between nothing and all.
                let bound =
                    (u128::from(share.numerator) << 64) / u128::from(share.denominator.max(1));
                trace_id & u128::from(u64::MAX) < bound
            }
        }
    }
}

impl Operation {
    /// As the first word of a span's name.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_decide() {
        let ratio = |numerator| {
            Sampler::Ratio(Share {
                numerator,
                denominator: 100,
            })
        };
        assert!(ratio(100).samples(u128::MAX, None) && !ratio(0).samples(0, None));
        assert!(ratio(50).samples(1 << 62, None) && !ratio(50).samples(3 << 62, None));
        let parent = Sampler::Parent(Box::new(ratio(0)));
        assert!(parent.samples(0, Some(true)) && !parent.samples(0, None));
        assert!(Sampler::Always.samples(0, Some(false)));
        let half = Share {
            numerator: 50,
            denominator: 100,
        };
        assert!(half.holds(149) && !half.holds(150));
    }
}
