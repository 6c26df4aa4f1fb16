//! Tracing of a request: the decision, the span, what is sent on, and what is told at the end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{
    CustomTag, HttpTracing, Operation, RequestIdTracing, RouteTracing, Sampling, TagSource,
    TraceKind,
};
use lateen_proxy_telemetry::trace::{Extracted, Span, SpanKind, TraceContext};

use super::counters::TraceCount;
use super::exchange::Exchange;
use super::request_id::{self, Reason};
use super::sanitize::{REQUEST_ID, path, scheme};
use super::tracer::Tracer;

static CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");
static FORCE_TRACE: HeaderName = HeaderName::from_static("x-envoy-force-trace");
static DECORATOR: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");
static DOWNSTREAM_CLUSTER: HeaderName =
    HeaderName::from_static("x-envoy-downstream-service-cluster");
static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// What is known of a request's trace. Only requests of a connection manager with a tracing block have one.
#[derive(Debug)]
pub(crate) struct Traced {
    reason: Reason,
    tracer: Option<Rc<Tracer>>,
    /// The request's own span; also one that is not sampled has a context to send on.
    span: Option<Box<Span>>,
    /// The span of the try under way.
    attempt: Option<(Box<Span>, Instant)>,
    /// Told to the client with the answer.
    decorated: Option<HeaderValue>,
    operation: Operation,
    propagate: bool,
}

impl Exchange {
    /// Decides whether the request is traced and begins its span. Routing is done; the head is still the client's.
    pub fn trace(&mut self, parts: &mut Parts) {
        let conn = Rc::clone(&self.conn);
        let Some(tracing) = conn.chain.manager.tracing.as_deref() else {
            return;
        };
        let route = self.route().cloned();
        let route = route.as_ref().and_then(|route| route.tracing.as_deref());
        let own = route.and_then(|route| route.sampling);
        let sampling = own.unwrap_or(tracing.sampling);
        let ids = conn.chain.manager.request_id;
        let (reason, marked) = decide(&sampling, ids, &mut parts.headers);
        if let Some(counters) = &conn.chain.counters {
            counters.traced(match reason {
                Reason::NotTraceable => TraceCount::NotTraceable,
                Reason::Sampling => TraceCount::Sampled,
                Reason::ServiceForced => TraceCount::ServerForced,
                Reason::ClientForced => TraceCount::ClientForced,
            });
        }
        let tracer = conn.chain.tracer.clone();
        let span = tracer.as_ref().and_then(|tracer| {
            let span = tracer.begin(tracing, self, parts, reason != Reason::NotTraceable)?;
            Some(Box::new(span))
        });
        let mut traced = Traced {
            reason,
            tracer,
            span,
            attempt: None,
            decorated: None,
            operation: tracing.operation,
            propagate: tracing.propagate,
        };
        traced.decorate(route, &mut parts.headers);
        if let Some(span) = traced.span.as_mut().filter(|span| span.context.sampled) {
            request_tags(span, self, parts, tracing);
            custom_tags(span, tracing, route, parts, self);
        }
        self.traced = Some(Box::new(traced));
        if marked || route.is_some_and(|route| route.operation.is_some()) {
            self.keep_request(parts);
        }
    }

    /// Its span is not told to the collector.
    pub(crate) fn leave_untraced(&mut self) {
        if let Some(traced) = self.traced.as_deref_mut()
            && let Some(span) = &mut traced.span
        {
            span.context.sampled = false;
        }
    }

    /// The context in force, for logs.
    pub(crate) fn trace_context(&self) -> Option<&TraceContext> {
        let span = self.traced.as_ref()?.span.as_ref()?;
        Some(&span.context)
    }

    /// Whether a server forced the request to be traced: what the log filter asks for.
    pub(crate) fn is_traceable(&self) -> bool {
        let traced = self.traced.as_ref();
        traced.is_some_and(|traced| traced.reason == Reason::ServiceForced)
    }

