//! OTLP: the messages of opentelemetry-proto's logs service, as far as access logs need them.

use prost::Message;

use super::operator::Subject;
use super::service::{OtlpLog, Template};
use crate::Peer;
use crate::Side;
use crate::otlp::{AnyKind, AnyList, AnyValue, KeyValue, KeyValueList, Resource};
use crate::trace::nanos;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    /// Messages that are encoded already have the form of bytes.
    #[prost(bytes = "vec", repeated, tag = "2")]
    log_records: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span_id: Vec<u8>,
}

/// The body of an export call, without gRPC's frame.
pub(super) fn message(log: &OtlpLog, log_records: Vec<Vec<u8>>) -> Vec<u8> {
    let message = Request {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: log.resource.clone(),
            }),
            scope_logs: vec![ScopeLogs { log_records }],
        }],
    };
    message.encode_to_vec()
}

/// One record, encoded.
pub(super) fn record(log: &OtlpLog, subject: &Subject<'_>) -> Vec<u8> {
    let exchange = subject.exchange;
    let mut attributes = values(&log.attributes, subject);
    for name in &log.extras.filter_state {
        if let Some(peer) = peer_named(name, subject) {
            attributes.push(KeyValue {
                key: name.to_string(),
                value: Some(peer_value(peer)),
            });
        }
    }
    for (name, value) in log.extras.values(subject) {
        attributes.push(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue::text(value)),
        });
    }
    let (trace_id, span_id) = match exchange.trace {
        Some((trace, span)) => (trace.to_be_bytes().to_vec(), span.to_be_bytes().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    let record = LogRecord {
        time_unix_nano: nanos(exchange.start),
        body: log.body.as_ref().map(|body| value(body, subject)),
        attributes,
        trace_id,
        span_id,
    };
    record.encode_to_vec()
}

/// The peer that filter state of this name is about.
pub(super) fn peer_named<'a>(name: &str, subject: &Subject<'a>) -> Option<&'a Peer> {
    let own = match subject.exchange.side {
        Side::Inbound => "downstream_peer",
        Side::Outbound | Side::Gateway => "upstream_peer",
    };
    let name = name.strip_prefix("wasm.").unwrap_or(name);
    (name == own).then_some(&**subject.exchange.peer?)
}

/// A peer's metadata, by the names that the mesh has for them.
pub(super) fn peer_fields(peer: &Peer) -> [(&'static str, &str); 7] {
    let fields = peer.fields();
    [
        ("workload", &fields.workload),
        ("namespace", &fields.namespace),
        ("cluster", &fields.cluster),
        ("service", &fields.canonical_name),
        ("revision", &fields.canonical_revision),
        ("app", &fields.app),
        ("version", &fields.version),
    ]
}

fn peer_value(peer: &Peer) -> AnyValue {
    let pairs = peer_fields(peer).map(|(key, text)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue::text(text)),
    });
    AnyValue {
        value: Some(AnyKind::Map(KeyValueList {
            values: pairs.into(),
        })),
    }
}

fn values(pairs: &[(String, Template)], subject: &Subject<'_>) -> Vec<KeyValue> {
    let made = pairs.iter().map(|(key, template)| KeyValue {
        key: key.clone(),
        value: Some(value(template, subject)),
    });
    made.collect()
}

fn value(template: &Template, subject: &Subject<'_>) -> AnyValue {
    let kind = match template {
        Template::Text(format) => AnyKind::Text(format.raw(subject)),
        Template::List(list) => AnyKind::List(AnyList {
            values: list.iter().map(|it| value(it, subject)).collect(),
        }),
        Template::Map(pairs) => AnyKind::Map(KeyValueList {
            values: values(pairs, subject),
        }),
    };
    AnyValue { value: Some(kind) }
}
