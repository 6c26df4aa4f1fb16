//! OTLP: the messages of opentelemetry-proto's trace service, as far as spans of a proxy need them.

use std::time::SystemTime;

use prost::Message;

use super::span::{Span, SpanKind};
use crate::otlp::{InstrumentationScope, KeyValue, Resource, texts};

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<WireSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct WireSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// The body of an export call, without gRPC's frame.
pub fn otlp_request(resource: &[(Box<str>, Box<str>)], version: &str, spans: &[Span]) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: "lateen-proxy".to_owned(),
        version: version.to_owned(),
    };
    let message = Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: texts(resource.iter().map(|(name, value)| (&**name, &**value))),
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.iter().map(wire).collect(),
            }],
        }],
    };
    message.encode_to_vec()
}

/// Spans that a collector's answer says it did not take.
pub fn decode_accepted(answer: &[u8]) -> u64 {
    let refused = Response::decode(answer)
        .ok()
        .and_then(|answer| answer.partial_success)
        .map_or(0, |partial| partial.rejected_spans);
    u64::try_from(refused).unwrap_or_default()
}

fn wire(span: &Span) -> WireSpan {
    let start = nanos(span.start);
    let after = |time: std::time::Duration| {
        start.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    };
    let context = &span.context;
    let state = context.state.as_ref().and_then(|state| state.to_str().ok());
    WireSpan {
        trace_id: context.trace_id.to_be_bytes().to_vec(),
        span_id: context.span_id.to_be_bytes().to_vec(),
        trace_state: state.unwrap_or_default().to_owned(),
        parent_span_id: context
            .parent_id
            .map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        name: span.name.clone(),
        kind: match span.kind {
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        start_time_unix_nano: start,
        end_time_unix_nano: after(span.duration),
        attributes: texts(span.tags.iter().map(|(name, value)| (&**name, &**value))),
        events: span
            .events
            .iter()
            .map(|(time, name)| Event {
                time_unix_nano: after(*time),
                name: (*name).to_owned(),
            })
            .collect(),
        status: is_error(span).then(|| Status {
            message: String::new(),
            code: ERROR,
        }),
        flags: u32::from(context.sampled),
    }
}

/// 5xx is an error to both sides, 4xx to the one that called.
fn is_error(span: &Span) -> bool {
    let status = span.find("http.status_code").and_then(|it| it.parse().ok());
    match (status, span.kind) {
        (Some(500_u16..), _) | (Some(400..), SpanKind::Client) => true,
        (Some(0) | None, _) => span.find("error").is_some(),
        _ => false,
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trace::TraceContext;

    #[test]
    fn a_span_is_told_whole() {
        let context = TraceContext {
            trace_id: 0x0102,
            span_id: 3,
            parent_id: Some(4),
            sampled: true,
            ..TraceContext::default()
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let mut span = Span::new(context, "ingress".into(), SpanKind::Server, start);
        span.duration = Duration::from_millis(5);
        span.tag("http.status_code", "200");
        span.tag("http.status_code", "503");
        let bytes = otlp_request(&[("service.name".into(), "a".into())], "1", &[span]);
        let message = Request::decode(&bytes[..]).expect("decodes");
        let one = &message.resource_spans[0];
        let resource = one.resource.as_ref().expect("a resource");
        assert_eq!(resource.attributes[0].key, "service.name");
        let span = &one.scope_spans[0].spans[0];
        assert_eq!(span.trace_id.len(), 16);
        assert_eq!(span.parent_span_id, 4_u64.to_be_bytes());
        assert_eq!(span.end_time_unix_nano, 1_005_000_000);
        assert_eq!((span.attributes.len(), span.kind), (1, 2));
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(ERROR));
    }

    #[test]
    fn partial_answers_count() {
        let answer = Response {
            partial_success: Some(PartialSuccess {
                rejected_spans: 3,
                error_message: String::new(),
            }),
        };
        assert_eq!(decode_accepted(&answer.encode_to_vec()), 3);
        assert_eq!(decode_accepted(b""), 0);
        assert_eq!(decode_accepted(b"\xff\xff"), 0);
    }
}
