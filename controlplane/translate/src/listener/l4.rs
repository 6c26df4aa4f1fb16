//! Routing of bytes: TCP and TLS routes of VirtualServices, and the cluster behind a destination.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use lateen_api::networking::{
    Destination, L4MatchAttributes, RouteDestination, TlsMatchAttributes, VirtualService,
};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::proxy::Labels;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::{Service, covers};

use crate::filters::Direction;
use crate::names;
use crate::pb::core;
use crate::pb::listener::{FilterChain, FilterChainMatch};
use crate::policy::Policy;
use crate::tcp::{self, Target};
use crate::view::View;
use crate::wire::{cidr, made_from};

/// The match and filters of one TCP chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chain {
    pub(super) server_names: Vec<String>,
    pub(super) destinations: Vec<IpNet>,
    pub(super) sources: Vec<IpNet>,
    pub(super) chain: FilterChain,
}

impl Chain {
    /// True when both would take the same connections.
    pub(super) fn same_match(&self, other: &Self) -> bool {
        self.server_names == other.server_names
            && self.destinations == other.destinations
            && self.sources == other.sources
    }

    /// True when it takes every connection.
    pub(super) fn takes_all(&self) -> bool {
        self.server_names.is_empty() && self.destinations.is_empty() && self.sources.is_empty()
    }

    /// The chain with its match set.
    pub(super) fn finish(self) -> FilterChain {
        let ranges = |list: &[IpNet]| -> Vec<core::CidrRange> {
            list.iter()
                .map(|net| cidr(net.addr(), net.prefix_len()))
                .collect()
        };
        let filter_chain_match = (!self.takes_all()).then(|| FilterChainMatch {
            prefix_ranges: ranges(&self.destinations),
            source_prefix_ranges: ranges(&self.sources),
            server_names: self.server_names.clone(),
            transport_protocol: if self.server_names.is_empty() {
                String::new()
            } else {
                "tls".into()
            },
            ..Default::default()
        });
        FilterChain {
            filter_chain_match,
            ..self.chain
        }
    }
}

/// Who asks for routes: a sidecar, or a gateway by its name, on this port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) view: &'a View,
    /// `mesh` or `<namespace>/<name>`.
    pub(super) gateway: &'a str,
    /// Port the client connects to.
    pub(super) port: u16,
    pub(super) direction: Direction,
    pub(super) protocol: Protocol,
}

/// The cluster of a destination, for traffic that came in on `listen_port`.
pub(crate) fn cluster_of(view: &View, destination: &Destination, listen_port: u16) -> String {
    names::outbound(
        destination_port(view, destination, listen_port),
        &destination.subset,
        &destination.host,
    )
}

/// The port of a destination: as stated, the only one of its service, else the port the traffic came in on.
pub(crate) fn destination_port(view: &View, destination: &Destination, listen_port: u16) -> u16 {
    let stated = destination
        .port
        .as_ref()
        .and_then(|port| u16::try_from(port.number).ok())
        .filter(|port| *port > 0);
    let only = || {
        let service = view.scope.visible_service(&destination.host)?;
        let [port] = service.ports.as_slice() else {
            return None;
        };
        Some(port.number)
    };
    stated.or_else(only).unwrap_or(listen_port)
}

