//! Active health checks.

use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::health_check::payload::Payload as Bytes;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, Payload, TcpHealthCheck,
};
use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::config::endpoint::v3::endpoint::HealthCheckConfig;
use envoy_types::pb::envoy::extensions::health_check::event_sinks::file::v3::HealthCheckEventFileSink;
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range};
use http::{HeaderMap, Method};
use lateen_proxy_model::{
    CheckKind, CheckTimes, EndpointCheck, GrpcCheck, HealthCheck, HttpCheck, TcpCheck,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, host_port, number, port, unpack};
use super::{ignored, matcher, mutation, socket};

/// Interval of clusters without traffic, unless they say one.
const NO_TRAFFIC: Duration = Duration::from_secs(60);
/// Most of an answer's body that is looked at.
const BUFFER: u64 = 1024 * 1024;

/// The health checks of a cluster: at most one.
pub(super) fn read(
    at: &At<'_>,
    mut list: Vec<core::HealthCheck>,
) -> Result<Option<Arc<HealthCheck>>, Refused> {
    match list.len() {
        0 => Ok(None),
        1 => one(&at.item(0), list.remove(0)).map(|made| Some(Arc::new(made))),
        _ => Err(at.item(1).refuse("a cluster has at most one health check")),
    }
}

fn one(at: &At<'_>, mut message: core::HealthCheck) -> Result<HealthCheck, Refused> {
    let times = times(at, &mut message)?;
    let threshold =
        |field: &str, value| number(value).ok_or_else(|| at.field(field).refuse("missing"));
    let unhealthy_threshold = threshold("unhealthy_threshold", message.unhealthy_threshold.take())?;
    let healthy_threshold = threshold("healthy_threshold", message.healthy_threshold.take())?;
    ignored::health_check(&mut message);
    let kind = match message.health_checker.take() {
        Some(HealthChecker::HttpHealthCheck(check)) => {
            http(&at.field("http_health_check"), check).map(|made| CheckKind::Http(Box::new(made)))
        }
        Some(HealthChecker::GrpcHealthCheck(check)) => {
            grpc(&at.field("grpc_health_check"), check).map(|made| CheckKind::Grpc(Box::new(made)))
        }
        Some(HealthChecker::TcpHealthCheck(check)) => {
            tcp(&at.field("tcp_health_check"), check).map(CheckKind::Tcp)
        }
        Some(HealthChecker::CustomHealthCheck(_)) => {
            Err(at.field("custom_health_check").unsupported())
        }
        None => Err(at.field("health_checker").refuse("missing")),
    }?;
    let alpn = message
        .tls_options
        .take()
        .unwrap_or_default()
        .alpn_protocols;
    let transport = message.transport_socket_match_criteria.take();
    let transport = transport
        .map(|value| socket::criteria(&at.field("transport_socket_match_criteria"), Some(value)))
        .transpose()?;
    let made = HealthCheck {
        kind,
        times,
        unhealthy_threshold: unhealthy_threshold.max(1),
        healthy_threshold: healthy_threshold.max(1),
        reuse_connection: flag(message.reuse_connection.take(), true),
        alpn: alpn.into_iter().map(String::into_bytes).collect(),
        transport,
        log_failures: take(&mut message.always_log_health_check_failures),
        log_successes: take(&mut message.always_log_health_check_success),
        event_log: event_log(at, &mut message)?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

#[allow(deprecated, reason = "older clusters name the file so")]
fn event_log(at: &At<'_>, message: &mut core::HealthCheck) -> Result<Option<Box<str>>, Refused> {
    let mut path = take(&mut message.event_log_path);
    let list = at.field("event_logger");
    for (index, sink) in take(&mut message.event_logger).into_iter().enumerate() {
        let packed = sink.typed_config.unwrap_or_default();
        let place = list.item(index);
        let file: HealthCheckEventFileSink = unpack(&place.field("typed_config"), &packed)?;
        if !path.is_empty() {
            return Err(list.refuse("one file is supported"));
        }
        path = file.event_log_path;
    }
    Ok((!path.is_empty()).then(|| path.into()))
}

fn times(at: &At<'_>, message: &mut core::HealthCheck) -> Result<CheckTimes, Refused> {
    let needed = |field: &str, value| {
        let place = at.field(field);
        let value = duration(&place, value)?.filter(|value| !value.is_zero());
        value.ok_or_else(|| place.refuse("must be above 0"))
    };
    let timeout = needed("timeout", message.timeout.take())?;
    let interval = needed("interval", message.interval.take())?;
    let other = |field: &str, value, default| {
        duration(&at.field(field), value).map(|value| value.unwrap_or(default))
    };
    let jitter = |field: &str, value| {
        duration(&at.field(field), value).map(|value| value.filter(|value| !value.is_zero()))
    };
    let place = "no_traffic_interval";
    let no_traffic = other(place, message.no_traffic_interval.take(), NO_TRAFFIC)?;
    let place = "no_traffic_healthy_interval";
    let healthy = message.no_traffic_healthy_interval.take();
    let no_traffic_healthy = other(place, healthy, no_traffic)?;
    let unhealthy = other(
        "unhealthy_interval",
        message.unhealthy_interval.take(),
        interval,
    )?;
    let edge = message.unhealthy_edge_interval.take();
    let unhealthy_edge = other("unhealthy_edge_interval", edge, unhealthy)?;
    let edge = message.healthy_edge_interval.take();
    Ok(CheckTimes {
        timeout,
        interval,
        initial_jitter: jitter("initial_jitter", message.initial_jitter.take())?,
        interval_jitter: jitter("interval_jitter", message.interval_jitter.take())?,
        interval_jitter_percent: take(&mut message.interval_jitter_percent),
        no_traffic,
        no_traffic_healthy,
        unhealthy,
        unhealthy_edge,
        healthy_edge: other("healthy_edge_interval", edge, interval)?,
    })
}

fn http(at: &At<'_>, mut message: HttpHealthCheck) -> Result<HttpCheck, Refused> {
    let path = take(&mut message.path);
    if path.is_empty() {
        return Err(at.field("path").refuse("missing"));
    }
    let http2 = match message.codec_client_type() {
        CodecClientType::Http1 => false,
        CodecClientType::Http2 => true,
        CodecClientType::Http3 => {
            return Err(at
                .field("codec_client_type")
                .refuse("HTTP3 is not supported"));
        }
    };
    message.codec_client_type = 0;
    let changes = mutation::mutations(
        at,
        (
            "request_headers_to_add",
            take(&mut message.request_headers_to_add),
        ),
        (
            "request_headers_to_remove",
            take(&mut message.request_headers_to_remove),
        ),
    )?;
    let expected = take(&mut message.expected_statuses);
    let retriable = take(&mut message.retriable_statuses);
    let service = message.service_name_matcher.take();
    let method = message.method();
    let send = message.send.take();
    let made = HttpCheck {
        method: verb(&at.field("method"), method, send.is_some())?,
        path: path.into(),
        host: take(&mut message.host).into(),
        add: headers(at, &changes)?,
        remove: changes.removed().to_vec(),
        expected: statuses(&at.field("expected_statuses"), expected)?,
        retriable: statuses(&at.field("retriable_statuses"), retriable)?,
        send: send
            .map(|send| payload(&at.field("send"), send))
            .transpose()?
            .unwrap_or_default(),
        receive: payloads(&at.field("receive"), take(&mut message.receive))?,
        buffer: buffer(message.response_buffer_size.take().map(|size| size.value)),
        http2,
        service: service
            .map(|one| matcher::string(&at.field("service_name_matcher"), &one))
            .transpose()?,
    };
    message.method = 0;
    nothing_left(at, &message)?;
    Ok(made)
}

/// Bytes of the body that are looked at; 0 is as many as there are, within reason.
fn buffer(size: Option<u64>) -> usize {
    let size = match size.unwrap_or(1024) {
        0 => BUFFER,
        size => size.min(BUFFER),
    };
    usize::try_from(size).unwrap_or_default()
}

fn verb(at: &At<'_>, method: core::RequestMethod, has_body: bool) -> Result<Method, Refused> {
    use core::RequestMethod as Verb;
    let method = match method {
        Verb::MethodUnspecified | Verb::Get => Method::GET,
        Verb::Head => Method::HEAD,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
        Verb::Connect => return Err(at.refuse("CONNECT is no health check")),
        Verb::Options => Method::OPTIONS,
        Verb::Trace => Method::TRACE,
        Verb::Patch => Method::PATCH,
    };
    let may_have_body = matches!(
        method,
        Method::POST | Method::PUT | Method::PATCH | Method::OPTIONS
    );
    if has_body && !may_have_body {
        return Err(at.refuse("has no body, but one is to be sent"));
    }
    Ok(method)
}

/// Probes are no requests of anybody: texts with operators have nothing to say of them.
fn headers(
    at: &At<'_>,
    changes: &lateen_proxy_model::HeaderMutations,
) -> Result<HeaderMap, Refused> {
    if changes.has_templates() {
        let at = at.field("request_headers_to_add");
        return Err(at.refuse("format operators are not supported here"));
    }
    let mut headers = HeaderMap::new();
    changes.apply(&mut headers, &lateen_proxy_model::NoTemplates);
    Ok(headers)
}

/// Ranges whose end is not in them, on the wire.
fn statuses(at: &At<'_>, list: Vec<Int64Range>) -> Result<Vec<RangeInclusive<u16>>, Refused> {
    let range = |(index, one): (usize, Int64Range)| {
        let fits = (100..=600).contains(&one.start) && (one.start + 1..=600).contains(&one.end);
        match (u16::try_from(one.start), u16::try_from(one.end - 1)) {
            (Ok(first), Ok(last)) if fits => Ok(first..=last),
            _ => Err(at.item(index).refuse("must lie within 100 and 600")),
        }
    };
    list.into_iter().enumerate().map(range).collect()
}

fn grpc(at: &At<'_>, mut message: GrpcHealthCheck) -> Result<GrpcCheck, Refused> {
    let metadata = take(&mut message.initial_metadata);
    let none = ("initial_metadata_to_remove", Vec::new());
    let changes = mutation::mutations(at, ("initial_metadata", metadata), none)?;
    let made = GrpcCheck {
        service: take(&mut message.service_name).into(),
        authority: take(&mut message.authority).into(),
        metadata: headers(at, &changes)?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn tcp(at: &At<'_>, mut message: TcpHealthCheck) -> Result<TcpCheck, Refused> {
    let proxy = message.proxy_protocol_config.take();
    let made = TcpCheck {
        send: message
            .send
            .take()
            .map(|send| payload(&at.field("send"), send))
            .transpose()?
            .unwrap_or_default(),
        receive: payloads(&at.field("receive"), take(&mut message.receive))?,
        proxy_protocol: proxy.map(|config| match config.version() {
            Version::V1 => 1,
            Version::V2 => 2,
        }),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn payloads(at: &At<'_>, list: Vec<Payload>) -> Result<Vec<Vec<u8>>, Refused> {
    let one = |(index, value)| payload(&at.item(index), value);
    list.into_iter().enumerate().map(one).collect()
}

fn payload(at: &At<'_>, value: Payload) -> Result<Vec<u8>, Refused> {
    match value.payload {
        Some(Bytes::Text(hex)) => {
            let at = at.field("text");
            let digits = hex.as_bytes();
            if digits.is_empty() || digits.len() % 2 != 0 {
                return Err(at.refuse("must be pairs of hexadecimal digits"));
            }
            let byte = |pair: &[u8]| {
                let text = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(text, 16).ok()
            };
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
            bytes.ok_or_else(|| at.refuse("must be pairs of hexadecimal digits"))
        }
        Some(Bytes::Binary(bytes)) => Ok(bytes),
        None => Err(at.refuse("empty")),
    }
}

/// What an endpoint says of its checks.
pub(super) fn endpoint(
    at: &At<'_>,
    message: Option<HealthCheckConfig>,
) -> Result<Option<Arc<EndpointCheck>>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let own = port(&at.field("port_value"), take(&mut message.port_value))?;
    let place = at.field("address");
    let address = match message.address.take() {
        None => None,
        given => {
            let (host, given) = host_port(&place, given)?;
            let ip: IpAddr = host
                .parse()
                .map_err(|_| place.refuse(format!("{host:?} is no IP address")))?;
            let port = if given > 0 { given } else { own };
            Some(SocketAddr::new(ip, port))
        }
    };
    let hostname = take(&mut message.hostname);
    let made = EndpointCheck {
        address,
        port: own,
        hostname: (!hostname.is_empty()).then(|| hostname.into()),
        disabled: take(&mut message.disable_active_health_check),
    };
    nothing_left(at, &message)?;
    Ok((made != EndpointCheck::default()).then(|| Arc::new(made)))
}
