//! Transport sockets.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::quic::v3::QuicDownstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    DownstreamTlsContext, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{ClientTls, ServerTls, TransportMatch};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{must_be_off, texts, unpack};
use super::context::Context;
use super::{quic, tls};

/// Texts that an endpoint's metadata must hold.
type Criteria = Vec<(Box<str>, Box<str>)>;

/// Transports of a cluster in order of preference, and the PROXY protocol version that is sent first.
pub(super) fn upstream(
    context: &Context<'_>,
    at: &At<'_>,
    message: &mut cluster::Cluster,
    auto: (bool, bool),
) -> Result<(Vec<TransportMatch>, Option<u8>), Refused> {
    let matches = take(&mut message.transport_socket_matches);
    let own = message.transport_socket.take();
    let mut transports = Vec::with_capacity(matches.len() + 1);
    let mut versions = Vec::with_capacity(matches.len() + 1);
    let list = at.field("transport_socket_matches");
    for (index, entry) in matches.into_iter().enumerate() {
        let at = list.item(index);
        let place = at.field("transport_socket");
        let (tls, version) = client(context, &place, entry.transport_socket, auto)?;
        versions.push(version);
        transports.push(TransportMatch {
            name: entry.name.into(),
            criteria: criteria(&at.field("match"), entry.r#match)?,
            tls,
        });
    }
    let always = transports.iter().any(|one| one.criteria.is_empty());
    if !always || own.is_some() {
        let place = at.field("transport_socket");
        let (tls, version) = client(context, &place, own, auto)?;
        versions.push(version);
        if tls.is_some() {
            transports.push(TransportMatch {
                name: Box::default(),
                criteria: Vec::new(),
                tls,
            });
        }
    }
    let version = versions.first().copied().flatten();
    if versions.iter().any(|other| *other != version) {
        return Err(list.refuse("PROXY protocol on some transport sockets only is not supported"));
    }
    Ok((transports, version))
}

/// TLS of a filter chain; `None` is plain text.
pub(super) fn downstream(
    context: &Context<'_>,
    at: &At<'_>,
    socket: Option<core::TransportSocket>,
) -> Result<Option<ServerTls>, Refused> {
    let Some(packed) = config(at, socket)? else {
        return Ok(None);
    };
    let at = at.field("typed_config");
    if any::holds::<RawBuffer>(&packed) {
        return Ok(None);
    }
    if any::holds::<DownstreamTlsContext>(&packed) {
        return tls::server(context, &at, unpack(&at, &packed)?).map(Some);
    }
    if any::holds::<QuicDownstreamTransport>(&packed) {
        return quic::transport(context, &at, unpack(&at, &packed)?).map(Some);
    }
    Err(unknown(&at, &packed))
}

fn client(
    context: &Context<'_>,
    at: &At<'_>,
    socket: Option<core::TransportSocket>,
    auto: (bool, bool),
) -> Result<(Option<Arc<ClientTls>>, Option<u8>), Refused> {
    let Some(packed) = config(at, socket)? else {
        return Ok((None, None));
    };
    let at = at.field("typed_config");
    if any::holds::<RawBuffer>(&packed) {
        return Ok((None, None));
    }
    if any::holds::<UpstreamTlsContext>(&packed) {
        let tls = tls::client(
            context,
            &at,
            unpack::<UpstreamTlsContext>(&at, &packed)?,
            auto,
        )?;
        return Ok((Some(Arc::new(tls)), None));
    }
    if !any::holds::<ProxyProtocolUpstreamTransport>(&packed) {
        return Err(unknown(&at, &packed));
    }
    let mut wrapper: ProxyProtocolUpstreamTransport = unpack(&at, &packed)?;
    let settings = wrapper.config.take().unwrap_or_default();
    let inner = wrapper.transport_socket.take();
    nothing_left(&at, &wrapper)?;
    let version = proxy_protocol(&at.field("config"), settings)?;
    let (tls, nested) = client(context, &at.field("transport_socket"), inner, auto)?;
    must_be_off(&at.field("transport_socket"), nested.is_some())?;
    Ok((tls, Some(version)))
}

/// The version of a PROXY header that is sent.
pub(super) fn proxy_protocol(
    at: &At<'_>,
    settings: core::ProxyProtocolConfig,
) -> Result<u8, Refused> {
    must_be_off(
        &at.field("pass_through_tlvs"),
        settings.pass_through_tlvs.is_some(),
    )?;
    must_be_off(&at.field("added_tlvs"), !settings.added_tlvs.is_empty())?;
    Ok(match settings.version() {
        Version::V1 => 1,
        Version::V2 => 2,
    })
}

fn config(at: &At<'_>, socket: Option<core::TransportSocket>) -> Result<Option<Any>, Refused> {
    let Some(socket) = socket else {
        return Ok(None);
    };
    match socket.config_type {
        Some(ConfigType::TypedConfig(packed)) => Ok(Some(packed)),
        None if socket.name == "envoy.transport_sockets.raw_buffer" => Ok(None),
        None => Err(at.field("typed_config").refuse("missing")),
    }
}

fn unknown(at: &At<'_>, packed: &Any) -> Refused {
    let name = any::full_name(&packed.type_url);
    at.refuse(format!("transport socket {name} is not supported"))
}

pub(super) fn criteria(
    at: &At<'_>,
    value: Option<envoy_types::pb::google::protobuf::Struct>,
) -> Result<Criteria, Refused> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let mut found: Criteria = texts(&value)
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    if found.len() != value.fields.len() {
        return Err(at.refuse("only texts are supported"));
    }
    found.sort_unstable();
    Ok(found)
}
