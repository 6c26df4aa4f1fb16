//! Listeners for the services that a sidecar may call.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use lateen_api::host;
use lateen_api::networking::VirtualService;
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::endpoint::Address;
use lateen_controlplane_model::proxy::Interception;
use lateen_controlplane_model::routing::MESH;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::scope::Egress;
use lateen_controlplane_model::service::{Resolution, Service, ServicePort};

use super::conflict::{Bind, Wanted};
use super::l4::{Asker, Chain};
use super::virtual_outbound;
use crate::filters::Direction;
use crate::pb::listener::Listener;
use crate::view::View;

/// The outbound listeners of a view. Those of headless services include the proxy's own pod, which the caller takes out.
pub(crate) fn outbound_listeners(view: &View) -> Vec<Listener> {
    if view.is_router() {
        return Vec::new();
    }
    let locked: BTreeSet<u16> = view
        .scope
        .egress
        .iter()
        .filter_map(|egress| egress.port.map(|(port, _)| port))
        .collect();
    let mut wanted = Wanted::default();
    for egress in &view.scope.egress {
        match egress.port {
            Some((port, protocol)) => stated(view, &mut wanted, egress, port, protocol),
            None => implied(view, &mut wanted, egress, &locked),
        }
    }
    let mut out = wanted.finish(view);
    if let Some(port) = view.traits.http_proxy_port {
        let mut proxy = Wanted::default();
        proxy.http(
            &Bind {
                address: view.loopback().into(),
                port,
                bound: true,
            },
            "http_proxy",
            false,
        );
        out.extend(proxy.finish(view));
    }
    if view.traits.interception != Interception::None {
        out.push(virtual_outbound(view));
    }
    out
}

/// Adds the ports of services that one egress listener imports.
#[derive(Clone, Copy)]
struct Importer<'a> {
    view: &'a View,
    egress: &'a Egress,
}

/// Every port of every imported service that no listener with a port of its own took.
fn implied(view: &View, wanted: &mut Wanted, egress: &Egress, locked: &BTreeSet<u16>) {
    for service in &egress.services {
        for port in service
            .ports
            .iter()
            .filter(|port| !locked.contains(&port.number))
        {
            let stated = egress.bind.as_deref();
            Importer { view, egress }.add(
                wanted,
                service,
                port,
                stated.map(|bind| (bind, egress.explicit)),
            );
        }
    }
}

/// An egress listener of a Sidecar with a port.
fn stated(view: &View, wanted: &mut Wanted, egress: &Egress, port: u16, protocol: Protocol) {
    let uncaptured = egress.explicit || view.traits.interception == Interception::None;
    let bind = egress
        .bind
        .as_deref()
        .filter(|bind| !bind.starts_with("unix://"));
    if protocol.is_http() {
        let address = bind.unwrap_or(if uncaptured {
            view.loopback()
        } else {
            view.wildcard()
        });
        let bind = Bind {
            address: address.into(),
            port,
            bound: uncaptured,
        };
        wanted.http(&bind, &port.to_string(), protocol == Protocol::GrpcWeb);
        return;
    }
    for service in &egress.services {
        for own in &service.ports {
            let stated = bind.or(uncaptured.then(|| view.loopback()));
            Importer { view, egress }.add(
                wanted,
                service,
                own,
                stated.map(|bind| (bind, uncaptured)),
            );
        }
    }
}

