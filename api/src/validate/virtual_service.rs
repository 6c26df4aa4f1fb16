//! Rules on VirtualServices.

use super::report::Report;
use super::scope::{Scope, gateways};
use super::{http_route, l4_route, values};
use crate::host::{MESH_GATEWAY, overlap};
use crate::networking::VirtualService;

pub(super) fn check(report: &mut Report<'_>, spec: &VirtualService) {
    let mesh =
        spec.gateways.is_empty() || spec.gateways.iter().any(|gateway| gateway == MESH_GATEWAY);
    let scope = Scope {
        delegate: spec.hosts.is_empty(),
        mesh,
    };
    if scope.delegate {
        delegate(report, spec);
    } else {
        hosts(report, spec, mesh);
    }
    gateways(report, "spec.gateways", &spec.gateways);
    values::export_to(report, &spec.export_to, false);
    let routes = spec.http.len() + spec.tls.len() + spec.tcp.len();
    report.require(
        routes > 0,
        "spec",
        "at least one of http, tls and tcp is needed",
    );
    for (i, route) in spec.http.iter().enumerate() {
        http_route::check(report, &format!("spec.http[{i}]"), route, scope);
    }
    for (i, route) in spec.tls.iter().enumerate() {
        l4_route::check_tls(report, &format!("spec.tls[{i}]"), route, &spec.hosts);
    }
    for (i, route) in spec.tcp.iter().enumerate() {
        l4_route::check_tcp(report, &format!("spec.tcp[{i}]"), route);
    }
}

fn delegate(report: &mut Report<'_>, spec: &VirtualService) {
    if spec.http.is_empty() {
        report.error("spec.hosts", "at least one host is needed");
    }
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
    for (i, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{i}]");
        // Gateways between networks route by names such as outbound_.80_._.reviews.default.svc.cluster.local.
        if host.starts_with("outbound_.") && !mesh {
            continue;
        }
        if host == "*" && mesh {
            report.error(&field, "sidecars cannot route the host `*`: name the hosts, or name gateways without `mesh`");
            continue;
        }
        values::host(report, &field, host);
        if let Some(other) = spec.hosts[..i].iter().find(|other| overlap(host, other)) {
            report.error(
                &field,
                format_args!("`{host}` and `{other}` have names in common"),
            );
        }
    }
}