    /// Writes the context into the head of a try.
    pub(crate) fn inject(&mut self, headers: &mut HeaderMap) {
        let Some(traced) = self.traced.as_deref_mut() else {
            return;
        };
        let (Some(tracer), Some(span)) = (&traced.tracer, &traced.span) else {
            return;
        };
        let spawn = (self.conn.chain.manager.tracing.as_deref())
            .is_some_and(|it| it.spawn_upstream || it.child_spans);
        let mut context = &span.context;
        let child;
        if spawn {
            let name = self.cluster.as_ref().map_or("", |it| &*it.cluster.name);
            let name = format!("router {name} egress");
            child = Span::new(
                tracer.child(&span.context),
                name,
                SpanKind::Client,
                SystemTime::now(),
            );
            let made = Box::new(child);
            traced.attempt = Some((made, Instant::now()));
            if let Some((made, _)) = &traced.attempt {
                context = &made.context;
            }
        }
        if traced.propagate {
            tracer.propagation().inject(context, headers);
        }
    }

    /// Ends the span of a try that is over before its answer was taken.
    pub(crate) fn end_attempt(&mut self, status: Option<u16>) {
        let traced = self.traced.as_deref_mut();
        let Some((mut span, begun)) = traced.and_then(|traced| traced.attempt.take()) else {
            return;
        };
        span.duration = begun.elapsed();
        if span.context.sampled {
            self.upstream_tags(&mut span, status);
            let tracer = self.traced.as_ref().and_then(|it| it.tracer.as_ref());
            if let Some(tracer) = tracer {
                tracer.end(*span);
            }
        }
    }

    /// What the answer's head says of the span, and what it is told.
    pub(crate) fn trace_answer(&mut self, headers: &mut HeaderMap) {
        let Some(traced) = self.traced.as_deref_mut() else {
            return;
        };
        match traced.operation {
            Operation::Ingress => {
                if let Some(name) = traced.decorated.take() {
                    headers.insert(&DECORATOR, name);
                }
            }
            Operation::Egress => {
                if let Some(name) = headers.remove(&DECORATOR)
                    && let (Some(span), Ok(name)) = (&mut traced.span, name.to_str())
                    && !name.is_empty()
                {
                    name.clone_into(&mut span.name);
                }
            }
        }
    }

    /// Ends the request's span.
    pub(crate) fn end_trace(&mut self) {
        if self.traced.is_none() {
            return;
        }
        self.end_attempt(Some(self.status.get()).filter(|status| *status != 0));
        let Some(traced) = self.traced.as_deref_mut() else {
            return;
        };
        let span = traced.span.take().filter(|span| span.context.sampled);
        let (Some(mut span), Some(tracer)) = (span, traced.tracer.clone()) else {
            return;
        };
        span.duration = self.begun.elapsed();
        if let Some(url) = span.find("http.url").map(str::to_owned) {
            // The host may have been rewritten since.
            let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
            let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("");
            span.tag("http.url", format!("{scheme}://{}{path}", self.authority()));
        }
        span.tag("request_size", self.received().to_string());
        span.tag("response_size", self.sent.to_string());
        self.common_tags(&mut span, Some(self.status.get()));
        if self.verbose() {
            self.events(&mut span);
        }
        tracer.end(*span);
    }

    fn verbose(&self) -> bool {
        let tracing = self.conn.chain.manager.tracing.as_deref();
        tracing.is_some_and(|tracing| tracing.verbose)
    }

    fn events(&self, span: &mut Span) {
        let received = self
            .progress
            .as_ref()
            .and_then(|progress| progress.ended.get())
            .map(|at| at.duration_since(self.begun));
        let begun = self.response_begun.map(|at| at.duration_since(self.begun));
        for (time, name) in [
            (received, "last_downstream_rx_byte_received"),
            (begun, "first_upstream_rx_byte_received"),
            (Some(span.duration), "last_downstream_tx_byte_sent"),
        ] {
            if let Some(time) = time {
                span.events.push((time, name));
            }
        }
    }

