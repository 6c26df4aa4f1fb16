//! Listeners and their filter chains.

use std::mem::take;
use std::sync::Arc;

use ahash::RandomState;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use ipnet::IpNet;
use lateen_proxy_model::{
    ChainMatch, ChainTable, ConnectionLimit, Exemptions, FilterChain, ListenSocket, Listener,
    ListenerBind, Overlap, SourceType, TrafficDirection, Transport,
};
use prost::Message;

use super::at::{At, Refused, nothing_left};
use super::common::{flag, limit, number, port};
use super::context::{Context, Uses};
use super::{
    access_log, ignored, listener_filters, listener_socket, network_filters, quic, socket,
};

/// A listener, and what it refers to.
pub(crate) struct BuiltListener {
    pub(crate) listener: Listener,
    pub(crate) uses: Uses,
}

/// Builds a listener.
pub(crate) fn listener(
    context: &Context<'_>,
    mut message: wire::Listener,
) -> Result<BuiltListener, Refused> {
    let at = At::ROOT;
    context.take_uses();
    context.direction.set(direction(&message));
    ignored::listener(&mut message);
    let fingerprint = fingerprint(&wire::Listener {
        filter_chains: Vec::new(),
        default_filter_chain: None,
        ..message.clone()
    });
    message.traffic_direction = 0;
    // Where nothing but chains changed, those that did not change live on with their connections.
    let before = context.state().listeners().named(&message.name).cloned();
    let before = before.filter(|before| before.fingerprint == fingerprint);
    let filters = listener_filters::read(&at, &mut message)?;
    let mut socket = listener_socket::read(&at, &mut message)?;
    socket.quic = quic::listener(context, &at, &mut message, &filters)?;
    let list = at.field("filter_chains");
    let mut chains = Vec::with_capacity(message.filter_chains.len());
    for (index, mut one) in take(&mut message.filter_chains).into_iter().enumerate() {
        let at = list.item(index);
        let mark = self::fingerprint(&one);
        let place = at.field("filter_chain_match");
        let condition = chain_match(&place, one.filter_chain_match.take())?;
        let made = chain(context, &at, one, (mark, &socket))?;
        chains.push((condition, kept(before.as_deref(), made)));
    }
    let place = at.field("default_filter_chain");
    let default = message
        .default_filter_chain
        .take()
        .map(|mut one| {
            let mark = self::fingerprint(&one);
            one.filter_chain_match = None;
            let made = chain(context, &place, one, (mark, &socket))?;
            Ok(kept(before.as_deref(), made))
        })
        .transpose()?;
    if chains.is_empty() && default.is_none() {
        return Err(list.refuse("a listener needs a filter chain"));
    }
    let overlap = |overlap: Overlap| {
        let text = format!(
            "takes connections that filter_chains[{}] takes already",
            overlap.first
        );
        list.item(overlap.second).refuse(text)
    };
    let name: Arc<str> = take(&mut message.name).into();
    let made = Listener {
        address: listener_socket::address(&at, message.address.take(), &mut socket)?,
        additional: listener_socket::additional(
            &at,
            take(&mut message.additional_addresses),
            &mut socket,
        )?,
        fingerprint,
        limit: limit_of(context, &name),
        name,
        bind: bind(&mut message),
        direction: context.direction.get(),
        socket,
        filters,
        chains: ChainTable::new(chains, default).map_err(overlap)?,
        exempt: Exemptions {
            connection_limit: take(&mut message.ignore_global_conn_limit),
            overload: take(&mut message.bypass_overload_manager),
        },
        access_log: access_log::read(
            context,
            &at.field("access_log"),
            take(&mut message.access_log),
        )?,
    };
    nothing_left(&at, &message)?;
    if made.name.is_empty() {
        return Err(at.field("name").refuse("missing"));
    }
    Ok(BuiltListener {
        listener: made,
        uses: context.take_uses(),
    })
}

/// The chain of the listener's value before, where it was configured alike.
fn kept(before: Option<&Listener>, made: FilterChain) -> Arc<FilterChain> {
    before
        .and_then(|before| {
            let mut chains = before.chains.all();
            chains.find(|own| own.fingerprint == made.fingerprint)
        })
        .map_or_else(|| Arc::new(made), Arc::clone)
}

fn fingerprint(message: &impl Message) -> u128 {
    let bytes = message.encode_to_vec();
    let half = |seed| u128::from(RandomState::with_seeds(seed, 2, 3, 4).hash_one(&bytes));
    half(1) << 64 | half(5)
}

/// The limit on a listener's connections, which is a runtime key.
fn limit_of(context: &Context<'_>, name: &Arc<str>) -> Option<Arc<ConnectionLimit>> {
    let key = format!("envoy.resource_limits.listener.{name}.connection_limit");
    let max = context.state().runtime().number(&key)?;
    Some(Arc::new(ConnectionLimit::new(Arc::clone(name), max, None)))
}

