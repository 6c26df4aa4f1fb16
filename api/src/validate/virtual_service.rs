//! Rules on VirtualServices.

use super::host_set::HostSet;
use super::report::Report;
use super::scope::{Scope, gateways, is_generated_server_name};
use super::{http_route, l4_route, reachability, values};
use crate::host::{MESH_GATEWAY, is_wildcard_domain};
use crate::networking::VirtualService;

/// The annotation on objects that are made of routes of the Gateway API, with the value [`GATEWAY`].
const ROUTE_SEMANTICS: &str = "internal.istio.io/route-semantics";
const GATEWAY: &str = "gateway";

pub(super) fn check(report: &mut Report<'_>, spec: &VirtualService) {
    let annotations = &report.object().meta.annotations;
    let scope = Scope {
        delegate: spec.hosts.is_empty(),
        mesh: spec.gateways.is_empty() || names_mesh(spec),
        translated: annotations
            .get(ROUTE_SEMANTICS)
            .is_some_and(|semantics| semantics == GATEWAY),
    };
    if scope.delegate {
        delegate(report, spec);
    } else {
        hosts(report, spec, scope.mesh);
    }
    gateways(report, "spec.gateways", &spec.gateways, scope.translated);
    report.require(
        !(spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty()),
        "spec",
        "at least one of http, tls and tcp is needed",
    );
    for (i, route) in spec.http.iter().enumerate() {
        http_route::check(report, format_args!("spec.http[{i}]"), route, scope);
    }
    if !spec.tls.is_empty() {
        let names = l4_route::ServerNames {
            hosts: HostSet::new(&spec.hosts),
            generated: !names_mesh(spec),
        };
        for (i, route) in spec.tls.iter().enumerate() {
            let at = format_args!("spec.tls[{i}]");
            l4_route::check_tls(report, at, route, &names, scope);
        }
    }
    for (i, route) in spec.tcp.iter().enumerate() {
        l4_route::check_tcp(report, format_args!("spec.tcp[{i}]"), route, scope);
    }
    values::export_to(report, &spec.export_to, false);
    reachability::check(report, spec);
}

/// Whether `mesh` is among the gateways.
fn names_mesh(spec: &VirtualService) -> bool {
    spec.gateways.iter().any(|gateway| gateway == MESH_GATEWAY)
}

fn delegate(report: &mut Report<'_>, spec: &VirtualService) {
    report.require(
        spec.gateways.is_empty(),
        "spec.gateways",
        "without hosts this is a delegate, which has no gateways",
    );
    report.require(
        spec.tls.is_empty(),
        "spec.tls",
        "without hosts this is a delegate, which has no TLS routes",
    );
    report.require(
        spec.tcp.is_empty(),
        "spec.tcp",
        "without hosts this is a delegate, which has no TCP routes",
    );
}

fn hosts(report: &mut Report<'_>, spec: &VirtualService, mesh: bool) {
    let mut matches = spec.tls.iter().flat_map(|route| &route.r#match);
    let by_server_name = !mesh && matches.any(|condition| !condition.sni_hosts.is_empty());
    let valid = report.passes(|report| {
        for (i, host) in spec.hosts.iter().enumerate() {
            let at = format_args!("spec.hosts[{i}]");
            if mesh && host == "*" {
                report.error(at, "sidecars cannot route the host `*`: name the hosts, or name gateways without `mesh`");
                continue;
            }
            let fits = is_wildcard_domain(host)
                || values::is_ip(host)
                || (by_server_name && is_generated_server_name(host));
            report.require(
                fits,
                at,
                format_args!("`{host}` is not a host name, a wildcard or an address"),
            );
        }
    });
    if valid && spec.hosts.len() > 1 {
        overlaps(report, &spec.hosts);
    }
}

fn overlaps(report: &mut Report<'_>, hosts: &[String]) {
    let set = HostSet::new(hosts);
    for (i, host) in hosts.iter().enumerate() {
        if let Some(other) = set.overlapping(host, i).and_then(|other| hosts.get(other)) {
            report.error(
                format_args!("spec.hosts[{i}]"),
                format_args!("`{host}` is among the hosts already, by `{other}`"),
            );
        }
    }
}
