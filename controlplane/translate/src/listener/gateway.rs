//! Listeners of gateways.

use std::sync::Arc;

use lateen_api::networking::{
    ServerTlsMode, ServerTlsSettings, TlsProtocol as Version, VirtualService,
};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::rule::Rule;
use lateen_xds::names::SecretName;

use super::handshake_timeout;
use super::l4::{Asker, Chain};
use crate::access_log;
use crate::filters::{self, Direction};
use crate::manager::{Http, Routes, manager};
use crate::pb::core::{TrafficDirection, TransportSocket};
use crate::pb::listener::{Filter, FilterChain, FilterChainMatch, Listener};
use crate::pb::tls::TlsParameters;
use crate::pb::tls::tls_parameters::TlsProtocol;
use crate::servers::{ActiveServer, Handling, servers};
use crate::tls::{self, Secret, ServerTls};
use crate::view::View;
use crate::wire::socket;

/// The listeners of a router: one per port and address that its Gateways name.
pub(crate) fn gateway_listeners(view: &View) -> Vec<Listener> {
    let servers = servers(
        &view.snapshot,
        &view.traits.namespace,
        &view.traits.labels,
        |_| {},
    );
    servers
        .iter()
        .filter_map(|((port, bind), servers)| listener(view, *port, bind, servers))
        .collect()
}

fn listener(view: &View, port: u16, bind: &str, servers: &[ActiveServer]) -> Option<Listener> {
    let address = if bind.is_empty() {
        view.wildcard()
    } else {
        bind
    };
    let mut listener = Listener {
        name: format!("{address}_{port}"),
        address: Some(socket(address, port)),
        traffic_direction: TrafficDirection::Outbound as i32,
        access_log: access_log::listener_logs(view.config()),
        ..Default::default()
    };
    if view
        .settings
        .gateway_topology
        .as_ref()
        .is_some_and(|topology| topology.proxy_protocol.is_some())
    {
        listener.listener_filters.push(filters::proxy_protocol());
    }
    let first = servers.first()?;
    if first.handling == Handling::Http {
        let suffix = if bind.is_empty() {
            String::new()
        } else {
            format!(".{bind}")
        };
        listener.filter_chains.push(FilterChain {
            filters: vec![http(
                view,
                format!("http.{port}{suffix}"),
                address,
                port,
                servers,
            )],
            transport_socket_connect_timeout: handshake_timeout(),
            ..Default::default()
        });
        return Some(listener);
    }
    let secure = first.handling != Handling::Tcp;
    if secure {
        listener.listener_filters.push(filters::tls_inspector(None));
    }
    let mut taken: Vec<FilterChainMatch> = Vec::new();
    for server in servers {
        for chain in chains(view, server, address, port) {
            let wanted = chain.filter_chain_match.clone().unwrap_or_default();
            if !taken.contains(&wanted) {
                taken.push(wanted);
                listener.filter_chains.push(chain);
            }
        }
    }
    (!listener.filter_chains.is_empty()).then_some(listener)
}

fn chains(view: &View, server: &ActiveServer, address: &str, port: u16) -> Vec<FilterChain> {
    match server.handling {
        Handling::Http => Vec::new(),
        Handling::Https => https(view, server, address, port).into_iter().collect(),
        Handling::TlsTcp => terminated(view, server),
        Handling::Passthrough => by_name(view, server),
        Handling::Tcp => {
            let (chains, _) = asker(view, server, Protocol::Tcp, |asker, rules| {
                asker.tcp(rules, &[])
            });
            chains.into_iter().map(Chain::finish).collect()
        }
    }
}

fn http(view: &View, routes: String, address: &str, port: u16, servers: &[ActiveServer]) -> Filter {
    let protocol = |server: &ActiveServer| {
        server
            .server()
            .and_then(|own| own.port.as_ref())
            .map(|port| Protocol::parse(&port.protocol))
    };
    let grpc_web = servers
        .iter()
        .any(|server| protocol(server) == Some(Protocol::GrpcWeb));
    let http = Http {
        direction: Direction::Gateway,
        stat_prefix: format!("outbound_{address}_{port}"),
        routes: Routes::Named(routes),
        grpc_web,
    };
    manager(view, http)
}

fn https(view: &View, server: &ActiveServer, address: &str, port: u16) -> Option<FilterChain> {
    Some(FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            server_names: server_names(server)?,
            ..Default::default()
        }),
        transport_socket: Some(server_tls(server)?),
        filters: vec![http(
            view,
            server.https_routes(),
            address,
            port,
            std::slice::from_ref(server),
        )],
        transport_socket_connect_timeout: handshake_timeout(),
        ..Default::default()
    })
}

/// TLS ends here and bytes go on: by TCP routes, or by TLS routes with their own names.
fn terminated(view: &View, server: &ActiveServer) -> Vec<FilterChain> {
    let Some(socket) = server_tls(server) else {
        return Vec::new();
    };
    let Some(names) = server_names(server) else {
        return Vec::new();
    };
    let (mut chains, _) = asker(view, server, Protocol::Tcp, |asker, rules| {
        asker.tcp(rules, &[])
    });
    for chain in &mut chains {
        chain.server_names.clone_from(&names);
    }
    let named = asker(view, server, Protocol::Tcp, |asker, rules| {
        asker.tls(rules, &[])
    });
    chains.extend(named);
    let secured = |chain: Chain| FilterChain {
        transport_socket: Some(socket.clone()),
        ..chain.finish()
    };
    chains.into_iter().map(secured).collect()
}