    /// Tags that the request's span and those of tries have in common.
    fn common_tags(&self, span: &mut Span, status: Option<u16>) {
        span.tag("component", "proxy");
        if let Some(cluster) = &self.cluster {
            let name = &*cluster.cluster.name;
            span.tag("upstream_cluster", name.to_owned());
            span.tag("upstream_cluster.name", name.to_owned());
        }
        let status = status.unwrap_or(0);
        span.tag("http.status_code", status.to_string());
        span.tag("response_flags", self.flags.to_string());
        if let Some(code) = self.grpc_status {
            span.tag("grpc.status_code", code.to_string());
        }
        if status == 0 || status >= 500 {
            span.tag("error", "true");
        }
    }

    fn upstream_tags(&self, span: &mut Span, status: Option<u16>) {
        if let Some(upstream) = &self.upstream {
            let protocol = lateen_proxy_telemetry::Protocol::from(upstream.version);
            span.tag("http.protocol", protocol.as_str());
        }
        if let Some(host) = self.upstream_address() {
            span.tag("peer.address", host.to_string());
            span.tag("upstream_address", host.to_string());
        }
        if self.attempts > 1 {
            span.tag("retry.count", (self.attempts - 1).to_string());
        }
        self.common_tags(span, status);
    }
}

impl Traced {
    /// The names of operations that both sides of a call tell each other.
    fn decorate(&mut self, route: Option<&RouteTracing>, headers: &mut HeaderMap) {
        let own = route.and_then(|route| route.operation.as_ref());
        let mut name = own.and_then(|own| own.to_str().ok()).map(str::to_owned);
        let propagate = route.is_some_and(|route| route.propagate);
        match self.operation {
            Operation::Egress => {
                if let Some(own) = own.filter(|_| propagate) {
                    headers.insert(&DECORATOR, own.clone());
                }
            }
            Operation::Ingress => {
                self.decorated = own.filter(|_| propagate).cloned();
                if let Some(told) = headers.remove(&DECORATOR)
                    && !told.is_empty()
                {
                    self.decorated = None;
                    name = told.to_str().ok().map(str::to_owned).or(name);
                }
            }
        }
        if let (Some(span), Some(name)) = (&mut self.span, name) {
            span.name = name;
        }
    }
}

