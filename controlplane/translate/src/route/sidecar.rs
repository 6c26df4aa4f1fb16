//! Routes of sidecars: one table per HTTP port, per detected service, and for the explicit HTTP proxy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lateen_api::host::{is_subset_of, is_wildcard};
use lateen_api::networking::{Destination, VirtualService};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::routing::MESH;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::scope::{Egress, Unknown};
use lateen_controlplane_model::service::Service;
use lateen_xds::names::RouteName;

use super::http::Asker;
use super::policy::address_domain;
use super::{action, configuration, everything, http, unknown, valid_domain, virtual_host};
use crate::listener::cluster_of;
use crate::names;
use crate::pb::route::route::Action;
use crate::pb::route::route_action::ClusterSpecifier;
use crate::pb::route::{
    Decorator, DirectResponseAction, Route, RouteAction, RouteConfiguration, VirtualHost,
};
use crate::view::View;
use crate::wire::seconds;

/// Hosts of one table in the making.
struct Hosts<'a> {
    view: &'a View,
    /// Port of the table; 0 for the HTTP proxy, which serves every port.
    port: u16,
    hosts: Vec<VirtualHost>,
    names: HashSet<String>,
    domains: HashSet<String>,
}

/// The route configuration of a name that a sidecar asks for.
pub(crate) fn sidecar_routes(view: &View, name: &str) -> RouteConfiguration {
    match name.parse::<RouteName>() {
        Ok(RouteName::Port(port)) => table(view, name, port),
        Ok(RouteName::HttpProxy) => table(view, name, 0),
        Ok(RouteName::Service { host, port }) => detected(view, name, &host, port),
        _ => unknown(name),
    }
}

fn table(view: &View, name: &str, port: u16) -> RouteConfiguration {
    let mut hosts = Hosts {
        view,
        port,
        hosts: Vec::new(),
        names: HashSet::new(),
        domains: HashSet::new(),
    };
    if let Some(egress) = view.scope.egress_for(port) {
        hosts.add(egress);
    }
    let complete = hosts.domains.contains("*");
    let mut out = hosts.hosts;
    out.sort_by(|a, b| a.name.cmp(&b.name));
    if !complete {
        out.push(catch_all(view));
    }
    configuration(name, out)
}

/// A table for one service whose protocol was detected: whatever host the request names.
fn detected(view: &View, name: &str, host: &str, port: u16) -> RouteConfiguration {
    let Some(egress) = view.scope.egress_for(port) else {
        return unknown(name);
    };
    let Some(service) = egress
        .services
        .iter()
        .find(|service| *service.host == *host && service.port(port).is_some())
    else {
        return unknown(name);
    };
    let mut hosts = Hosts {
        view,
        port,
        hosts: Vec::new(),
        names: HashSet::new(),
        domains: HashSet::new(),
    };
    hosts.add_services(egress, &[(Arc::clone(service), port)]);
    let wanted = format!("{host}:{port}");
    let Some(mut only) = hosts.hosts.into_iter().find(|own| own.name == wanted) else {
        return unknown(name);
    };
    only.domains = vec!["*".into()];
    configuration(name, vec![only])
}

impl<'a> Hosts<'a> {
    fn add(&mut self, egress: &'a Egress) {
        let mut services: Vec<(Arc<Service>, u16)> = Vec::new();
        for service in &egress.services {
            let fitting = service
                .ports
                .iter()
                .filter(|port| port.protocol.is_http() || port.protocol == Protocol::Unsupported);
            let numbers = fitting
                .map(|port| port.number)
                .filter(|number| self.port == 0 || *number == self.port);
            services.extend(numbers.map(|number| (Arc::clone(service), number)));
        }
        self.add_services(egress, &services);
    }

    fn add_services(&mut self, egress: &'a Egress, services: &[(Arc<Service>, u16)]) {
        let hosts: HashSet<&str> = services.iter().map(|(service, _)| &*service.host).collect();
        for (rule, owned) in egress
            .virtual_services
            .iter()
            .zip(owned(&egress.virtual_services, services))
        {
            self.add_rule(rule, &hosts, &owned);
        }
        for (service, port) in services {
            // Services that no rule has routes for get the default; a name that is taken stays as it is.
            let route = default_route(self.view, service, *port);
            self.push(
                format!("{}:{port}", service.host),
                self.service_domains(service, *port),
                vec![route],
            );
        }
    }

    fn add_rule(
        &mut self,
        rule: &Rule<VirtualService>,
        known: &HashSet<&str>,
        owned: &[&(Arc<Service>, u16)],
    ) {
        let mut by_port: BTreeMap<u16, Vec<&Arc<Service>>> = BTreeMap::new();
        for (service, port) in owned {
            by_port.entry(*port).or_default().push(service);
        }
        // Hosts that no service has are served on port 80 only, by an old rule that clients rely on.
        let strangers = rule
            .spec
            .hosts
            .iter()
            .filter(|name| match is_wildcard(name) {
                true => !known.iter().any(|host| is_subset_of(host, name)),
                false => !known.contains(name.as_str()),
            });
        let strangers: Vec<&String> = if matches!(self.port, 80 | 0) {
            strangers.collect()
        } else {
            Vec::new()
        };
        if by_port.is_empty() && !strangers.is_empty() {
            by_port.insert(80, Vec::new());
        }
        for (port, services) in by_port {
            let gateways = [MESH];
            let asker = Asker {
                view: self.view,
                gateways: &gateways,
                port,
            };
            let routes = http::routes(&asker, rule);
            if routes.is_empty() {
                continue;
            }
            for name in &strangers {
                let domain = name.to_lowercase();
                self.push(
                    format!("{domain}:{port}"),
                    self.with_port(vec![domain], port),
                    routes.clone(),
                );
            }
            for service in services {
                self.push(
                    format!("{}:{port}", service.host),
                    self.service_domains(service, port),
                    routes.clone(),
                );
            }
        }
    }

