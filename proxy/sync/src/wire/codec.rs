//! Options of HTTP/1 and HTTP/2, which listeners and clusters share.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::http1_protocol_options::header_key_format::HeaderFormat;
use envoy_types::pb::envoy::extensions::http::header_formatters::preserve_case::v3::PreserveCaseFormatterConfig;
use http::HeaderValue;
use lateen_proxy_model::{FloodLimits, HeaderCase, Http1Options, Http2Options, Keepalive};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, unpack};
use super::ignored;

/// Windows of HTTP/2 lie between these (RFC 9113 section 6.9.2).
const WINDOWS: std::ops::RangeInclusive<u32> = 65_535..=0x7fff_ffff;

/// Options of HTTP/1. `keep_refused` is what the connection manager says of refused requests.
pub(super) fn http1(
    at: &At<'_>,
    mut options: core::Http1ProtocolOptions,
    keep_refused: bool,
) -> Result<Http1Options, Refused> {
    ignored::http1(&mut options);
    let absolute = options.allow_absolute_url.take();
    must_be_off(
        &at.field("allow_absolute_url"),
        absolute.is_some_and(|on| !on.value),
    )?;
    let host = take(&mut options.default_host_for_http_10);
    let default_host = match host.is_empty() {
        true => None,
        false => Some(HeaderValue::try_from(&host).map_err(|_| {
            at.field("default_host_for_http_10")
                .refuse(format!("{host:?} is no host"))
        })?),
    };
    let made = Http1Options {
        accept_http_10: take(&mut options.accept_http_10),
        default_host,
        case: header_case(
            &at.field("header_key_format"),
            options.header_key_format.take(),
        )?,
        enable_trailers: take(&mut options.enable_trailers),
        allow_chunked_length: take(&mut options.allow_chunked_length),
        allow_custom_methods: take(&mut options.allow_custom_methods),
        keep_refused: flag(
            options.override_stream_error_on_invalid_http_message.take(),
            keep_refused,
        ),
        absolute_target: take(&mut options.send_fully_qualified_url),
    };
    nothing_left(at, &options)?;
    Ok(made)
}

fn header_case(
    at: &At<'_>,
    format: Option<core::http1_protocol_options::HeaderKeyFormat>,
) -> Result<HeaderCase, Refused> {
    let Some(format) = format.and_then(|format| format.header_format) else {
        return Ok(HeaderCase::Lower);
    };
    match format {
        HeaderFormat::ProperCaseWords(_) => Ok(HeaderCase::Title),
        HeaderFormat::StatefulFormatter(extension) => {
            let at = at.field("stateful_formatter");
            let packed = extension
                .typed_config
                .ok_or_else(|| at.field("typed_config").refuse("missing"))?;
            let mut config: PreserveCaseFormatterConfig = unpack(&at, &packed)?;
            // Lower case is what added headers have; the reason is this proxy's own.
            if take(&mut config.formatter_type_on_envoy_headers) != 0 {
                return Err(at.field("formatter_type_on_envoy_headers").unsupported());
            }
            nothing_left(&at, &config)?;
            Ok(HeaderCase::Preserve)
        }
    }
}

/// Options of HTTP/2.
pub(super) fn http2(
    at: &At<'_>,
    mut options: core::Http2ProtocolOptions,
) -> Result<Http2Options, Refused> {
    ignored::http2(&mut options);
    let floods = FloodLimits::default();
    let empty = number(
        options
            .max_consecutive_inbound_frames_with_empty_payload
            .take(),
    );
    let priorities = number(options.max_inbound_priority_frames_per_stream.take());
    let stream = number(options.initial_stream_window_size.take());
    let connection = number(options.initial_connection_window_size.take());
    let streams = number(options.max_concurrent_streams.take());
    if streams == Some(0) {
        return Err(at.field("max_concurrent_streams").refuse("0 serves nobody"));
    }
    let made = Http2Options {
        max_concurrent_streams: streams,
        initial_stream_window: window(&at.field("initial_stream_window_size"), stream)?,
        initial_connection_window: window(&at.field("initial_connection_window_size"), connection)?,
        header_table_size: number(options.hpack_table_size.take()),
        allow_connect: take(&mut options.allow_connect),
        keepalive: keepalive(
            &at.field("connection_keepalive"),
            options.connection_keepalive.take(),
        )?,
        floods: FloodLimits {
            empty_frames: empty.unwrap_or(floods.empty_frames),
            priority_per_stream: priorities.unwrap_or(floods.priority_per_stream),
        },
    };
    nothing_left(at, &options)?;
    Ok(made)
}

fn window(at: &At<'_>, size: Option<u32>) -> Result<Option<u32>, Refused> {
    match size {
        Some(size) if !WINDOWS.contains(&size) => Err(at.refuse(format!("{size} is no window"))),
        size => Ok(size),
    }
}

fn keepalive(
    at: &At<'_>,
    settings: Option<core::KeepaliveSettings>,
) -> Result<Option<Keepalive>, Refused> {
    let Some(mut settings) = settings else {
        return Ok(None);
    };
    // Spreads pings of many connections; they are begun at different times anyway.
    settings.interval_jitter = None;
    // A ping before a request after a pause: requests on a dead connection fail and are tried again.
    settings.connection_idle_interval = None;
    let interval = duration(&at.field("interval"), settings.interval.take())?;
    let timeout = duration(&at.field("timeout"), settings.timeout.take())?;
    nothing_left(at, &settings)?;
    let interval = interval.filter(|interval| !interval.is_zero());
    Ok(interval.map(|interval| Keepalive {
        interval,
        timeout: timeout.unwrap_or(Duration::from_secs(20)),
    }))
}
