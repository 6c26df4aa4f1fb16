//! Routes of gateways: one table per plain port, and one per HTTPS server.

use std::collections::BTreeMap;

use lateen_api::networking::VirtualService;
use lateen_controlplane_model::rule::Rule;

use super::http::{self, Asker, takes_all};
use super::{configuration, unknown, valid_domain, virtual_host};
use crate::pb::route::virtual_host::TlsRequirementType;
use crate::pb::route::{Route, RouteConfiguration, VirtualHost};
use crate::servers::{ActiveServer, Handling, servers};
use crate::view::View;

/// A host in the making: its server port, its routes, and whether plain requests are redirected.
#[derive(Debug, Default)]
struct Host {
    routes: Vec<Route>,
    redirect: bool,
}

/// The route configuration of a name that a router asks for.
pub(crate) fn gateway_routes(view: &View, name: &str) -> RouteConfiguration {
    let all = servers(
        &view.snapshot,
        &view.traits.namespace,
        &view.traits.labels,
        |_| {},
    );
    let mut mine: Vec<&ActiveServer> = Vec::new();
    for ((port, bind), servers) in &all {
        let suffix = if bind.is_empty() {
            String::new()
        } else {
            format!(".{bind}")
        };
        let plain = format!("http.{port}{suffix}");
        mine.extend(servers.iter().filter(|server| match server.handling {
            Handling::Http => name == plain,
            Handling::Https => name == server.https_routes(),
            _ => false,
        }));
    }
    if mine.is_empty() {
        unknown(name)
    } else {
        table(view, name, &mine)
    }
}

fn table(view: &View, name: &str, servers: &[&ActiveServer]) -> RouteConfiguration {
    let mut hosts: BTreeMap<(String, u16), Host> = BTreeMap::new();
    for server in servers {
        let gateway = server.gateway.full_name();
        let rules = view
            .snapshot
            .virtual_services
            .bound(&gateway, &view.traits.namespace);
        for rule in &rules {
            add(view, server, &gateway, rule, &mut hosts);
        }
        if server.redirects() {
            for host in server.hosts() {
                hosts
                    .entry((host.to_lowercase(), server.number))
                    .or_default()
                    .redirect = true;
            }
        }
    }
    let mut virtual_hosts: Vec<VirtualHost> = hosts
        .into_iter()
        .filter(|((domain, _), _)| valid_domain(domain))
        .map(|((domain, port), host)| finish(view, domain, port, host))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    virtual_hosts.retain(|host| {
        host.domains
            .iter()
            .all(|domain| seen.insert(domain.clone()))
    });
    if virtual_hosts.is_empty() {
        let port = servers.first().map_or(0, |server| server.number);
        virtual_hosts.push(virtual_host(
            view,
            format!("blackhole:{port}"),
            vec!["*".into()],
            Vec::new(),
        ));
    }
    configuration(name, virtual_hosts)
}

fn add(
    view: &View,
    server: &ActiveServer,
    gateway: &str,
    rule: &Rule<VirtualService>,
    hosts: &mut BTreeMap<(String, u16), Host>,
) {
    let served = server.served(rule);
    if served.is_empty() || rule.spec.http.is_empty() {
        return;
    }
    let gateways = [gateway];
    let routes = http::routes(
        &Asker {
            view,
            gateways: &gateways,
            port: server.number,
        },
        rule,
    );
    if routes.is_empty() {
        return;
    }
    for name in served {
        let host = hosts
            .entry((name.to_lowercase(), server.number))
            .or_default();
        // A rule bound to several gateways on the port brings the same routes once.
        let fresh = routes
            .iter()
            .filter(|route| !host.routes.contains(route))
            .cloned();
        let fresh: Vec<Route> = fresh.collect();
        host.routes.extend(fresh);
        host.redirect |= server.redirects();
    }
}

fn finish(view: &View, domain: String, port: u16, host: Host) -> VirtualHost {
    let mut routes = host.routes;
    // Routes of several rules are joined; what takes everything goes last, or it would hide the others.
    routes.sort_by_key(takes_all);
    let mut out = virtual_host(view, format!("{domain}:{port}"), vec![domain], routes);
    if host.redirect {
        out.require_tls = TlsRequirementType::All as i32;
    }
    out
}