    /// Adds a virtual host with those of its domains that are still free.
    fn push(&mut self, name: String, domains: Vec<String>, routes: Vec<Route>) {
        if self.names.contains(&name) {
            return;
        }
        let fresh =
            |domain: &String| valid_domain(domain) && self.domains.insert(domain.to_lowercase());
        let domains: Vec<String> = domains.into_iter().filter(fresh).collect();
        if domains.is_empty() {
            return;
        }
        self.names.insert(name.clone());
        self.hosts
            .push(virtual_host(self.view, name, domains, routes));
    }

    /// Every name and address that clients of this namespace may call a service.
    fn service_domains(&self, service: &Service, port: u16) -> Vec<String> {
        let mut domains = vec![service.host.to_string()];
        if !is_wildcard(&service.host) {
            domains.push(format!("{}.", service.host));
            domains.extend(short_names(service, self.view));
        }
        if service.headless {
            domains.push(format!("*.{}", service.host));
        }
        let singles = service
            .addresses
            .iter()
            .filter(|net| net.prefix_len() == net.max_prefix_len());
        domains.extend(singles.map(|net| address_domain(net.addr())));
        self.with_port(domains, port)
    }

    /// The HTTP proxy tells ports apart by the host header; other tables serve one port.
    fn with_port(&self, domains: Vec<String>, port: u16) -> Vec<String> {
        if self.port != 0 {
            return domains;
        }
        domains
            .into_iter()
            .flat_map(|domain| {
                let bare = (port == 80).then(|| domain.clone());
                bare.into_iter()
                    .chain(std::iter::once(format!("{domain}:{port}")))
            })
            .collect()
    }
}

/// The services each rule takes: those with one of its very names, and those that no rule names but its wildcard covers most closely.
fn owned<'s>(
    rules: &[Arc<Rule<VirtualService>>],
    services: &'s [(Arc<Service>, u16)],
) -> Vec<Vec<&'s (Arc<Service>, u16)>> {
    let mut exact: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut wild: Vec<(&str, usize)> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        for name in &rule.spec.hosts {
            if is_wildcard(name) {
                wild.push((name, at));
            } else {
                exact.entry(name).or_default().push(at);
            }
        }
    }
    let mut out = vec![Vec::new(); rules.len()];
    for service in services {
        let host = &*service.0.host;
        let fitting = || wild.iter().filter(|(name, _)| is_subset_of(host, name));
        let longest = fitting().map(|(name, _)| name.len()).max();
        let closest = || {
            fitting()
                .filter(|(name, _)| Some(name.len()) == longest)
                .map(|(_, at)| *at)
        };
        let takers = exact
            .get(host)
            .cloned()
            .unwrap_or_else(|| closest().collect());
        for at in takers {
            if let Some(list) = out.get_mut(at) {
                list.push(service);
            }
        }
    }
    out
}

/// Names relative to the client's namespace, for Kubernetes names of the same domain.
fn short_names(service: &Service, view: &View) -> Vec<String> {
    let suffix = format!(".svc.{}", view.mesh().domain);
    let Some(local) = service.host.strip_suffix(suffix.as_str()) else {
        return Vec::new();
    };
    let Some((name, namespace)) = local.rsplit_once('.') else {
        return Vec::new();
    };
    let mut out = Vec::new();
    if namespace == &*view.traits.namespace {
        out.push(name.to_owned());
    }
    out.push(local.to_owned());
    out.push(format!("{local}.svc"));
    out
}

fn default_route(view: &View, service: &Service, port: u16) -> Route {
    let destination = Destination {
        host: service.host.to_string(),
        port: Some(lateen_api::networking::PortSelector {
            number: port.into(),
        }),
        ..Destination::default()
    };
    Route {
        name: "default".into(),
        r#match: Some(everything()),
        decorator: Some(Decorator {
            operation: format!("{}:{port}/*", service.host),
            propagate: None,
        }),
        action: Some(Action::Route(action::default_action(
            view,
            &destination,
            port,
        ))),
        ..Default::default()
    }
}

/// What happens to requests for hosts nobody knows.
fn catch_all(view: &View) -> VirtualHost {
    let (name, action) = match &view.scope.unknown {
        Unknown::Refuse => (
            "block_all",
            Action::DirectResponse(DirectResponseAction {
                status: 502,
                ..Default::default()
            }),
        ),
        Unknown::Pass | Unknown::Resolve => ("allow_any", pass(names::passthrough().to_owned())),
        Unknown::Proxy(to) => ("allow_any", pass(cluster_of(view, to, 0))),
    };
    let route = Route {
        name: name.into(),
        r#match: Some(everything()),
        action: Some(action),
        ..Default::default()
    };
    virtual_host(view, name.into(), vec!["*".into()], vec![route])
}

#[allow(deprecated)] // As for every route: gRPC's own timeout is bounded like the route's.
fn pass(cluster: String) -> Action {
    Action::Route(RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        timeout: seconds(0),
        max_grpc_timeout: seconds(0),
        ..Default::default()
    })
}
