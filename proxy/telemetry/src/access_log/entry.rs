//! Records as entries of Envoy's access log service (`envoy.data.accesslog.v3`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::data::accesslog::v3 as data;
use envoy_types::pb::google::protobuf as wkt;
use http::HeaderName;
use prost::{Message, Name};

use super::operator::Subject;
use super::otlp::{peer_fields, peer_named};
use super::service::GrpcLog;
use crate::{Flags, HeaderSource, HttpRecord, Protocol};

/// Headers that have places of their own.
pub(super) const REQUEST_HEADERS: [&str; 6] = [
    "referer",
    "user-agent",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
];

#[derive(Clone, PartialEq, Message)]
struct Stream {
    /// Messages that are encoded already have the form of bytes.
    #[prost(bytes = "vec", optional, tag = "1")]
    identifier: Option<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    http: Option<Entries>,
    #[prost(message, optional, tag = "3")]
    tcp: Option<Entries>,
}

#[derive(Clone, PartialEq, Message)]
struct Entries {
    #[prost(bytes = "vec", repeated, tag = "1")]
    entries: Vec<Vec<u8>>,
}

/// A message of the stream, without gRPC's frame.
pub(super) fn message(log: &GrpcLog, entries: Vec<Vec<u8>>, first: bool) -> Vec<u8> {
    let entries = Some(Entries { entries });
    let (http, tcp) = if log.tcp {
        (None, entries)
    } else {
        (entries, None)
    };
    let message = Stream {
        identifier: first.then(|| log.identifier.clone()),
        http,
        tcp,
    };
    message.encode_to_vec()
}

/// A connection's entry.
pub(super) fn tcp(log: &GrpcLog, subject: &Subject<'_>) -> data::TcpAccessLogEntry {
    data::TcpAccessLogEntry {
        common_properties: Some(common(log, subject)),
        connection_properties: Some(data::ConnectionProperties {
            received_bytes: subject.exchange.bytes_received,
            sent_bytes: subject.exchange.bytes_sent,
        }),
    }
}

/// A request's entry.
pub(super) fn http(log: &GrpcLog, subject: &Subject<'_>) -> data::HttpAccessLogEntry {
    use data::http_access_log_entry::HttpVersion;
    let version = subject
        .http
        .map_or(HttpVersion::ProtocolUnspecified, |http| {
            match http.protocol {
                Protocol::Http10 => HttpVersion::Http10,
                Protocol::Http11 => HttpVersion::Http11,
                Protocol::Http2 => HttpVersion::Http2,
                Protocol::Http3 => HttpVersion::Http3,
            }
        });
    data::HttpAccessLogEntry {
        common_properties: Some(common(log, subject)),
        protocol_version: version.into(),
        request: subject.http.map(|http| request(log, http)),
        response: subject.http.map(|http| response(log, http)),
    }
}

fn request(log: &GrpcLog, http: &HttpRecord<'_>) -> data::HttpRequestProperties {
    let header = |name: &'static str| {
        let name = HeaderName::from_static(name);
        let value = http.request_headers.and_then(|source| source.header(&name));
        value.map_or_else(String::new, |value| lossy(value.as_bytes()))
    };
    let method = format!("METHOD_{}", http.method);
    let method = core::RequestMethod::from_str_name(http.method)
        .or_else(|| core::RequestMethod::from_str_name(&method))
        .unwrap_or(core::RequestMethod::MethodUnspecified);
    let scheme = header("x-forwarded-proto");
    let authority = http.authority.unwrap_or_default();
    let pseudo = [
        (":method", http.method),
        (":path", http.path),
        (":authority", authority),
        (":scheme", &scheme),
    ];
    let pseudo: usize = pseudo
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let named = http.request_headers.map_or(0, HeaderSource::bytes);
    data::HttpRequestProperties {
        request_method: method.into(),
        authority: authority.to_owned(),
        path: http.path.to_owned(),
        user_agent: header("user-agent"),
        referer: header("referer"),
        forwarded_for: header("x-forwarded-for"),
        request_id: header("x-request-id"),
        original_path: header("x-envoy-original-path"),
        request_headers_bytes: (pseudo + named) as u64,
        request_body_bytes: http.exchange.bytes_received,
        request_headers: named_values(&log.request_headers, http.request_headers),
        scheme,
        ..data::HttpRequestProperties::default()
    }
}

