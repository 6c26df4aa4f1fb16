//! Zipkin's JSON, version 2 of its API.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::otlp::nanos;
use super::span::{Span, SpanKind};

/// Who tells.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// Name of the service.
    pub service: Box<str>,
    /// Address of this proxy.
    pub address: Option<IpAddr>,
}

/// The body of a report.
pub fn zipkin_spans(endpoint: &Endpoint, spans: &[Span]) -> Vec<u8> {
    let list: Vec<Value> = spans.iter().map(|span| one(endpoint, span)).collect();
    serde_json::to_vec(&list).unwrap_or_default()
}

fn one(endpoint: &Endpoint, span: &Span) -> Value {
    let context = &span.context;
    let mut out = Map::new();
    out.insert("traceId".into(), context.trace_text().into());
    if let Some(parent) = context.parent_id {
        out.insert("parentId".into(), format!("{parent:016x}").into());
    }
    out.insert("id".into(), format!("{:016x}", context.span_id).into());
    let kind = match span.kind {
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
    };
    out.insert("kind".into(), kind.into());
    out.insert("name".into(), span.name.clone().into());
    out.insert("timestamp".into(), (nanos(span.start) / 1000).into());
    let micros = u64::try_from(span.duration.as_micros()).unwrap_or(u64::MAX);
    out.insert("duration".into(), micros.max(1).into());
    let mut local = Map::new();
    local.insert("serviceName".into(), (&*endpoint.service).into());
    match endpoint.address {
        Some(IpAddr::V4(address)) => local.insert("ipv4".into(), address.to_string().into()),
        Some(IpAddr::V6(address)) => local.insert("ipv6".into(), address.to_string().into()),
        None => None,
    };
    out.insert("localEndpoint".into(), local.into());
    let tags: Map<String, Value> = span
        .tags
        .iter()
        .map(|(name, value)| (name.to_string(), (&**value).into()))
        .collect();
    out.insert("tags".into(), tags.into());
    if !span.events.is_empty() {
        let start = nanos(span.start) / 1000;
        let events: Vec<Value> = span
            .events
            .iter()
            .map(|(time, name)| {
                let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                json!({"timestamp": start.saturating_add(time), "value": name})
            })
            .collect();
        out.insert("annotations".into(), events.into());
    }
    if span.shared {
        out.insert("shared".into(), true.into());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::trace::TraceContext;

    #[test]
    fn a_span_reads_as_zipkin_wants_it() {
        let context = TraceContext {
            trace_id: 0xab,
            span_id: 1,
            ..TraceContext::default()
        };
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let mut span = Span::new(context, "host".into(), SpanKind::Client, start);
        span.tag("a", "b\"");
        let endpoint = Endpoint {
            service: "me".into(),
            address: "10.0.0.1".parse().ok(),
        };
        let text = String::from_utf8(zipkin_spans(&endpoint, &[span])).expect("UTF-8");
        assert_eq!(
            text,
            concat!(
                r#"[{"traceId":"00000000000000ab","id":"0000000000000001","kind":"CLIENT","name":"host","#,
                r#""timestamp":1000000,"duration":1,"localEndpoint":{"serviceName":"me","ipv4":"10.0.0.1"},"#,
                r#""tags":{"a":"b\""}}]"#
            )
        );
    }
}
