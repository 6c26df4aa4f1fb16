//! QUIC of listeners, and HTTP/3 of connection managers.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::Protocol;
use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use lateen_proxy_model::{
    CodecType, FilterChain, Http3Options, ListenerFilters, NetworkFilter, QuicOptions, QuicTls,
    ServerTls,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number};
use super::context::Context;
use super::{ignored, tls};

/// Windows smaller than this are taken as this.
const SMALLEST_WINDOW: u32 = 16 * 1024;
/// The same of the time for a handshake.
const SHORTEST_HANDSHAKE: Duration = Duration::from_secs(5);
const SHORTEST_IDLE: Duration = Duration::from_millis(1);

/// QUIC of a listener whose addresses are UDP ones; the addresses count as any other afterwards.
pub(super) fn listener(
    context: &Context<'_>,
    at: &At<'_>,
    message: &mut wire::Listener,
    filters: &ListenerFilters,
) -> Result<Option<QuicOptions>, Refused> {
    let additional = message.additional_addresses.iter_mut();
    let addresses = message.address.iter_mut();
    let mut udp = Vec::new();
    for address in addresses.chain(additional.filter_map(|one| one.address.as_mut())) {
        if let Some(AddressKind::SocketAddress(socket)) = &mut address.address {
            udp.push(socket.protocol() == Protocol::Udp);
            if socket.protocol() == Protocol::Udp {
                socket.protocol = Protocol::Tcp.into();
            }
        } else {
            udp.push(false);
        }
    }
    let config = message.udp_listener_config.take();
    let place = at.field("udp_listener_config");
    if udp.iter().all(|udp| !udp) {
        // What is said of UDP has no effect on TCP, in Envoy either.
        must_be_off(&place, config.is_some())?;
        return Ok(None);
    }
    if udp.contains(&false) {
        return Err(at
            .field("additional_addresses")
            .refuse("TCP and UDP in one listener"));
    }
    if !filters.entries.is_empty() {
        let place = at.field("listener_filters");
        return Err(place.refuse("none is supported over QUIC"));
    }
    let mut config = config.unwrap_or_default();
    ignored::udp_listener(&mut config);
    let place_of_options = place.field("quic_options");
    let Some(options) = config.quic_options.take() else {
        return Err(place_of_options.refuse("UDP without QUIC is not supported"));
    };
    nothing_left(&place, &config)?;
    self::options(context, &place_of_options, options).map(Some)
}

fn options(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::QuicProtocolOptions,
) -> Result<QuicOptions, Refused> {
    ignored::quic_listener(&mut message);
    let default = QuicOptions::default();
    let enabled = message.enabled.take();
    let idle = duration(&at.field("idle_timeout"), message.idle_timeout.take())?;
    let place = at.field("crypto_handshake_timeout");
    let handshake = duration(&place, message.crypto_handshake_timeout.take())?;
    let no_migration = flag(message.send_disable_active_migration.take(), false);
    let place = at.field("quic_protocol_options");
    let mut protocol = message.quic_protocol_options.take().unwrap_or_default();
    nothing_left(at, &message)?;
    ignored::quic(&mut protocol);
    let streams = number(protocol.max_concurrent_streams.take());
    if streams == Some(0) {
        return Err(place
            .field("max_concurrent_streams")
            .refuse("0 serves nobody"));
    }
    let window = |name: &str, value: Option<u32>, most: u32, default: u32| match value {
        None => Ok(default),
        Some(size) if (1..=most).contains(&size) => Ok(size.max(SMALLEST_WINDOW)),
        Some(size) => Err(place.field(name).refuse(format!("{size} is no window"))),
    };
    let made = QuicOptions {
        enabled: enabled.is_none_or(|enabled| is_on(context, enabled)),
        max_streams: streams.unwrap_or(default.max_streams),
        stream_window: window(
            "initial_stream_window_size",
            number(protocol.initial_stream_window_size.take()),
            16 * 1024 * 1024,
            default.stream_window,
        )?,
        connection_window: window(
            "initial_connection_window_size",
            number(protocol.initial_connection_window_size.take()),
            24 * 1024 * 1024,
            default.connection_window,
        )?,
        idle_timeout: match duration(
            &place.field("idle_network_timeout"),
            protocol.idle_network_timeout.take(),
        )? {
            Some(time) => time,
            None => idle.unwrap_or(default.idle_timeout),
        }
        .max(SHORTEST_IDLE),
        handshake_timeout: handshake
            .unwrap_or(default.handshake_timeout)
            .max(SHORTEST_HANDSHAKE),
        keepalive: keepalive(
            &place.field("connection_keepalive"),
            protocol.connection_keepalive.take(),
        )?,
        max_packet: packet(
            &place.field("max_packet_length"),
            protocol.max_packet_length.take(),
        )?,
        no_migration,
    };
    nothing_left(&place, &protocol)?;
    Ok(made)
}