/// TLS is passed on, by the name the client asks for.
fn by_name(view: &View, server: &ActiveServer) -> Vec<FilterChain> {
    let mut chains = asker(view, server, Protocol::Tls, |asker, rules| {
        asker.tls(rules, &[])
    });
    let (tcp, _) = asker(view, server, Protocol::Tls, |asker, rules| {
        asker.tcp(rules, &[])
    });
    if let Some(names) = server_names(server) {
        chains.extend(tcp.into_iter().map(|chain| Chain {
            server_names: names.clone(),
            ..chain
        }));
    }
    chains.into_iter().map(Chain::finish).collect()
}

fn asker<T>(
    view: &View,
    server: &ActiveServer,
    protocol: Protocol,
    ask: impl FnOnce(&Asker<'_>, &[Arc<Rule<VirtualService>>]) -> T,
) -> T {
    let gateway = server.gateway.full_name();
    let rules: Vec<_> = view
        .snapshot
        .virtual_services
        .bound(&gateway, &view.traits.namespace)
        .into_iter()
        .filter(|rule| !server.served(rule).is_empty())
        .collect();
    let asker = Asker {
        view,
        gateway: &gateway,
        port: server.number,
        direction: Direction::Gateway,
        protocol,
    };
    ask(&asker, &rules)
}

/// Names for the SNI match: none for any name; `None` when no name of the server can be matched.
fn server_names(server: &ActiveServer) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for host in server.hosts() {
        if host == "*" {
            return Some(Vec::new());
        }
        let partial = host.starts_with('*') && !host.starts_with("*.");
        let name = host.to_lowercase();
        if !partial && !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then_some(names)
}

fn server_tls(server: &ActiveServer) -> Option<TransportSocket> {
    let tls = server.server()?.tls.as_ref()?;
    let mesh = tls.mode == ServerTlsMode::IstioMutual;
    let asks = matches!(
        tls.mode,
        ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual
    );
    let certificates = if mesh {
        vec![Secret::Agent("default".into())]
    } else {
        certificates(tls)
    };
    if certificates.is_empty() {
        return None;
    }
    let client_roots = if mesh {
        Some(Secret::Agent("ROOTCA".into()))
    } else {
        asks.then(|| client_roots(tls)).flatten()
    };
    Some(tls::gateway_server(ServerTls {
        certificates,
        client_roots,
        require_client: mesh || tls.mode == ServerTlsMode::Mutual,
        client_names: tls.subject_alt_names.clone(),
        client_hashes: tls.verify_certificate_hash.clone(),
        client_keys: tls.verify_certificate_spki.clone(),
        crl: Some(tls.ca_crl.clone()).filter(|path| !path.is_empty()),
        parameters: parameters(tls),
    }))
}

/// Certificates by secret, by files, or by a list of files.
fn certificates(tls: &ServerTlsSettings) -> Vec<Secret> {
    let named: Vec<&String> = std::iter::once(&tls.credential_name)
        .chain(&tls.credential_names)
        .filter(|name| !name.is_empty())
        .collect();
    if !named.is_empty() {
        return named
            .into_iter()
            .map(|name| Secret::ControlPlane(credential(name)))
            .collect();
    }
    let file = |cert: &String, key: &String| {
        Secret::Agent(
            SecretName::FileCert {
                cert: cert.clone(),
                key: key.clone(),
            }
            .to_string(),
        )
    };
    let listed: Vec<Secret> = tls
        .tls_certificates
        .iter()
        .map(|own| file(&own.server_certificate, &own.private_key))
        .collect();
    if listed.is_empty() && !tls.server_certificate.is_empty() {
        return vec![file(&tls.server_certificate, &tls.private_key)];
    }
    listed
}

fn client_roots(tls: &ServerTlsSettings) -> Option<Secret> {
    if !tls.ca_cert_credential_name.is_empty() {
        return Some(Secret::ControlPlane(credential(
            &tls.ca_cert_credential_name,
        )));
    }
    if !tls.credential_name.is_empty() {
        return Some(Secret::ControlPlane(format!(
            "{}-cacert",
            credential(&tls.credential_name)
        )));
    }
    (!tls.ca_certificates.is_empty())
        .then(|| Secret::Agent(SecretName::FileRoot(tls.ca_certificates.clone()).to_string()))
}

fn credential(name: &str) -> String {
    if name.contains("://") {
        name.to_owned()
    } else {
        format!("kubernetes://{name}")
    }
}

fn parameters(tls: &ServerTlsSettings) -> Option<TlsParameters> {
    let version = |version: Version| match version {
        Version::Auto => TlsProtocol::TlsAuto,
        Version::V1_0 => TlsProtocol::TlSv10,
        Version::V1_1 => TlsProtocol::TlSv11,
        Version::V1_2 => TlsProtocol::TlSv12,
        Version::V1_3 => TlsProtocol::TlSv13,
    };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: version(tls.min_protocol_version) as i32,
        tls_maximum_protocol_version: version(tls.max_protocol_version) as i32,
        cipher_suites: tls.cipher_suites.clone(),
        ..Default::default()
    };
    (parameters != TlsParameters::default()).then_some(parameters)
}
