//! What one group of proxies sees: services, VirtualServices and egress listeners after exportTo and Sidecar have spoken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lateen_api::networking::{
    CaptureMode, Destination, OutboundTrafficPolicyMode, Sidecar, VirtualService,
};

use crate::routing::{self, MESH};
use crate::rule::Rule;
use crate::service::{Registry, Service};
use crate::sidecar::Imports;
use crate::snapshot::Snapshot;
use lateen_api::protocol::Protocol;

/// What happens to traffic for hosts nobody knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Unknown {
    /// It passes to where it was going.
    Pass,
    /// It passes through an egress proxy.
    Proxy(Destination),
    /// It is refused.
    Refuse,
    /// Its own host name is resolved.
    Resolve,
}

/// One egress listener of a Sidecar, or the implied one that imports everything.
#[derive(Debug)]
pub struct Egress {
    /// The port it is limited to, with the protocol the Sidecar states.
    pub port: Option<(u16, Protocol)>,
    /// Address it is bound to instead of the services' own; a Unix socket starts with `unix://`.
    pub bind: Option<String>,
    /// True when applications connect to it explicitly.
    pub explicit: bool,
    /// Services it imports, oldest first; limited to its port when it has one.
    pub services: Vec<Arc<Service>>,
    /// VirtualServices it imports, in order of precedence.
    pub virtual_services: Vec<Arc<Rule<VirtualService>>>,
    imports: Imports,
}

/// What proxies of one namespace, with one Sidecar resource or none, see.
#[derive(Debug)]
pub struct Scope {
    /// Namespace of the proxies.
    pub namespace: Arc<str>,
    /// The Sidecar resource in effect.
    pub sidecar: Option<Arc<Rule<Sidecar>>>,
    /// Egress listeners; those with a port first, at most one without at the end.
    pub egress: Vec<Egress>,
    /// Every service that needs clusters, oldest first.
    pub services: Vec<Arc<Service>>,
    /// What happens to unknown traffic.
    pub unknown: Unknown,
    by_host: HashMap<Arc<str>, Arc<Service>>,
    visible: HashMap<Arc<str>, Arc<Service>>,
}

impl Scope {
    /// Computes the scope of proxies in `namespace` that `sidecar` holds for.
    #[must_use]
    pub fn new(
        snapshot: &Snapshot,
        namespace: &Arc<str>,
        sidecar: Option<Arc<Rule<Sidecar>>>,
    ) -> Self {
        let seen = visible(snapshot, namespace);
        let rules = snapshot.virtual_services.bound(MESH, namespace);
        let egress = match sidecar.as_ref().filter(|rule| !rule.spec.egress.is_empty()) {
            None => vec![Egress::everything(&seen, rules)],
            Some(rule) => listeners(&rule.spec, namespace, &seen, &rules),
        };
        let visible: HashMap<_, _> = seen
            .iter()
            .map(|service| (Arc::clone(&service.host), Arc::clone(service)))
            .collect();
        let unknown = unknown(snapshot, sidecar.as_deref());
        let services = united(&egress, &visible, &unknown);
        let by_host = services
            .iter()
            .map(|service| (Arc::clone(&service.host), Arc::clone(service)))
            .collect();
        Self {
            namespace: Arc::clone(namespace),
            sidecar,
            egress,
            services,
            unknown,
            by_host,
            visible,
        }
    }

    /// The service of this host, if proxies of this scope have clusters for it.
    #[must_use]
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
    }

    /// The service of this host, if it is exported to the namespace, imported or not.
    #[must_use]
    pub fn visible_service(&self, host: &str) -> Option<&Arc<Service>> {
        self.visible.get(host)
    }

    /// The egress listener that serves a port: the one with this port, else the one without.
    #[must_use]
    pub fn egress_for(&self, port: u16) -> Option<&Egress> {
        let exact = self
            .egress
            .iter()
            .find(|egress| egress.port.is_some_and(|(own, _)| own == port));
        exact.or_else(|| self.egress.iter().find(|egress| egress.port.is_none()))
    }

    /// True when a Sidecar limits what is imported.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.sidecar
            .as_ref()
            .is_some_and(|rule| !rule.spec.egress.is_empty())
    }

    /// True when something of this host pattern may be imported.
    #[must_use]
    pub fn may_concern(&self, namespace: Option<&str>, pattern: &str) -> bool {
        self.egress
            .iter()
            .any(|egress| egress.imports.may_concern(namespace, pattern))
            || self
                .by_host
                .keys()
                .any(|host| lateen_api::host::overlap(pattern, host))
    }
}

impl Egress {
    fn everything(
        services: &[Arc<Service>],
        virtual_services: Vec<Arc<Rule<VirtualService>>>,
    ) -> Self {
        Self {
            port: None,
            bind: None,
            explicit: false,
            services: services.to_vec(),
            virtual_services,
            imports: Imports::everything(),
        }
    }
}