fn response(log: &GrpcLog, http: &HttpRecord<'_>) -> data::HttpResponseProperties {
    let status = (http.status != 0).then_some(u32::from(http.status));
    let named = http.response_headers.map_or(0, HeaderSource::bytes);
    // `:status` and its three digits.
    let pseudo = http.response_headers.map_or(0, |_| 10);
    data::HttpResponseProperties {
        response_code: status.map(|value| wkt::UInt32Value { value }),
        response_headers_bytes: (named + pseudo) as u64,
        response_body_bytes: http.exchange.bytes_sent,
        response_headers: named_values(&log.response_headers, http.response_headers),
        response_trailers: named_values(&log.response_trailers, http.response_trailers),
        response_code_details: http.exchange.details.unwrap_or_default().to_owned(),
        ..data::HttpResponseProperties::default()
    }
}

fn named_values(
    names: &[HeaderName],
    source: Option<&dyn HeaderSource>,
) -> HashMap<String, String> {
    let values = names.iter().filter_map(|name| {
        let value = source?.header(name)?;
        Some((name.as_str().to_owned(), lossy(value.as_bytes())))
    });
    values.collect()
}

fn common(log: &GrpcLog, subject: &Subject<'_>) -> data::AccessLogCommon {
    let exchange = subject.exchange;
    let http = subject.http;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let ended = exchange.log_type.is_end();
    data::AccessLogCommon {
        downstream_remote_address: exchange.downstream_remote.map(address),
        downstream_local_address: exchange.downstream_local.map(address),
        downstream_direct_remote_address: exchange
            .downstream_direct_remote
            .or(exchange.downstream_remote)
            .map(address),
        tls_properties: tls(subject),
        start_time: Some(timestamp(exchange.start)),
        // A request without a body ended when it came.
        time_to_last_rx_byte: http
            .and_then(|it| match it.request_duration {
                None if exchange.bytes_received == 0 => Some(Duration::ZERO),
                time => time,
            })
            .map(duration),
        time_to_first_upstream_rx_byte: http.and_then(|it| it.response_duration).map(duration),
        time_to_last_downstream_tx_byte: (ended && http.is_some())
            .then(|| duration(exchange.duration)),
        upstream_remote_address: exchange.upstream_host.map(address),
        upstream_local_address: exchange.upstream_local.map(address),
        upstream_cluster: text(exchange.cluster_alt_name.or(exchange.cluster)),
        response_flags: (!exchange.flags.is_empty()).then(|| flags(exchange.flags)),
        metadata: exchange
            .metadata
            .filter(|metadata| !metadata.is_empty())
            .map(|metadata| core::Metadata {
                filter_metadata: metadata
                    .iter()
                    .map(|(name, values)| (name.to_string(), structure(values)))
                    .collect(),
                typed_filter_metadata: HashMap::new(),
            }),
        upstream_transport_failure_reason: text(exchange.upstream_failure),
        route_name: text(exchange.route),
        filter_state_objects: filter_state(log, subject),
        custom_tags: log
            .extras
            .values(subject)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        duration: ended.then(|| duration(exchange.duration)),
        upstream_request_attempt_count: match http {
            Some(http) => http.attempts,
            None => u32::from(exchange.cluster.is_some()),
        },
        connection_termination_details: text(exchange.termination_details),
        stream_id: http
            .and_then(|http| {
                let name = HeaderName::from_static("x-request-id");
                Some(lossy(http.request_headers?.header(&name)?.as_bytes()))
            })
            .unwrap_or_default(),
        access_log_type: i32::try_from(exchange.log_type.number(http.is_some()))
            .unwrap_or_default(),
        ..data::AccessLogCommon::default()
    }
}