fn bind(message: &mut wire::Listener) -> ListenerBind {
    let use_original_dst = flag(message.use_original_dst.take(), false);
    let older = message.deprecated_v1.take().and_then(|v1| v1.bind_to_port);
    if flag(message.bind_to_port.take().or(older), true) {
        ListenerBind::Socket { use_original_dst }
    } else {
        ListenerBind::HandOver
    }
}

fn direction(message: &wire::Listener) -> TrafficDirection {
    match message.traffic_direction() {
        core::TrafficDirection::Unspecified => TrafficDirection::Unspecified,
        core::TrafficDirection::Inbound => TrafficDirection::Inbound,
        core::TrafficDirection::Outbound => TrafficDirection::Outbound,
    }
}

fn chain_match(
    at: &At<'_>,
    message: Option<wire::FilterChainMatch>,
) -> Result<ChainMatch, Refused> {
    let mut message = message.unwrap_or_default();
    let source_type = match message.source_type() {
        ConnectionSourceType::Any => SourceType::Any,
        ConnectionSourceType::SameIpOrLoopback => SourceType::Local,
        ConnectionSourceType::External => SourceType::External,
    };
    message.source_type = 0;
    let transport = match &*take(&mut message.transport_protocol) {
        "" => None,
        "tls" => Some(Transport::Tls),
        "raw_buffer" => Some(Transport::RawBuffer),
        "quic" => Some(Transport::Quic),
        other => {
            let text = format!("{other:?} is not supported");
            return Err(at.field("transport_protocol").refuse(text));
        }
    };
    let destination_port = number(message.destination_port.take())
        .map(|value| port(&at.field("destination_port"), value))
        .transpose()?;
    let list = at.field("source_ports");
    let source_ports = take(&mut message.source_ports)
        .into_iter()
        .enumerate()
        .map(|(index, value)| port(&list.item(index), value))
        .collect::<Result<_, _>>()?;
    let made = ChainMatch {
        destination_port,
        destination: nets(&at.field("prefix_ranges"), take(&mut message.prefix_ranges))?,
        server_names: server_names(&at.field("server_names"), take(&mut message.server_names))?,
        transport,
        application: take(&mut message.application_protocols)
            .into_iter()
            .map(String::into_boxed_str)
            .collect(),
        direct_source: nets(
            &at.field("direct_source_prefix_ranges"),
            take(&mut message.direct_source_prefix_ranges),
        )?,
        source_type,
        source: nets(
            &at.field("source_prefix_ranges"),
            take(&mut message.source_prefix_ranges),
        )?,
        source_ports,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Names and wildcards for whole labels; other wildcards are none.
fn server_names(at: &At<'_>, names: Vec<String>) -> Result<Vec<Box<str>>, Refused> {
    names
        .into_iter()
        .enumerate()
        .map(|(index, name)| {
            let rest = name.strip_prefix("*.").unwrap_or(&name);
            if rest.contains('*') {
                let text = format!("{name:?} is a wildcard for a part of a label");
                return Err(at.item(index).refuse(text));
            }
            Ok(name.to_ascii_lowercase().into())
        })
        .collect()
}

fn nets(at: &At<'_>, ranges: Vec<core::CidrRange>) -> Result<Vec<IpNet>, Refused> {
    ranges
        .into_iter()
        .enumerate()
        .map(|(index, range)| {
            let length = u8::try_from(number(range.prefix_len).unwrap_or(0)).ok();
            let ip = range.address_prefix.parse().ok();
            ip.zip(length)
                .and_then(|(ip, length)| IpNet::new(ip, length).ok())
                .map(|net| net.trunc())
                .ok_or_else(|| at.item(index).refuse("no valid address range"))
        })
        .collect()
}

fn chain(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::FilterChain,
    (fingerprint, socket): (u128, &ListenSocket),
) -> Result<FilterChain, Refused> {
    ignored::filter_chain(&mut message);
    let place = at.field("transport_socket_connect_timeout");
    let handshake_timeout = limit(
        &place,
        message.transport_socket_connect_timeout.take(),
        None,
    )?;
    let place = at.field("transport_socket");
    let tls = socket::downstream(context, &place, message.transport_socket.take())?;
    let filters = network_filters::read(context, &at.field("filters"), take(&mut message.filters))?;
    let made = FilterChain {
        name: take(&mut message.name).into(),
        fingerprint,
        tls: tls.map(Arc::new),
        handshake_timeout,
        filters: filters.entries,
        filter: filters.terminal,
        stats: filters.stats,
        metadata_exchange: filters.metadata_exchange,
    };
    quic::check_chain(at, &made, socket.quic.is_some())?;
    nothing_left(at, &message)?;
    Ok(made)
}
