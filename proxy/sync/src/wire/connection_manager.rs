//! The HTTP connection manager.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as part;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType as WireCodec, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    ServerHeaderTransformation,
};
use envoy_types::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use http::HeaderValue;
use lateen_proxy_model::{
    CodecType, ForwardClientCert, Http1Options, Http2Options, Http3Options, HttpManager, PathNormalization, RequestIdTracing, RouteSource, XfccDetails,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{flag, limit, must_be_off, must_be_unset, number, unpack};
use super::context::Context;
use super::{
    access_log, codec, config_source, head, http_filters, ignored, quic, route_table, tracing,
};

const IDLE: Duration = Duration::from_secs(3600);
const STREAM_IDLE: Duration = Duration::from_secs(300);
const DELAYED_CLOSE: Duration = Duration::from_secs(1);
/// Request headers, at most.
const MAX_HEADERS: u32 = 100;

/// Builds a connection manager.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::HttpConnectionManager,
) -> Result<HttpManager, Refused> {
    ignored::connection_manager(&mut message);
    let codec = codec_type(at, &mut message)?;
    let delayed = message.delayed_close_timeout.take();
    let request_id = request_id(
        &at.field("request_id_extension"),
        message.request_id_extension.take(),
    )?;
    let connections = connections(at, &mut message)?;
    let versions = versions(at, &mut message)?;
    let times = times(at, &mut message)?;
    let headers_kb = number(message.max_request_headers_kb.take()).unwrap_or(60);
    let tracing = message.tracing.take().map(|block| {
        let at = at.field("tracing");
        tracing::http(context, &at, block).map(Box::new)
    });
    let (filters, router) = http_filters::read(
        context,
        &at.field("http_filters"),
        take(&mut message.http_filters),
    )?;
    let mut head = head::options(at, &mut message)?;
    head.server_if_absent =
        message.server_header_transformation() == ServerHeaderTransformation::AppendIfAbsent;
    let logs = take(&mut message.access_log);
    let made = HttpManager {
        stat_prefix: take(&mut message.stat_prefix).into(),
        routes: routes(context, at, message.route_specifier.take())?,
        filters,
        server_name: server_name(at, &mut message)?,
        use_remote_address: flag(message.use_remote_address.take(), false),
        xff_trusted_hops: take(&mut message.xff_num_trusted_hops),
        forward_client_cert: forward_client_cert(&mut message),
        xfcc: xfcc(at, &mut message)?,
        paths: paths(&mut message),
        reject_fragment: context.reject_fragment,
        request_id,
        tracing: tracing.transpose()?,
        generate_request_id: flag(message.generate_request_id.take(), true),
        preserve_external_request_id: take(&mut message.preserve_external_request_id),
        upgrades: upgrades(
            &at.field("upgrade_configs"),
            take(&mut message.upgrade_configs),
        )?,
        proxy_100_continue: take(&mut message.proxy_100_continue),
        codec,
        http1: versions.http1,
        http2: versions.http2,
        http3: versions.http3,
        max_headers_bytes: headers_kb.clamp(1, 8192) as usize * 1024,
        max_headers_count: connections.max_headers,
        delayed_close: limit(
            &at.field("delayed_close_timeout"),
            delayed,
            Some(DELAYED_CLOSE),
        )?,
        stream_idle_timeout: times.stream_idle,
        request_timeout: times.request,
        request_headers_timeout: times.request_headers,
        idle_timeout: connections.idle_timeout,
        max_connection_duration: connections.max_duration,
        max_requests_per_connection: connections.max_requests,
        log_moments: access_log::moments(at, &mut message)?,
        access_log: access_log::read(context, &at.field("access_log"), logs)?,
        max_stream_duration: connections.max_stream,
        head,
        router,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn codec_type(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<CodecType, Refused> {
    let codec = match message.codec_type() {
        WireCodec::Auto => CodecType::Auto,
        WireCodec::Http1 => CodecType::Http1,
        WireCodec::Http2 => CodecType::Http2,
        WireCodec::Http3 => CodecType::Http3,
    };
    message.codec_type = 0;
    if let Some(via) = message.route_specifier.as_ref()
        && matches!(via, RouteSpecifier::ScopedRoutes(_))
    {
        return Err(at.field("scoped_routes").unsupported());
    }
    Ok(codec)
}

fn routes(
    context: &Context<'_>,
    at: &At<'_>,
    specifier: Option<RouteSpecifier>,
) -> Result<RouteSource, Refused> {
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            let place = at.field("config_source");
            let from = config_source::reference(context, &place, rds.config_source)?;
            let name = rds.route_config_name;
            if name.starts_with("xdstp:") {
                let place = at.field("route_config_name");
                return Err(place.refuse("xdstp names are not supported"));
            }
            Ok(RouteSource::Rds(context.route_table(&name, from)))
        }
        Some(RouteSpecifier::RouteConfig(table)) => {
            let at = at.field("route_config");
            let table = route_table::route_table(context, &at, table)?;
            Ok(RouteSource::Inline(Arc::new(table)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(at.field("scoped_routes").unsupported()),
        None => Err(at.refuse("no routes")),
    }
}

/// The uuid extension is what the proxy does.
fn request_id(
    at: &At<'_>,
    extension: Option<wire::RequestIdExtension>,
) -> Result<RequestIdTracing, Refused> {
    let packed = extension.and_then(|extension| extension.typed_config);
    match packed {
        Some(packed) if !any::holds::<UuidRequestIdConfig>(&packed) => {
            let kind = any::full_name(&packed.type_url);
            Err(at.refuse(format!("{kind} is not supported")))
        }
        Some(packed) => {
            let config: UuidRequestIdConfig = unpack(at, &packed)?;
            Ok(RequestIdTracing {
                pack_reason: flag(config.pack_trace_reason, true),
                decides: flag(config.use_request_id_for_trace_sampling, true),
            })
        }
        None => Ok(RequestIdTracing::default()),
    }
}

struct Connections {
    idle_timeout: Option<Duration>,
    max_duration: Option<Duration>,
    max_requests: Option<u32>,
    max_headers: u32,
    max_stream: Option<Duration>,
}

fn connections(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<Connections, Refused> {
    let at = at.field("common_http_protocol_options");
    let mut options = message
        .common_http_protocol_options
        .take()
        .unwrap_or_default();
    let idle = limit(
        &at.field("idle_timeout"),
        options.idle_timeout.take(),
        Some(IDLE),
    )?;
    let longest = options.max_connection_duration.take();
    let max_duration = limit(&at.field("max_connection_duration"), longest, None)?;
    let max_requests = number(options.max_requests_per_connection.take());
    let max_headers = number(options.max_headers_count.take()).unwrap_or(MAX_HEADERS);
    let longest = options.max_stream_duration.take();
    let max_stream = limit(&at.field("max_stream_duration"), longest, None)?;
    nothing_left(&at, &options)?;
    Ok(Connections {
        max_stream,
        idle_timeout: idle,
        max_duration,
        max_requests: max_requests.filter(|most| *most > 0),
        max_headers: max_headers.max(1),
    })
}

struct Versions {
    http1: Http1Options,
    http2: Http2Options,
    http3: Http3Options,
}

fn versions(at: &At<'_>, message: &mut wire::HttpConnectionManager) -> Result<Versions, Refused> {
    let keep = flag(message.stream_error_on_invalid_http_message.take(), false);
    let one = message.http_protocol_options.take().unwrap_or_default();
    let two = message.http2_protocol_options.take().unwrap_or_default();
    let three = message.http3_protocol_options.take().unwrap_or_default();
    Ok(Versions {
        http1: codec::http1(&at.field("http_protocol_options"), one, keep)?,
        http2: codec::http2(&at.field("http2_protocol_options"), two)?,
        http3: quic::http3(&at.field("http3_protocol_options"), three, keep)?,
    })
}

struct Times {
    stream_idle: Option<Duration>,
    request: Option<Duration>,
    request_headers: Option<Duration>,
}

fn times(at: &At<'_>, message: &mut wire::HttpConnectionManager) -> Result<Times, Refused> {
    let stream_idle = message.stream_idle_timeout.take();
    let request = message.request_timeout.take();
    let headers = message.request_headers_timeout.take();
    Ok(Times {
        stream_idle: limit(
            &at.field("stream_idle_timeout"),
            stream_idle,
            Some(STREAM_IDLE),
        )?,
        request: limit(&at.field("request_timeout"), request, None)?,
        request_headers: limit(&at.field("request_headers_timeout"), headers, None)?,
    })
}

fn server_name(
    at: &At<'_>,
    message: &mut wire::HttpConnectionManager,
) -> Result<Option<HeaderValue>, Refused> {
    let transformation = message.server_header_transformation();
    message.server_header_transformation = 0;
    let mut name = take(&mut message.server_name);
    if name.is_empty() {
        "envoy".clone_into(&mut name);
    }
    match transformation {
        ServerHeaderTransformation::PassThrough => Ok(None),
        ServerHeaderTransformation::Overwrite | ServerHeaderTransformation::AppendIfAbsent => {
            HeaderValue::try_from(&name).map(Some).map_err(|_| {
                at.field("server_name")
                    .refuse(format!("{name:?} is no header value"))
            })
        }
    }
}

fn forward_client_cert(message: &mut wire::HttpConnectionManager) -> ForwardClientCert {
    let details = message.forward_client_cert_details();
    message.forward_client_cert_details = 0;
    match details {
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    }
}

fn xfcc(at: &At<'_>, message: &mut wire::HttpConnectionManager) -> Result<XfccDetails, Refused> {
    let Some(mut set) = message.set_current_client_cert_details.take() else {
        return Ok(XfccDetails::default());
    };
    let details = XfccDetails {
        subject: flag(set.subject.take(), false),
        cert: take(&mut set.cert),
        chain: take(&mut set.chain),
        uri: take(&mut set.uri),
        dns: take(&mut set.dns),
    };
    nothing_left(&at.field("set_current_client_cert_details"), &set)?;
    Ok(details)
}

fn paths(message: &mut wire::HttpConnectionManager) -> PathNormalization {
    let action = message.path_with_escaped_slashes_action();
    message.path_with_escaped_slashes_action = 0;
    let unescape_slashes = match action {
        PathWithEscapedSlashesAction::ImplementationSpecificDefault
        | PathWithEscapedSlashesAction::KeepUnchanged => false,
        // Redirects are to the path without them; requests that are refused are looked at before.
        PathWithEscapedSlashesAction::UnescapeAndForward
        | PathWithEscapedSlashesAction::UnescapeAndRedirect
        | PathWithEscapedSlashesAction::RejectRequest => true,
    };
    PathNormalization {
        normalize: flag(message.normalize_path.take(), false),
        merge_slashes: take(&mut message.merge_slashes),
        unescape_slashes,
    }
}

fn upgrades(at: &At<'_>, configs: Vec<part::UpgradeConfig>) -> Result<Vec<Box<str>>, Refused> {
    let mut allowed = Vec::new();
    for (index, config) in configs.into_iter().enumerate() {
        let at = at.item(index);
        must_be_off(&at.field("filters"), !config.filters.is_empty())?;
        must_be_unset(
            &at.field("enabled"),
            config.enabled.map(|mut on| {
                on.value = !on.value;
                on
            }),
        )?;
        allowed.push(config.upgrade_type.to_ascii_lowercase().into());
    }
    Ok(allowed)
}
