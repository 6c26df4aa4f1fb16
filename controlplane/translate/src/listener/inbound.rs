//! The listener that connections to the pod arrive at, with a set of chains per port.

use lateen_api::mesh::MeshTlsProtocol;
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::peer::Mtls;
use lateen_controlplane_model::proxy::{Interception, Proxy};

use super::chains::{Carries, ChainKind, chain_kinds};
use crate::access_log;
use crate::cluster::passthrough_ports;
use crate::filters::{self, Direction};
use crate::manager::{Http, Routes, manager};
use crate::names;
use crate::own::{OwnPort, own_ports};
use crate::pb::core::{TrafficDirection, TransportSocket};
use crate::pb::kind::Int32Range;
use crate::pb::listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
use crate::pb::listener::{
    Filter, FilterChain, FilterChainMatch, Listener, ListenerFilterChainMatchPredicate,
};
use crate::pb::tls::tls_parameters::TlsProtocol;
use crate::policy::Policy;
use crate::route;
use crate::tcp::{self, Target};
use crate::tls;
use crate::view::View;
use crate::wire::{flag, number, seconds, socket, span};

/// What one set of chains is for.
struct Served<'a> {
    /// `None` for every port without a set of its own.
    port: Option<u16>,
    protocol: Protocol,
    mode: Mtls,
    cluster: String,
    own: Option<&'a OwnPort<'a>>,
}

/// The inbound listeners of a proxy: the captured one, and those that a Sidecar wants apart.
pub(crate) fn inbound_listeners(view: &View, proxy: &Proxy) -> Vec<Listener> {
    if view.is_router() {
        return Vec::new();
    }
    let own = own_ports(view, proxy);
    let mut out: Vec<Listener> = own
        .iter()
        .filter(|port| port.is_separate(view))
        .map(|port| separate(view, proxy, port))
        .collect();
    if view.traits.interception != Interception::None {
        out.push(virtual_inbound(view, proxy, &own));
    }
    out
}

fn virtual_inbound(view: &View, proxy: &Proxy, own: &[OwnPort<'_>]) -> Listener {
    let listen = u16::try_from(view.config().proxy_inbound_listen_port)
        .ok()
        .filter(|port| *port > 0)
        .unwrap_or(15006);
    let modes = view
        .snapshot
        .peers
        .workload(&proxy.namespace, &proxy.labels);
    let passing = |port: Option<u16>| Served {
        port,
        protocol: Protocol::Unsupported,
        mode: port.map_or(modes.mode, |port| modes.port(port)),
        cluster: names::inbound_passthrough().to_owned(),
        own: None,
    };
    let mut served = vec![passing(None)];
    served.extend(
        passthrough_ports(view, proxy, own)
            .into_iter()
            .map(|port| passing(Some(port))),
    );
    served.extend(
        own.iter()
            .filter(|port| !port.is_separate(view))
            .map(|port| Served {
                port: Some(port.port),
                protocol: port.protocol,
                mode: modes.port(port.port),
                cluster: names::inbound(port.port),
                own: Some(port),
            }),
    );
    let mut filter_chains = vec![black_hole(view, listen)];
    filter_chains.extend(served.iter().flat_map(|set| chains(view, set)));
    let mut listener_filters = vec![filters::original_dst()];
    let transparent = view.traits.interception == Interception::Tproxy;
    if transparent {
        listener_filters.push(filters::original_src());
    }
    listener_filters.push(filters::tls_inspector(disabled(listen, &served, |kind| {
        kind.tls
    })));
    listener_filters.push(filters::http_inspector(disabled(listen, &served, |kind| {
        !kind.tls && kind.carries == Carries::DetectedHttp
    })));
    Listener {
        name: "virtualInbound".into(),
        address: Some(socket(view.wildcard(), listen)),
        filter_chains,
        listener_filters,
        traffic_direction: TrafficDirection::Inbound as i32,
        listener_filters_timeout: view
            .config()
            .protocol_detection_timeout
            .map_or(seconds(0), span),
        continue_on_listener_filters_timeout: true,
        transparent: transparent.then(|| flag(true)).flatten(),
        access_log: access_log::listener_logs(view.config()),
        max_connections_to_accept_per_socket_event: number(1),
        ..Default::default()
    }
}

/// A listener of its own for a port of a Sidecar that is not captured.
fn separate(view: &View, proxy: &Proxy, port: &OwnPort<'_>) -> Listener {
    let bind = port
        .ingress
        .map(|ingress| ingress.bind.as_str())
        .filter(|bind| !bind.is_empty())
        .unwrap_or(view.wildcard());
    let modes = view
        .snapshot
        .peers
        .workload(&proxy.namespace, &proxy.labels);
    let served = Served {
        port: None,
        protocol: port.protocol,
        mode: modes.port(port.port),
        cluster: names::inbound(port.port),
        own: Some(port),
    };
    let kinds = chain_kinds(served.mode, served.protocol);
    let mut listener_filters = Vec::new();
    if kinds.iter().any(|kind| kind.tls) {
        listener_filters.push(filters::tls_inspector(None));
    }
    if kinds
        .iter()
        .any(|kind| !kind.tls && kind.carries == Carries::DetectedHttp)
    {
        listener_filters.push(filters::http_inspector(None));
    }
    Listener {
        name: format!("{bind}_{}", port.port),
        address: Some(socket(bind, port.port)),
        filter_chains: chains(view, &served),
        listener_filters,
        traffic_direction: TrafficDirection::Inbound as i32,
        listener_filters_timeout: view
            .config()
            .protocol_detection_timeout
            .map_or(seconds(0), span),
        continue_on_listener_filters_timeout: true,
        access_log: access_log::listener_logs(view.config()),
        max_connections_to_accept_per_socket_event: number(1),
        ..Default::default()
    }
}

fn black_hole(view: &View, listen: u16) -> FilterChain {
    let target = Target::Cluster(names::black_hole().into());
    FilterChain {
        name: "virtualInbound-blackhole".into(),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: number(listen.into()),
            ..Default::default()
        }),
        filters: tcp::filters(
            view,
            Direction::Inbound,
            Protocol::Tcp,
            &target,
            &Policy::default(),
        ),
        ..Default::default()
    }
}

