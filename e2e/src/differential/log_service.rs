//! Services behind a proxy that take its access logs: they note what each entry says.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use bytes::{Buf, Bytes, BytesMut};
use envoy_types::pb::envoy::data::accesslog::v3 as data;
use envoy_types::pb::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use envoy_types::pb::opentelemetry::proto::common::v1 as otlp;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;

use super::PROBE;
use super::service;
use super::upstream::Script;

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<otlp::KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(fixed64, tag = "1")]
    time: u64,
    #[prost(message, optional, tag = "5")]
    body: Option<otlp::AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<otlp::KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span: Vec<u8>,
}

/// Starts a service and gives its port.
pub(super) fn serve(script: Script) -> Result<u16> {
    service::serve(script, one)
}

async fn one(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    script: Script,
) -> Result<()> {
    let script = &script;
    let path = request.uri().path().to_owned();
    let exported = path.ends_with("/Export");
    let mut body = request.into_body();
    let mut data = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        data.extend_from_slice(&part);
        while let Some(message) = message(&mut data) {
            let lines = match exported {
                true => exported_lines(&message),
                false => streamed_lines(&message)?,
            };
            lines
                .into_iter()
                .for_each(|line| script.note_call(format!("{path} {line}")));
        }
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = answer.send_response(head.body(())?, false)?;
    stream.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

fn message(data: &mut BytesMut) -> Option<Bytes> {
    let length = data.get(1..5)?.try_into().ok().map(u32::from_be_bytes)? as usize;
    if data.len() < length + 5 {
        return None;
    }
    data.advance(5);
    Some(data.split_to(length).freeze())
}

/// A line for each record of an export, with its resource.
pub(super) fn exported_lines(body: &[u8]) -> Vec<String> {
    let Ok(export) = Export::decode(body) else {
        return vec!["an export that cannot be read".to_owned()];
    };
    let mut lines = Vec::new();
    for logs in export.logs {
        let resource = logs.resource.unwrap_or_default();
        for record in logs.scopes.into_iter().flat_map(|scope| scope.records) {
            let body = record.body.as_ref().map(value).unwrap_or_default();
            if body.contains(PROBE) {
                continue;
            }
            lines.push(format!(
                "of {} says {body} with {} at a time {} traced {} {}",
                pairs(&resource.attributes),
                pairs(&record.attributes),
                record.time > 1_700_000_000_000_000_000,
                record.trace.len(),
                record.span.len(),
            ));
        }
    }
    lines
}

fn pairs(pairs: &[otlp::KeyValue]) -> String {
    let one = |pair: &otlp::KeyValue| {
        let text = pair.value.as_ref().map(value).unwrap_or_default();
        format!("{}={text}", pair.key)
    };
    let mut texts: Vec<_> = pairs.iter().map(one).collect();
    // Tags of Envoy are in no order.
    texts.sort();
    format!("{{{}}}", texts.join(", "))
}

fn value(any: &otlp::AnyValue) -> String {
    use otlp::any_value::Value;
    match &any.value {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::KvlistValue(list)) => pairs(&list.values),
        Some(Value::ArrayValue(list)) => {
            let values: Vec<_> = list.values.iter().map(value).collect();
            format!("[{}]", values.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn streamed_lines(body: &[u8]) -> Result<Vec<String>> {
    let message = StreamAccessLogsMessage::decode(body)?;
    Ok(match message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => {
            logs.log_entry.into_iter().filter_map(http_line).collect()
        }
        Some(LogEntries::TcpLogs(logs)) => logs
            .log_entry
            .into_iter()
            .map(|entry| {
                let moved = entry.connection_properties.unwrap_or_default();
                let mut common_part = entry.common_properties.unwrap_or_default();
                // Random, where there is one.
                common_part.stream_id.clear();
                format!("{}\n  {moved:?}", common(Some(common_part)))
            })
            .collect(),
        None => vec!["nothing".to_owned()],
    })
}

fn http_line(entry: data::HttpAccessLogEntry) -> Option<String> {
    let request = entry.request.unwrap_or_default();
    if request.path == PROBE {
        return None;
    }
    let response = entry.response.unwrap_or_default();
    Some(format!(
        "{}\n  version {}\n  {} {} {:?} {:?} agent {:?} referer {:?} for {:?} id {:?} was {:?} body {} headers {:?}\n  \
         status {:?} body {} headers {:?} trailers {:?} details {:?}",
        common(entry.common_properties),
        entry.protocol_version,
        request.request_method,
        request.scheme,
        request.authority,
        request.path,
        request.user_agent,
        request.referer,
        request.forwarded_for,
        request.request_id,
        request.original_path,
        request.request_body_bytes,
        sorted(&request.request_headers),
        response.response_code.map(|code| code.value),
        response.response_body_bytes,
        sorted(&response.response_headers),
        sorted(&response.response_trailers),
        response.response_code_details,
    ))
}

fn common(common: Option<data::AccessLogCommon>) -> String {
    let common = common.unwrap_or_default();
    let address = |address: &Option<envoy_types::pb::envoy::config::core::v3::Address>| {
        use envoy_types::pb::envoy::config::core::v3::address::Address::SocketAddress;
        match address.as_ref().and_then(|it| it.address.as_ref()) {
            Some(SocketAddress(at)) => at.address.clone(),
            _ => String::new(),
        }
    };
    format!(
        "type {} {:?} {:?} {:?} {:?} {:?} tls {} started {} {} first {} lasted {} cluster {:?} flags {:?} route {:?} \
         tries {} failure {:?} ended {:?} stream {:?} tags {:?}",
        common.access_log_type,
        address(&common.downstream_remote_address),
        address(&common.downstream_local_address),
        address(&common.downstream_direct_remote_address),
        address(&common.upstream_remote_address),
        address(&common.upstream_local_address),
        common.tls_properties.is_some(),
        common.start_time.is_some(),
        common.time_to_last_rx_byte.is_some(),
        common.time_to_first_upstream_rx_byte.is_some(),
        common.duration.is_some(),
        common.upstream_cluster,
        common.response_flags,
        common.route_name,
        common.upstream_request_attempt_count,
        common.upstream_transport_failure_reason,
        common.connection_termination_details,
        common.stream_id,
        sorted(&common.custom_tags),
    )
}

fn sorted(map: &HashMap<String, String>) -> BTreeMap<&String, &String> {
    map.iter().collect()
}