fn packet(
    at: &At<'_>,
    length: Option<envoy_types::pb::google::protobuf::UInt64Value>,
) -> Result<Option<u16>, Refused> {
    let Some(length) = length else {
        return Ok(None);
    };
    let known = u16::try_from(length.value).ok();
    known
        .filter(|length| (1200..=65_527).contains(length))
        .map(Some)
        .ok_or_else(|| at.refuse("not between 1200 and 65527"))
}

fn is_on(context: &Context<'_>, flag: core::RuntimeFeatureFlag) -> bool {
    let default = flag.default_value.is_none_or(|on| on.value);
    match context.state().runtime().text(&flag.runtime_key) {
        Some("true") => true,
        Some("false") => false,
        _ => default,
    }
}

/// The shorter of the two times: it is sent all the while.
fn keepalive(
    at: &At<'_>,
    settings: Option<core::QuicKeepAliveSettings>,
) -> Result<Option<Duration>, Refused> {
    let Some(mut settings) = settings else {
        return Ok(None);
    };
    let longest = duration(&at.field("max_interval"), settings.max_interval.take())?;
    let first = duration(
        &at.field("initial_interval"),
        settings.initial_interval.take(),
    )?;
    nothing_left(at, &settings)?;
    let times = [longest, first].into_iter().flatten();
    Ok(times.filter(|time| !time.is_zero()).min())
}

/// TLS of QUIC.
pub(super) fn transport(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: QuicDownstreamTransport,
) -> Result<ServerTls, Refused> {
    let place = at.field("downstream_tls_context");
    let inner = message.downstream_tls_context.take();
    let inner = inner.ok_or_else(|| place.refuse("missing"))?;
    let mut made = tls::server(context, &place, inner)?;
    if made.versions.1 < 13 {
        return Err(place.refuse("QUIC needs TLS 1.3"));
    }
    // A session is resumed without another look at the client's certificate.
    let knows_clients =
        made.trust.is_some() || !made.checks.spki.is_empty() || !made.checks.hashes.is_empty();
    let resumes = flag(message.enable_resumption.take(), !knows_clients) && made.resumption.tickets;
    let early_data = flag(message.enable_early_data.take(), !knows_clients) && resumes;
    nothing_left(at, &message)?;
    made.resumption.sessions = resumes;
    made.resumption.tickets = resumes;
    made.quic = Some(QuicTls { early_data });
    Ok(made)
}

/// Whether a chain fits its listener: HTTP/3 over QUIC, and neither elsewhere.
pub(super) fn check_chain(at: &At<'_>, chain: &FilterChain, quic: bool) -> Result<(), Refused> {
    let over_quic = chain.tls.as_ref().is_some_and(|tls| tls.quic.is_some());
    if quic && !over_quic {
        return Err(at
            .field("transport_socket")
            .refuse("QUIC needs QuicDownstreamTransport"));
    }
    if !quic && over_quic {
        return Err(at
            .field("transport_socket")
            .refuse("QUIC needs an address of UDP"));
    }
    let http3 = match &chain.filter {
        NetworkFilter::Http(manager) => manager.codec == CodecType::Http3,
        _ => false,
    };
    if quic != http3 {
        let text =
            "connection managers with codec_type HTTP3 belong to QUIC, and nothing else does";
        return Err(at.field("filters").refuse(text));
    }
    Ok(())
}

/// Options of HTTP/3. `keep` is what the connection manager says of malformed requests.
pub(super) fn http3(
    at: &At<'_>,
    mut options: core::Http3ProtocolOptions,
    keep: bool,
) -> Result<Http3Options, Refused> {
    ignored::http3(&mut options);
    let made = Http3Options {
        allow_extended_connect: take(&mut options.allow_extended_connect),
        keep_malformed: flag(
            options.override_stream_error_on_invalid_http_message.take(),
            keep,
        ),
    };
    nothing_left(at, &options)?;
    Ok(made)
}

#[cfg(test)]
mod tests;