impl Asker<'_> {
    /// A chain that sends everything to one cluster of a service.
    pub(super) fn direct(
        &self,
        service: &Service,
        destinations: Vec<IpNet>,
        server_names: Vec<String>,
    ) -> Chain {
        let rule = self.view.rule(service);
        let policy = Policy::new(
            rule.map(|rule| &rule.spec),
            None,
            self.port,
            self.view.config(),
        );
        let target = Target::Cluster(names::outbound(self.port, "", &service.host));
        let chain = FilterChain {
            filters: tcp::filters(self.view, self.direction, self.protocol, &target, &policy),
            transport_socket_connect_timeout: super::handshake_timeout(),
            metadata: rule.map(|rule| made_from("destination-rule", &rule.namespace, &rule.name)),
            ..Default::default()
        };
        Chain {
            server_names,
            destinations,
            sources: Vec::new(),
            chain,
        }
    }

    /// The TLS routes of rules, each match a chain by SNI.
    pub(super) fn tls(
        &self,
        rules: &[Arc<Rule<VirtualService>>],
        destinations: &[IpNet],
    ) -> Vec<Chain> {
        let mut out = Vec::new();
        for rule in rules {
            for route in &rule.spec.tls {
                for wanted in route
                    .r#match
                    .iter()
                    .filter(|wanted| self.tls_applies(wanted))
                {
                    let own = subnets(&wanted.destination_subnets);
                    let destinations = if own.is_empty() {
                        destinations.to_vec()
                    } else {
                        own
                    };
                    if let Some(chain) = self.routed(rule, &route.route) {
                        let any = wanted.sni_hosts.iter().any(|host| host == "*");
                        let whole =
                            |host: &&String| !host.starts_with('*') || host.starts_with("*.");
                        let server_names: Vec<String> = wanted
                            .sni_hosts
                            .iter()
                            .filter(whole)
                            .map(|host| host.to_lowercase())
                            .collect();
                        if server_names.is_empty() && !any {
                            continue;
                        }
                        let server_names = if any { Vec::new() } else { server_names };
                        out.push(Chain {
                            server_names,
                            destinations,
                            sources: Vec::new(),
                            chain,
                        });
                    }
                }
            }
        }
        out
    }

    /// The TCP routes of rules up to the first that takes everything; true when there is such a one.
    pub(super) fn tcp(
        &self,
        rules: &[Arc<Rule<VirtualService>>],
        destinations: &[IpNet],
    ) -> (Vec<Chain>, bool) {
        let mut out = Vec::new();
        for rule in rules {
            for route in &rule.spec.tcp {
                let always = L4MatchAttributes::default();
                let matches: Vec<&L4MatchAttributes> = if route.r#match.is_empty() {
                    vec![&always]
                } else {
                    route.r#match.iter().collect()
                };
                for wanted in matches
                    .into_iter()
                    .filter(|wanted| self.tcp_applies(wanted))
                {
                    let own = subnets(&wanted.destination_subnets);
                    let sources = subnets(std::slice::from_ref(&wanted.source_subnet));
                    let all = own.is_empty() && sources.is_empty();
                    let destinations = if own.is_empty() {
                        destinations.to_vec()
                    } else {
                        own
                    };
                    if let Some(chain) = self.routed(rule, &route.route) {
                        out.push(Chain {
                            server_names: Vec::new(),
                            destinations,
                            sources,
                            chain,
                        });
                        if all {
                            return (out, true);
                        }
                    }
                }
            }
        }
        (out, false)
    }

    fn routed(
        &self,
        rule: &Rule<VirtualService>,
        routes: &[RouteDestination],
    ) -> Option<FilterChain> {
        let cluster = |to: &RouteDestination| {
            Some(cluster_of(self.view, to.destination.as_ref()?, self.port))
        };
        let target = match routes {
            [] => return None,
            [only] => Target::Cluster(cluster(only)?),
            many => {
                let weights = many.iter().filter_map(|to| {
                    Some((
                        cluster(to)?,
                        u32::try_from(to.weight).ok().filter(|w| *w > 0)?,
                    ))
                });
                let weights: Vec<(String, u32)> = weights.collect();
                if weights.is_empty() {
                    return None;
                }
                Target::Weighted(format!("{}.{}", rule.name, rule.namespace), weights)
            }
        };
        let first = routes.first().and_then(|to| to.destination.as_ref());
        let destination = first
            .and_then(|to| self.view.scope.visible_service(&to.host))
            .and_then(|service| self.view.rule(service));
        let subset = first.and_then(|to| {
            destination?
                .spec
                .subsets
                .iter()
                .find(|subset| subset.name == to.subset)
        });
        let port = first.map_or(self.port, |to| destination_port(self.view, to, self.port));
        let policy = Policy::new(
            destination.map(|rule| &rule.spec),
            subset,
            port,
            self.view.config(),
        );
        Some(FilterChain {
            filters: tcp::filters(self.view, self.direction, self.protocol, &target, &policy),
            transport_socket_connect_timeout: super::handshake_timeout(),
            metadata: Some(made_from("virtual-service", &rule.namespace, &rule.name)),
            ..Default::default()
        })
    }

    fn tls_applies(&self, wanted: &TlsMatchAttributes) -> bool {
        self.applies(
            wanted.port,
            &wanted.gateways,
            &wanted.source_labels,
            &wanted.source_namespace,
        )
    }

    fn tcp_applies(&self, wanted: &L4MatchAttributes) -> bool {
        self.applies(
            wanted.port,
            &wanted.gateways,
            &wanted.source_labels,
            &wanted.source_namespace,
        )
    }

    fn applies(&self, port: u32, gateways: &[String], labels: &Labels, namespace: &str) -> bool {
        (port == 0 || port == u32::from(self.port))
            && (gateways.is_empty() || gateways.iter().any(|gateway| gateway == self.gateway))
            && covers(&self.view.traits.labels, labels)
            && (namespace.is_empty() || namespace == &*self.view.traits.namespace)
    }
}

fn subnets(texts: &[String]) -> Vec<IpNet> {
    texts
        .iter()
        .filter_map(|text| {
            text.parse::<IpNet>()
                .map(|net| net.trunc())
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .ok()
        })
        .collect()
}
