//! One worker's way to a collector of spans.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_model::{TraceKind, TraceProvider};
use lateen_proxy_telemetry::trace::{
    Endpoint, Propagation, Span, TraceContext, decode_accepted, otlp_request, zipkin_spans,
};
use lateen_proxy_telemetry::{Counter, Stats};

use super::batch::{Batch, BatchLimits};
use super::caller::Caller;

/// Envoy's defaults: spans go when there are five of them, or after five seconds.
const ENOUGH: usize = 5;
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes spans' contexts and takes spans that have ended.
#[derive(Debug)]
pub(crate) struct Tracer {
    provider: Arc<TraceProvider>,
    propagation: Propagation,
    batch: Batch<Span>,
}

#[derive(Clone, Debug)]
struct Told {
    sent: Counter,
    dropped: Counter,
    failed: Counter,
    reports: Counter,
}

impl Tracer {
    /// Starts the sender on this worker.
    pub(crate) fn start(
        provider: Arc<TraceProvider>,
        caller: Rc<dyn Caller>,
        stats: &Stats,
    ) -> Self {
        let (name, propagation) = match &provider.kind {
            TraceKind::OpenTelemetry { .. } => ("opentelemetry", Propagation::W3c),
            TraceKind::Zipkin { w3c: false, .. } => ("zipkin", Propagation::B3),
            TraceKind::Zipkin { w3c: true, .. } => ("zipkin", Propagation::B3AndW3c),
        };
        let counter = |what: &str| stats.counter(&format!("tracing.{name}.{what}"));
        let told = Told {
            sent: counter("spans_sent"),
            dropped: counter("spans_dropped"),
            failed: counter("reports_failed"),
            reports: counter("reports_sent"),
        };
        let limits = BatchLimits {
            enough: ENOUGH,
            most: provider.max_spans.max(1),
            patience: PATIENCE,
        };
        let target = Arc::clone(&provider);
        let dropped = told.dropped.clone();
        let batch = Batch::start(limits, dropped, move |spans: Vec<Span>| {
            let count = spans.len() as u64;
            let (content, body) = encode(&target, &spans);
            let call = caller.post(&target.target, content, body);
            let told = told.clone();
            let cluster = Arc::clone(target.target.cluster.name());
            async move {
                match call.await {
                    Ok(answer) => {
                        let refused = match content {
                            OTLP | GRPC => decode_accepted(&answer).min(count),
                            _ => 0,
                        };
                        told.reports.inc();
                        told.sent.add(count - refused);
                        told.dropped.add(refused);
                    }
                    Err(error) => {
                        told.failed.inc();
                        told.dropped.add(count);
                        tracing::debug!(%cluster, %error, count, "spans were not taken");
                    }
                }
            }
        });
        Self {
            provider,
            propagation,
            batch,
        }
    }

    pub(crate) fn provider(&self) -> &TraceProvider {
        &self.provider
    }

    pub(crate) fn propagation(&self) -> Propagation {
        self.propagation
    }

    /// A span without a parent.
    pub(crate) fn root(&self, chosen: bool) -> TraceContext {
        let (low, high) = (fastrand::u64(1..), fastrand::u64(..));
        let wide = match &self.provider.kind {
            TraceKind::OpenTelemetry { .. } => true,
            TraceKind::Zipkin { wide, .. } => *wide,
        };
        let trace_id = u128::from(low) | if wide { u128::from(high) << 64 } else { 0 };
        let span_id = match &self.provider.kind {
            // In Zipkin's model a trace is named after its first span.
            TraceKind::Zipkin { .. } => low,
            TraceKind::OpenTelemetry { .. } => fastrand::u64(1..),
        };
        TraceContext {
            trace_id,
            span_id,
            parent_id: None,
            sampled: self.sampled(trace_id, None, chosen),
            ..TraceContext::default()
        }
    }

    /// Both sides of a call have one span.
    pub(crate) fn shares(&self) -> bool {
        matches!(self.provider.kind, TraceKind::Zipkin { shared: true, .. })
    }

    /// A span below one that came with the request, and whether it shares that one's id.
    pub(crate) fn follow(
        &self,
        parent: &TraceContext,
        decided: bool,
        chosen: bool,
        server: bool,
    ) -> (TraceContext, bool) {
        let shared = server && self.shares();
        let sampled = if decided { parent.sampled } else { chosen };
        let sampled = self.sampled(parent.trace_id, decided.then_some(parent.sampled), sampled);
        let context = TraceContext {
            sampled,
            ..parent.clone()
        };
        if shared {
            return (context, true);
        }
        (self.child(&context), false)
    }

    /// A span below another one of this proxy.
    pub(crate) fn child(&self, parent: &TraceContext) -> TraceContext {
        TraceContext {
            span_id: fastrand::u64(1..),
            parent_id: Some(parent.span_id),
            ..parent.clone()
        }
    }

    fn sampled(&self, trace_id: u128, parent: Option<bool>, chosen: bool) -> bool {
        match &self.provider.kind {
            TraceKind::OpenTelemetry {
                sampler: Some(sampler),
                ..
            } => sampler.samples(trace_id, parent),
            _ => chosen,
        }
    }

    /// Takes a span that has ended.
    pub(crate) fn end(&self, span: Span) {
        self.batch.push(span, 1);
    }
}

const OTLP: &str = "application/x-protobuf";
const GRPC: &str = "application/grpc";

fn encode(provider: &TraceProvider, spans: &[Span]) -> (&'static str, Vec<u8>) {
    match &provider.kind {
        TraceKind::OpenTelemetry { resource, .. } => {
            let body = otlp_request(resource, env!("CARGO_PKG_VERSION"), spans);
            let grpc = provider.target.method.is_some();
            (if grpc { GRPC } else { OTLP }, body)
        }
        TraceKind::Zipkin {
            service, address, ..
        } => {
            let endpoint = Endpoint {
                service: service.clone(),
                address: *address,
            };
            ("application/json", zipkin_spans(&endpoint, spans))
        }
    }
}
