//! Rules on TLS and TCP routes.

use std::collections::BTreeMap;
use std::fmt::Arguments;

use super::host_set::HostSet;
use super::report::Report;
use super::scope::{Scope, gateways, is_generated_server_name};
use super::values;
use crate::host::is_wildcard_domain;
use crate::networking::{RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute};

/// The server names that TLS routes may have.
pub(super) struct ServerNames<'a> {
    /// The hosts of the VirtualService.
    pub(super) hosts: HostSet<'a>,
    /// Whether names that gateways between networks make are allowed.
    pub(super) generated: bool,
}

pub(super) fn check_tls(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    route: &TlsRoute,
    names: &ServerNames<'_>,
    scope: Scope,
) {
    report.require(
        !route.r#match.is_empty(),
        format_args!("{field}.match"),
        "a TLS route needs a match with sniHosts",
    );
    for (i, condition) in route.r#match.iter().enumerate() {
        let at = format_args!("{field}.match[{i}]");
        server_names(report, at, condition, names);
        let common = Common {
            destination_subnets: &condition.destination_subnets,
            port: condition.port,
            source_labels: &condition.source_labels,
        };
        common.check(report, at);
        let at = format_args!("{at}.gateways");
        gateways(report, at, &condition.gateways, false);
    }
    destinations(report, field, &route.route, scope);
}

fn server_names(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    condition: &TlsMatchAttributes,
    names: &ServerNames<'_>,
) {
    report.require(
        !condition.sni_hosts.is_empty(),
        format_args!("{field}.sniHosts"),
        "at least one server name is needed",
    );
    for (i, name) in condition.sni_hosts.iter().enumerate() {
        let at = format_args!("{field}.sniHosts[{i}]");
        let generated = names.generated && is_generated_server_name(name);
        if generated || is_wildcard_domain(name) {
            report.require(
                names.hosts.covers(name),
                at,
                format_args!("`{name}` is not among the hosts of the VirtualService"),
            );
        } else if values::is_ip(name) {
            report.warning(
                at,
                format_args!("`{name}` is an address, which clients do not send as a server name"),
            );
        } else {
            report.error(
                at,
                format_args!("`{name}` is not a server name or a wildcard"),
            );
        }
    }
}

pub(super) fn check_tcp(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    route: &TcpRoute,
    scope: Scope,
) {
    for (i, condition) in route.r#match.iter().enumerate() {
        let at = format_args!("{field}.match[{i}]");
        let common = Common {
            destination_subnets: &condition.destination_subnets,
            port: condition.port,
            source_labels: &condition.source_labels,
        };
        common.check(report, at);
        let at = format_args!("{at}.gateways");
        report.errors_only(|report| gateways(report, at, &condition.gateways, false));
    }
    destinations(report, field, &route.route, scope);
}

/// What conditions on TLS and TCP connections have in common.
struct Common<'a> {
    destination_subnets: &'a [String],
    port: u32,
    source_labels: &'a BTreeMap<String, String>,
}

impl Common<'_> {
    fn check(&self, report: &mut Report<'_>, field: Arguments<'_>) {
        for (i, subnet) in self.destination_subnets.iter().enumerate() {
            report.require(
                values::is_ip_or_range(subnet),
                format_args!("{field}.destinationSubnets[{i}]"),
                format_args!("`{subnet}` is not an address or a range"),
            );
        }
        if self.port != 0 {
            values::port(report, format_args!("{field}.port"), self.port);
        }
        let at = format_args!("{field}.sourceLabels");
        values::label_map(report, at, self.source_labels);
    }
}

fn destinations(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    routes: &[RouteDestination],
    scope: Scope,
) {
    let at = format_args!("{field}.route");
    report.require(!routes.is_empty(), at, "at least one destination is needed");
    values::weights(report, at, routes.iter().map(|to| to.weight));
    for (i, to) in routes.iter().enumerate() {
        let at = format_args!("{field}.route[{i}].destination");
        values::route_destination(report, at, to.destination.as_ref(), scope.translated);
    }
}