fn filter_state(log: &GrpcLog, subject: &Subject<'_>) -> HashMap<String, wkt::Any> {
    let named = log.extras.filter_state.iter().filter_map(|name| {
        let fields = peer_fields(peer_named(name, subject)?);
        let fields = fields.map(|(key, text)| (key.to_owned(), string(text)));
        let value = wkt::Struct {
            fields: fields.into(),
        };
        let any = wkt::Any {
            type_url: wkt::Struct::type_url(),
            value: value.encode_to_vec(),
        };
        Some((name.to_string(), any))
    });
    named.collect()
}

fn tls(subject: &Subject<'_>) -> Option<data::TlsProperties> {
    use data::tls_properties::certificate_properties::SubjectAltName;
    use data::tls_properties::certificate_properties::subject_alt_name::San;
    let exchange = subject.exchange;
    let peer = exchange.certificate;
    if !exchange.tls && peer.is_none() {
        return None;
    }
    Some(data::TlsProperties {
        tls_sni_hostname: exchange.sni.unwrap_or_default().to_owned(),
        peer_certificate_properties: peer.map(|peer| {
            let uris = peer.uris.iter().map(|uri| San::Uri(uri.to_string()));
            let dns = peer.dns.iter().map(|name| San::Dns(name.to_string()));
            data::tls_properties::CertificateProperties {
                subject_alt_name: uris
                    .chain(dns)
                    .map(|san| SubjectAltName { san: Some(san) })
                    .collect(),
                subject: peer.subject.to_owned(),
                ..Default::default()
            }
        }),
        ..data::TlsProperties::default()
    })
}

fn flags(flags: Flags) -> data::ResponseFlags {
    use data::response_flags::{Unauthorized, unauthorized::Reason};
    let has = |bit: u32| flags.bits() & (1 << bit) != 0;
    data::ResponseFlags {
        failed_local_healthcheck: has(0),
        no_healthy_upstream: has(1),
        upstream_request_timeout: has(2),
        local_reset: has(3),
        upstream_remote_reset: has(4),
        upstream_connection_failure: has(5),
        upstream_connection_termination: has(6),
        upstream_overflow: has(7),
        no_route_found: has(8),
        delay_injected: has(9),
        fault_injected: has(10),
        rate_limited: has(11),
        unauthorized_details: has(12).then(|| Unauthorized {
            reason: Reason::ExternalService.into(),
        }),
        rate_limit_service_error: has(13),
        downstream_connection_termination: has(14),
        upstream_retry_limit_exceeded: has(15),
        stream_idle_timeout: has(16),
        invalid_envoy_request_headers: has(17),
        downstream_protocol_error: has(18),
        upstream_max_stream_duration_reached: has(19),
        response_from_cache_filter: has(20),
        no_filter_config_found: has(21),
        duration_timeout: has(22),
        upstream_protocol_error: has(23),
        no_cluster_found: has(24),
        overload_manager: has(25),
        dns_resolution_failure: has(26),
        downstream_remote_reset: has(28),
    }
}

fn address(address: SocketAddr) -> core::Address {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    core::Address {
        address: Some(Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..core::SocketAddress::default()
        })),
    }
}

fn timestamp(time: SystemTime) -> wkt::Timestamp {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = duration(since);
    wkt::Timestamp {
        seconds: time.seconds,
        nanos: time.nanos,
    }
}

fn duration(time: Duration) -> wkt::Duration {
    wkt::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}

fn structure(values: &serde_json::Map<String, serde_json::Value>) -> wkt::Struct {
    let fields = values.iter().map(|(key, one)| (key.clone(), value(one)));
    wkt::Struct {
        fields: fields.collect(),
    }
}

fn string(text: &str) -> wkt::Value {
    wkt::Value {
        kind: Some(wkt::value::Kind::StringValue(text.to_owned())),
    }
}

fn value(json: &serde_json::Value) -> wkt::Value {
    use serde_json::Value as Json;
    use wkt::value::Kind;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(on) => Kind::BoolValue(*on),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => return string(text),
        Json::Array(list) => Kind::ListValue(wkt::ListValue {
            values: list.iter().map(value).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    wkt::Value { kind: Some(kind) }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