/// Services exported to a namespace, one a host, oldest first. For one host the namespace's own wins, then a Kubernetes Service, then the
/// oldest.
fn visible(snapshot: &Snapshot, namespace: &str) -> Vec<Arc<Service>> {
    let mut best: HashMap<&str, &Arc<Service>> = HashMap::new();
    let rank = |service: &Service| {
        (
            &*service.namespace != namespace,
            service.registry != Registry::Kubernetes,
            service.created,
            service.namespace.clone(),
        )
    };
    for (_, service) in snapshot
        .services
        .iter()
        .filter(|(_, service)| service.export_to.admits(namespace))
    {
        let held = best.entry(&service.host).or_insert(service);
        if rank(service) < rank(held) {
            *held = service;
        }
    }
    let mut services: Vec<Arc<Service>> = best.into_values().cloned().collect();
    services.sort_by(|a, b| a.order(b));
    services
}

fn listeners(
    spec: &Sidecar,
    namespace: &str,
    visible: &[Arc<Service>],
    rules: &[Arc<Rule<VirtualService>>],
) -> Vec<Egress> {
    let mut egress: Vec<Egress> = spec
        .egress
        .iter()
        .map(|listener| {
            let imports = Imports::parse(&listener.hosts, namespace);
            let port = listener.port.as_ref().and_then(|port| {
                let number = u16::try_from(port.number).ok()?;
                Some((number, Protocol::parse(&port.protocol)))
            });
            let services = visible
                .iter()
                .filter(|service| imports.service(&service.namespace, &service.host))
                .filter_map(|service| match port {
                    Some((number, _)) => limited(service, number),
                    None => Some(Arc::clone(service)),
                })
                .collect();
            let virtual_services = rules
                .iter()
                .filter(|rule| {
                    imports.rule(&rule.namespace, rule.spec.hosts.iter().map(String::as_str))
                })
                .cloned()
                .collect();
            let bind = Some(listener.bind.clone()).filter(|bind| !bind.is_empty());
            Egress {
                port,
                explicit: listener.capture_mode == CaptureMode::None,
                bind,
                services,
                virtual_services,
                imports,
            }
        })
        .collect();
    egress.sort_by_key(|listener| listener.port.is_none());
    egress
}

/// A service with only this port; `None` when it has no such port.
fn limited(service: &Arc<Service>, number: u16) -> Option<Arc<Service>> {
    let port = service.port(number)?;
    if service.ports.len() == 1 {
        return Some(Arc::clone(service));
    }
    Some(Arc::new(Service {
        ports: vec![port.clone()],
        ..(**service).clone()
    }))
}

/// Every service of every listener, with the union of its ports, the destinations of imported VirtualServices, and the egress proxy.
fn united(
    egress: &[Egress],
    visible: &HashMap<Arc<str>, Arc<Service>>,
    unknown: &Unknown,
) -> Vec<Arc<Service>> {
    if let [only] = egress
        && only.imports == Imports::everything()
    {
        return only.services.clone();
    }
    let mut found: HashMap<Arc<str>, Arc<Service>> = HashMap::new();
    for service in egress.iter().flat_map(|listener| &listener.services) {
        let held = found
            .entry(Arc::clone(&service.host))
            .or_insert_with(|| Arc::clone(service));
        let known: BTreeSet<u16> = held.ports.iter().map(|port| port.number).collect();
        let missing: Vec<_> = service
            .ports
            .iter()
            .filter(|port| !known.contains(&port.number))
            .cloned()
            .collect();
        if !missing.is_empty() {
            Arc::make_mut(held).ports.extend(missing);
        }
    }
    let rules = egress
        .iter()
        .flat_map(|listener| &listener.virtual_services);
    let mut wanted: HashSet<&str> = rules
        .flat_map(|rule| routing::destination_hosts(&rule.spec))
        .collect();
    if let Unknown::Proxy(proxy) = unknown {
        wanted.insert(&proxy.host);
    }
    for host in wanted {
        if let Some(service) = visible.get(host) {
            found.insert(Arc::clone(&service.host), Arc::clone(service));
        }
    }
    let mut services: Vec<Arc<Service>> = found.into_values().collect();
    services.sort_by(|a, b| a.order(b));
    services
}

fn unknown(snapshot: &Snapshot, sidecar: Option<&Rule<Sidecar>>) -> Unknown {
    let policy = sidecar.and_then(|rule| rule.spec.outbound_traffic_policy.as_ref());
    if let Some(policy) = policy {
        return match (policy.mode, &policy.egress_proxy) {
            (OutboundTrafficPolicyMode::RegistryOnly, _) => Unknown::Refuse,
            (_, Some(proxy)) => Unknown::Proxy(proxy.clone()),
            (OutboundTrafficPolicyMode::AllowAny, None) => Unknown::Pass,
            (OutboundTrafficPolicyMode::AllowAnyDynamicDns, None) => Unknown::Resolve,
        };
    }
    match snapshot.mesh.outbound_mode() {
        OutboundTrafficPolicyMode::RegistryOnly => Unknown::Refuse,
        OutboundTrafficPolicyMode::AllowAny => Unknown::Pass,
        OutboundTrafficPolicyMode::AllowAnyDynamicDns => Unknown::Resolve,
    }
}