/// Envoy's decision: by the request's id, in three steps, noted in the id itself. Also whether the id was changed.
fn decide(sampling: &Sampling, id: RequestIdTracing, headers: &mut HeaderMap) -> (Reason, bool) {
    if !id.decides {
        return (Reason::Sampling, false);
    }
    let Some(number) = headers.get(&REQUEST_ID).and_then(request_id::number) else {
        return (Reason::NotTraceable, false);
    };
    let number = number % 10_000;
    let given = headers.get(&REQUEST_ID);
    let mut reason = match given.filter(|_| id.pack_reason) {
        Some(given) => request_id::reason(given),
        None => Reason::NotTraceable,
    };
    let before = reason;
    if reason == Reason::NotTraceable {
        if headers.contains_key(&CLIENT_TRACE_ID) && sampling.client.holds(fastrand::u64(..)) {
            reason = Reason::ClientForced;
        } else if headers.contains_key(&FORCE_TRACE) {
            reason = Reason::ServiceForced;
        } else if sampling.random.holds(number) {
            reason = Reason::Sampling;
        }
    }
    if reason != Reason::NotTraceable && !sampling.overall.holds(number) {
        reason = Reason::NotTraceable;
    }
    let marks = reason != before && id.pack_reason;
    if marks {
        request_id::mark(headers, reason);
    }
    (reason, marks)
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What the request's head says.
fn request_tags(span: &mut Span, exchange: &Exchange, parts: &Parts, tracing: &HttpTracing) {
    let headers = &parts.headers;
    if let Some(id) = header(headers, &REQUEST_ID) {
        span.tag("guid:x-request-id", id.to_owned());
    }
    let path = header(headers, &ORIGINAL_PATH).unwrap_or(path(parts));
    let path = path.get(..tracing.max_path.min(path.len())).unwrap_or(path);
    let url = format!(
        "{}://{}{path}",
        scheme(exchange, parts),
        exchange.authority()
    );
    span.tag("http.url", url);
    span.tag("http.method", parts.method.as_str().to_owned());
    let or_dash = |name| header(headers, name).unwrap_or("-").to_owned();
    span.tag("downstream_cluster", or_dash(&DOWNSTREAM_CLUSTER));
    span.tag("user_agent", or_dash(&http::header::USER_AGENT));
    let protocol = lateen_proxy_telemetry::Protocol::from(exchange.version);
    span.tag("http.protocol", protocol.as_str());
    span.tag("peer.address", exchange.conn.client().ip().to_string());
    if let Some(id) = header(headers, &CLIENT_TRACE_ID) {
        span.tag("guid:x-client-trace-id", id.to_owned());
    }
    if exchange.grpc {
        span.tag("grpc.path", self::path(parts).to_owned());
        span.tag("grpc.authority", exchange.authority().to_owned());
        let kind = header(headers, &http::header::CONTENT_TYPE).unwrap_or_default();
        span.tag("grpc.content_type", kind.to_owned());
        if let Some(timeout) = headers.get("grpc-timeout").and_then(|it| it.to_str().ok()) {
            span.tag("grpc.timeout", timeout.to_owned());
        }
    }
}

/// Tags of the configuration: a route's replace those of the connection manager by name.
fn custom_tags(
    span: &mut Span,
    tracing: &HttpTracing,
    route: Option<&RouteTracing>,
    parts: &Parts,
    exchange: &Exchange,
) {
    let of_route = route.map_or(&[][..], |route| &route.tags);
    let replaced = |name: &str| of_route.iter().any(|tag| &*tag.name == name);
    let own = tracing.tags.iter().filter(|tag| !replaced(&tag.name));
    for tag in own.chain(of_route) {
        if let Some(value) = value(tag, parts, exchange) {
            span.tag(tag.name.to_string(), value);
        }
    }
}

fn value(tag: &CustomTag, parts: &Parts, exchange: &Exchange) -> Option<String> {
    let (found, default) = match &tag.source {
        TagSource::Literal(text) => return Some(text.to_string()),
        TagSource::RequestHeader { name, default } => {
            let value = match name == http::header::HOST {
                true => Some(exchange.authority().to_owned()),
                false => header(&parts.headers, name).map(str::to_owned),
            };
            (value, default)
        }
        TagSource::RequestMetadata {
            namespace,
            path,
            default,
        } => {
            let keys = path.iter().map(|key| &**key);
            let value = exchange.metadata.value(namespace, keys);
            let value = value.map(|value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            });
            (value, default)
        }
    };
    found.or_else(|| (!default.is_empty()).then(|| default.to_string()))
}

impl Tracer {
    /// The request's span; `None` when what came with it cannot be read, and then nothing is sent on either.
    fn begin(
        &self,
        tracing: &HttpTracing,
        exchange: &Exchange,
        parts: &Parts,
        chosen: bool,
    ) -> Option<Span> {
        let server = tracing.spawn_upstream || tracing.operation == Operation::Ingress;
        let kind = if server {
            SpanKind::Server
        } else {
            SpanKind::Client
        };
        let (context, shared) = match self.propagation().extract(&parts.headers) {
            Extracted::Invalid => return None,
            Extracted::Absent => (self.root(chosen), server && self.shares()),
            Extracted::Decision(sampled) => (self.root(sampled), server && self.shares()),
            Extracted::Context(parent, decided) => self.follow(&parent, decided, chosen, server),
        };
        let name = match &self.provider().kind {
            TraceKind::Zipkin { .. } => exchange.authority().to_owned(),
            TraceKind::OpenTelemetry { .. } => match tracing.operation {
                Operation::Ingress => Operation::Ingress.text().to_owned(),
                Operation::Egress => format!("egress {}", exchange.authority()),
            },
        };
        let mut span = Span::new(context, name, kind, exchange.start());
        span.shared = shared;
        if span.context.sampled {
            let node = &exchange.conn.chain.worker.node;
            span.tag("node_id", node.id.to_string());
            span.tag("zone", node.zone.to_string());
        }
        Some(span)
    }
}

/// Keeps the types of this module out of the way where there is no tracing.
pub(crate) type MaybeTraced = Option<Box<Traced>>;

/// Who this proxy is, as spans and logs tell it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Id.
    pub id: Arc<str>,
    /// Service cluster.
    pub cluster: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
}