fn chains(view: &View, served: &Served<'_>) -> Vec<FilterChain> {
    chain_kinds(served.mode, served.protocol)
        .iter()
        .map(|kind| chain(view, served, kind))
        .collect()
}

fn chain(view: &View, served: &Served<'_>, kind: &ChainKind) -> FilterChain {
    let http = kind.carries != Carries::Tcp;
    let mut protocols: Vec<String> = kind.alpn.iter().map(ToString::to_string).collect();
    if kind.carries == Carries::DetectedHttp && !kind.tls && view.traits.http10 {
        protocols.insert(0, "http/1.0".into());
    }
    FilterChain {
        name: chain_name(view, served, http),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: served.port.and_then(|port| number(port.into())),
            transport_protocol: if kind.tls {
                "tls".into()
            } else {
                "raw_buffer".into()
            },
            application_protocols: protocols,
            ..Default::default()
        }),
        transport_socket: kind.terminates.then(|| server_tls(view, http)),
        filters: if http {
            http_filters(view, served)
        } else {
            tcp_filters(view, served)
        },
        ..Default::default()
    }
}

fn chain_name(view: &View, served: &Served<'_>, http: bool) -> String {
    match (served.own, http) {
        (Some(own), _) => match own
            .ingress
            .map(|ingress| ingress.bind.as_str())
            .filter(|bind| !bind.is_empty())
        {
            Some(bind) => format!("{bind}_{}", own.port),
            None => format!("{}_{}", view.wildcard(), own.port),
        },
        (None, true) => "virtualInbound-catchall-http".into(),
        (None, false) => "virtualInbound".into(),
    }
}

fn server_tls(view: &View, http: bool) -> TransportSocket {
    let minimum = match view
        .config()
        .mesh_mtls
        .as_ref()
        .map(|tls| tls.min_protocol_version)
    {
        Some(MeshTlsProtocol::V1_3) => TlsProtocol::TlSv13,
        _ => TlsProtocol::TlSv12,
    };
    tls::mesh_server(&view.mesh().trust_domains(), minimum, http)
}

fn http_filters(view: &View, served: &Served<'_>) -> Vec<Filter> {
    let port = served.own.map_or(0, |own| own.port);
    let operation = served
        .own
        .map_or_else(|| ":0".to_owned(), |own| own.operation(view));
    let stat_prefix = match served.own {
        Some(own) => format!("inbound_{}_{}", view.wildcard(), own.port),
        None => names::inbound_passthrough().to_owned(),
    };
    let http = Http {
        direction: Direction::Inbound,
        stat_prefix,
        routes: Routes::Inline(Box::new(route::inbound(
            view,
            &served.cluster,
            port,
            &operation,
        ))),
        grpc_web: served.protocol == Protocol::GrpcWeb,
    };
    let mut out = Vec::new();
    if view.traits.istio {
        out.push(filters::tcp_metadata_exchange());
    }
    out.push(manager(view, http));
    out
}

fn tcp_filters(view: &View, served: &Served<'_>) -> Vec<Filter> {
    let target = Target::Cluster(served.cluster.clone());
    let rule = served
        .own
        .and_then(|own| own.services.first())
        .and_then(|(service, port)| Some((view.rule(service)?, port)));
    let pool = served.own.and_then(|own| own.sidecar_pool(view));
    let mut policy = match rule {
        Some((rule, port)) => Policy::new(Some(&rule.spec), None, port.number, view.config()),
        None => Policy::default(),
    };
    // Only limits matter towards the application; tunnels and hashes are the client's business.
    policy = Policy {
        pool: pool.or(policy.pool),
        ..Policy::default()
    };
    tcp::filters(view, Direction::Inbound, served.protocol, &target, &policy)
}

/// Ports at which an inspector would only cost time: the listener's own, and those where no chain `needs` it.
fn disabled(
    listen: u16,
    served: &[Served<'_>],
    needs: impl Fn(&ChainKind) -> bool,
) -> Option<ListenerFilterChainMatchPredicate> {
    let idle = served
        .iter()
        .filter(|set| !chain_kinds(set.mode, set.protocol).iter().any(&needs));
    let ports = idle.map(|set| set.port.unwrap_or(0));
    let range = |port: u16| ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(Int32Range {
            start: port.into(),
            end: i32::from(port) + 1,
        })),
    };
    let mut rules: Vec<_> = std::iter::once(listen).chain(ports).map(range).collect();
    match rules.len() {
        1 => rules.pop(),
        _ => Some(ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet { rules })),
        }),
    }
}
