//! Listeners (LDS).

mod chains;
mod conflict;
mod gateway;
mod inbound;
mod l4;
mod outbound;

use crate::access_log;
use crate::filters::Direction;
use crate::names;
use crate::pb::core::TrafficDirection;
use crate::pb::listener::{FilterChain, FilterChainMatch, Listener};
use crate::policy::Policy;
use crate::tcp::{self, Target};
use crate::view::View;
use crate::wire::{flag, number, seconds, socket, span};
use lateen_api::Duration;
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::proxy::Interception;
use lateen_controlplane_model::scope::Unknown;

pub(crate) use gateway::gateway_listeners;
pub(crate) use inbound::inbound_listeners;
pub(crate) use l4::{cluster_of, destination_port};
pub(crate) use outbound::outbound_listeners;

/// The listener that captured connections arrive at first.
fn virtual_outbound(view: &View) -> Listener {
    let port = u16::try_from(view.config().proxy_listen_port)
        .ok()
        .filter(|port| *port > 0)
        .unwrap_or(15001);
    let chain = |name: &str, filter_chain_match, target: Target| FilterChain {
        name: name.into(),
        filter_chain_match,
        filters: tcp::filters(
            view,
            Direction::Outbound,
            Protocol::Tcp,
            &target,
            &Policy::default(),
        ),
        ..Default::default()
    };
    let here = FilterChainMatch {
        destination_port: number(port.into()),
        ..Default::default()
    };
    Listener {
        name: "virtualOutbound".into(),
        address: Some(socket(view.wildcard(), port)),
        use_original_dst: flag(true),
        transparent: (view.traits.interception == Interception::Tproxy)
            .then(|| flag(true))
            .flatten(),
        filter_chains: vec![
            chain(
                "virtualOutbound-blackhole",
                Some(here),
                Target::Cluster(names::black_hole().into()),
            ),
            chain("virtualOutbound-catchall-tcp", None, unknown_target(view)),
        ],
        access_log: access_log::listener_logs(view.config()),
        traffic_direction: TrafficDirection::Outbound as i32,
        max_connections_to_accept_per_socket_event: number(1),
        ..Default::default()
    }
}

/// Where bytes for unknown hosts go.
fn unknown_target(view: &View) -> Target {
    match &view.scope.unknown {
        Unknown::Refuse => Target::Cluster(names::black_hole().into()),
        Unknown::Pass | Unknown::Resolve => Target::Cluster(names::passthrough().into()),
        Unknown::Proxy(destination) => Target::Cluster(cluster_of(view, destination, 0)),
    }
}

/// What every listener of services has in common.
fn service_listener(view: &View, name: String, bind: &str, port: u16) -> Listener {
    Listener {
        name,
        address: Some(socket(bind, port)),
        traffic_direction: TrafficDirection::Outbound as i32,
        listener_filters_timeout: view
            .config()
            .protocol_detection_timeout
            .map_or(seconds(0), span),
        continue_on_listener_filters_timeout: true,
        access_log: access_log::listener_logs(view.config()),
        ..Default::default()
    }
}

/// How long an outbound chain waits for a TLS handshake.
fn handshake_timeout() -> Option<crate::pb::Duration> {
    span(Duration::from_secs(15))
}