impl Importer<'_> {
    /// One service port. `stated` is the address a Sidecar gives, and whether applications connect to it themselves.
    fn add(
        self,
        wanted: &mut Wanted,
        service: &Service,
        port: &ServicePort,
        stated: Option<(&str, bool)>,
    ) {
        let view = self.view;
        if port.protocol == Protocol::Udp {
            return;
        }
        let uncaptured = view.traits.interception == Interception::None;
        let wildcard = || Bind {
            address: view.wildcard().into(),
            port: port.number,
            bound: false,
        };
        let fixed = match stated {
            Some((address, bound)) => Some(Bind {
                address: address.into(),
                port: port.number,
                bound,
            }),
            None if uncaptured => Some(Bind {
                address: view.loopback().into(),
                port: port.number,
                bound: true,
            }),
            None => None,
        };
        if port.protocol.is_http() {
            let bind = fixed.unwrap_or_else(wildcard);
            wanted.http(
                &bind,
                &port.number.to_string(),
                port.protocol == Protocol::GrpcWeb,
            );
            return;
        }
        if let Some(bind) = fixed {
            self.carry(wanted, service, port, &bind, Vec::new());
            return;
        }
        if service.headless {
            for address in headless_addresses(view, service, port) {
                let bind = Bind {
                    address,
                    port: port.number,
                    bound: false,
                };
                self.carry(wanted, service, port, &bind, Vec::new());
            }
            return;
        }
        let addresses = addresses(view, service);
        if addresses.is_empty() {
            self.carry(wanted, service, port, &wildcard(), Vec::new());
        }
        for net in addresses {
            if net.prefix_len() == net.max_prefix_len() {
                let bind = Bind {
                    address: net.addr().to_string(),
                    port: port.number,
                    bound: false,
                };
                self.carry(wanted, service, port, &bind, Vec::new());
            } else {
                self.carry(wanted, service, port, &wildcard(), vec![net]);
            }
        }
    }

    /// A port that is not declared as HTTP: chains for bytes, and one for HTTP where the protocol is to be detected.
    fn carry(
        self,
        wanted: &mut Wanted,
        service: &Service,
        port: &ServicePort,
        bind: &Bind,
        nets: Vec<IpNet>,
    ) {
        let view = self.view;
        if port.protocol == Protocol::Unsupported {
            let shared = bind.address == view.wildcard() || bind.bound;
            let routes = if shared {
                port.number.to_string()
            } else {
                format!("{}:{}", service.host, port.number)
            };
            wanted.http(bind, &routes, false);
        }
        let chains = self.chains(service, port, bind, &nets);
        wanted.tcp(bind, port.protocol, chains);
    }

    fn chains(
        self,
        service: &Service,
        port: &ServicePort,
        bind: &Bind,
        nets: &[IpNet],
    ) -> Vec<Chain> {
        let view = self.view;
        let asker = Asker {
            view,
            gateway: MESH,
            port: port.number,
            direction: Direction::Outbound,
            protocol: port.protocol,
        };
        let rules: Vec<Arc<Rule<VirtualService>>> = self
            .egress
            .virtual_services
            .iter()
            .filter(|rule| {
                rule.spec
                    .hosts
                    .iter()
                    .any(|name| host::is_subset_of(&service.host, name))
            })
            .cloned()
            .collect();
        if port.protocol.is_tls() {
            let routed = asker.tls(&rules, nets);
            if !routed.is_empty() {
                return routed;
            }
            // Without an address of its own the service is told from others by its name.
            if host::is_wildcard(&service.host)
                && !service.host.starts_with("*.")
                && *service.host != *"*"
            {
                return Vec::new();
            }
            let on_wildcard = bind.address == view.wildcard() && nets.is_empty();
            let server_names = if on_wildcard && *service.host != *"*" {
                vec![service.host.to_string()]
            } else {
                Vec::new()
            };
            return vec![asker.direct(service, nets.to_vec(), server_names)];
        }
        let (mut routed, complete) = asker.tcp(&rules, nets);
        if !complete {
            routed.push(asker.direct(service, nets.to_vec(), Vec::new()));
        }
        routed
    }
}

/// The virtual addresses a proxy of this family may connect to.
fn addresses(view: &View, service: &Service) -> Vec<IpNet> {
    let fits = |net: &&IpNet| matches!(net, IpNet::V6(_)) == view.traits.ipv6;
    let own: Vec<IpNet> = service.addresses.iter().filter(fits).copied().collect();
    if own.is_empty() && view.traits.auto_addresses {
        return service.auto_address.map(IpNet::from).into_iter().collect();
    }
    own
}

/// The pods of a headless service.
fn headless_addresses(view: &View, service: &Service, port: &ServicePort) -> BTreeSet<String> {
    debug_assert!(service.resolution == Resolution::OriginalDestination);
    let endpoints = view.snapshot.endpoints_of(service);
    let list = endpoints.into_iter().flat_map(|endpoints| &endpoints.list);
    list.filter(|endpoint| endpoint.port_name == port.name)
        .filter_map(|endpoint| match &endpoint.address {
            Address::Ip(ip) if ip.is_ipv6() == view.traits.ipv6 => Some(ip.to_string()),
            _ => None,
        })
        .collect()
}
