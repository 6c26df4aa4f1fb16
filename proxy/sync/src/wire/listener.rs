//! Listeners and their filter chains.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as wire;
use envoy_types::pb::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use ipnet::IpNet;
use lateen_proxy_model::{
    ChainMatch, ChainTable, FilterChain, Listener, ListenerBind, TrafficDirection, Transport,
};

use super::at::{At, Refused, nothing_left};
use super::common::{flag, limit, must_be_unset, number, port, socket_address};
use super::context::{Context, Uses};
use super::{access_log, ignored, inspectors, network_filters, socket};

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
    ignored::listener(&mut message);
    must_be_unset(&at.field("transparent"), message.transparent.take())?;
    must_be_unset(&at.field("freebind"), message.freebind.take())?;
    let inspectors = inspectors::read(&at, &mut message)?;
    let list = at.field("filter_chains");
    let mut chains = Vec::with_capacity(message.filter_chains.len());
    for (index, mut one) in take(&mut message.filter_chains).into_iter().enumerate() {
        let at = list.item(index);
        let place = at.field("filter_chain_match");
        let condition = chain_match(&place, one.filter_chain_match.take())?;
        chains.push((condition, Arc::new(chain(context, &at, one)?)));
    }
    let place = at.field("default_filter_chain");
    let default = message
        .default_filter_chain
        .take()
        .map(|mut one| {
            one.filter_chain_match = None;
            chain(context, &place, one).map(Arc::new)
        })
        .transpose()?;
    if chains.is_empty() && default.is_none() {
        return Err(list.refuse("a listener needs a filter chain"));
    }
    let made = Listener {
        name: take(&mut message.name).into(),
        address: socket_address(&at.field("address"), message.address.take())?,
        additional: additional(&at, take(&mut message.additional_addresses))?,
        bind: bind(&mut message),
        direction: direction(&mut message),
        inspectors,
        chains: ChainTable { chains, default },
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

fn additional(
    at: &At<'_>,
    addresses: Vec<wire::AdditionalAddress>,
) -> Result<Vec<std::net::SocketAddr>, Refused> {
    let list = at.field("additional_addresses");
    addresses
        .into_iter()
        .enumerate()
        .map(|(index, mut one)| {
            let at = list.item(index);
            let address = socket_address(&at.field("address"), one.address.take())?;
            nothing_left(&at, &one)?;
            Ok(address)
        })
        .collect()
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

fn direction(message: &mut wire::Listener) -> TrafficDirection {
    let direction = message.traffic_direction();
    message.traffic_direction = 0;
    match direction {
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
    if message.source_type() != ConnectionSourceType::Any {
        return Err(at.field("source_type").unsupported());
    }
    let transport = match &*take(&mut message.transport_protocol) {
        "" => None,
        "tls" => Some(Transport::Tls),
        "raw_buffer" => Some(Transport::RawBuffer),
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
        server_names: take(&mut message.server_names)
            .into_iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        transport,
        application: take(&mut message.application_protocols)
            .into_iter()
            .map(String::into_boxed_str)
            .collect(),
        source: nets(
            &at.field("source_prefix_ranges"),
            take(&mut message.source_prefix_ranges),
        )?,
        source_ports,
    };
    nothing_left(at, &message)?;
    Ok(made)
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
) -> Result<FilterChain, Refused> {
    ignored::filter_chain(&mut message);
    let proxy_protocol = message.use_proxy_proto.take();
    must_be_unset(&at.field("use_proxy_proto"), proxy_protocol)?;
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
        tls: tls.map(Arc::new),
        handshake_timeout,
        filters: filters.entries,
        filter: filters.terminal,
        stats: filters.stats,
        metadata_exchange: filters.metadata_exchange,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Envoy's wait for first bytes.
pub(super) const FIRST_BYTES: Duration = Duration::from_secs(15);
