//! Ports of the proxy's own workload: those of the services that select it, or those its Sidecar lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::{CaptureMode, ConnectionPoolSettings, IngressListener};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::endpoint::Address;
use lateen_controlplane_model::proxy::{Interception, Proxy, Role};
use lateen_controlplane_model::service::{Service, ServicePort};

use crate::view::View;

/// One port that the application listens on.
#[derive(Debug, Clone)]
pub(crate) struct OwnPort<'a> {
    /// Port of the pod.
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Services that lead here with their ports, oldest first; the first decides the protocol. Empty for a Sidecar's port.
    pub(crate) services: Vec<(Arc<Service>, ServicePort)>,
    /// The Sidecar's listener.
    pub(crate) ingress: Option<&'a IngressListener>,
}

impl OwnPort<'_> {
    /// `<host>:<port>`, as spans name the operation.
    pub(crate) fn operation(&self, view: &View) -> String {
        match (self.services.first(), &view.scope.sidecar) {
            (Some((service, port)), _) => format!("{}:{}", service.host, port.number),
            (None, Some(sidecar)) => {
                format!("{}.{}:{}", sidecar.name, sidecar.namespace, self.port)
            }
            (None, None) => format!(":{}", self.port),
        }
    }

    /// True when it has a listener of its own instead of a chain on the captured one.
    pub(crate) fn is_separate(&self, view: &View) -> bool {
        let uncaptured = view.traits.interception == Interception::None;
        self.ingress
            .is_some_and(|ingress| uncaptured || ingress.capture_mode == CaptureMode::None)
    }

    /// Limits the Sidecar sets for connections to the application.
    pub(crate) fn sidecar_pool<'b>(&'b self, view: &'b View) -> Option<&'b ConnectionPoolSettings> {
        let sidecar = view
            .scope
            .sidecar
            .as_ref()
            .and_then(|rule| rule.spec.inbound_connection_pool.as_ref());
        self.ingress
            .and_then(|ingress| ingress.connection_pool.as_ref())
            .or(sidecar)
    }
}

/// The ports of a proxy's workload, ascending. Routers have none; without interception only a Sidecar gives some.
pub(crate) fn own_ports<'a>(view: &'a View, proxy: &Proxy) -> Vec<OwnPort<'a>> {
    if view.traits.role == Role::Router {
        return Vec::new();
    }
    let ingress = view
        .scope
        .sidecar
        .as_ref()
        .map(|rule| &rule.spec.ingress)
        .filter(|ingress| !ingress.is_empty());
    if let Some(ingress) = ingress {
        let mut ports: Vec<OwnPort<'a>> = ingress.iter().filter_map(of_sidecar).collect();
        ports.sort_by_key(|port| port.port);
        ports.dedup_by_key(|port| port.port);
        return ports;
    }
    if view.traits.interception == Interception::None {
        return Vec::new();
    }
    let mut ports: BTreeMap<u16, Vec<(Arc<Service>, ServicePort)>> = BTreeMap::new();
    for service in view.snapshot.services.row(&proxy.namespace) {
        for port in &service.ports {
            if let Some(target) = target(view, proxy, service, port) {
                ports
                    .entry(target)
                    .or_default()
                    .push((Arc::clone(service), port.clone()));
            }
        }
    }
    ports
        .into_iter()
        .map(|(port, mut services)| {
            services.sort_by(|a, b| a.0.order(&b.0));
            let protocol = services
                .first()
                .map_or(Protocol::Unsupported, |(_, port)| port.protocol);
            OwnPort {
                port,
                protocol,
                services,
                ingress: None,
            }
        })
        .collect()
}

fn of_sidecar(ingress: &IngressListener) -> Option<OwnPort<'_>> {
    let port = ingress.port.as_ref()?;
    let number = u16::try_from(port.number)
        .ok()
        .filter(|number| *number > 0)?;
    Some(OwnPort {
        port: number,
        protocol: Protocol::parse(&port.protocol),
        services: Vec::new(),
        ingress: Some(ingress),
    })
}

/// The pod port a service port leads to on this workload.
fn target(view: &View, proxy: &Proxy, service: &Service, port: &ServicePort) -> Option<u16> {
    if service.selects(&proxy.labels)
        && let Some(number) = port.target.resolve(&proxy.pod_ports)
    {
        return Some(number);
    }
    if !service.selector.is_empty() && !service.selects(&proxy.labels) {
        return None;
    }
    // A service without selector, or a port name the pod did not tell: its endpoints say.
    let endpoints = view.snapshot.endpoints_of(service)?;
    let mine = endpoints.list.iter().find(|endpoint| {
        endpoint.port_name == port.name
            && matches!(endpoint.address, Address::Ip(ip) if proxy.addresses.contains(&ip))
    });
    mine.map(|endpoint| endpoint.port)
}
