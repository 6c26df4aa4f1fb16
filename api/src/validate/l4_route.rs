//! Rules on TLS and TCP routes.

use super::report::Report;
use super::scope::gateways;
use super::values;
use crate::host::{is_any_case_label, is_subset_of, is_wildcard_domain};
use crate::networking::{
    L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
};

pub(super) fn check_tls(report: &mut Report<'_>, field: &str, route: &TlsRoute, hosts: &[String]) {
    report.require(
        !route.r#match.is_empty(),
        &format!("{field}.match"),
        "a TLS route needs a match with sniHosts",
    );
    for (i, condition) in route.r#match.iter().enumerate() {
        tls_match(report, &format!("{field}.match[{i}]"), condition, hosts);
    }
    destinations(report, field, &route.route);
}

fn tls_match(
    report: &mut Report<'_>,
    field: &str,
    condition: &TlsMatchAttributes,
    hosts: &[String],
) {
    report.require(
        !condition.sni_hosts.is_empty(),
        &format!("{field}.sniHosts"),
        "at least one server name is needed",
    );
    for (i, sni) in condition.sni_hosts.iter().enumerate() {
        let at = format!("{field}.sniHosts[{i}]");
        if sni.starts_with("outbound_.") {
            continue;
        }
        if values::is_ip(sni) {
            report.warning(
                &at,
                "clients send no addresses as server names, so this never matches",
            );
        } else if !is_wildcard_domain(sni) {
            report.error(
                &at,
                format_args!("`{sni}` is not a server name or a wildcard"),
            );
        } else if !hosts.iter().any(|host| is_subset_of(sni, host)) {
            report.error(
                &at,
                format_args!("`{sni}` is not among the hosts of the VirtualService"),
            );
        }
    }
    let common = L4MatchAttributes {
        destination_subnets: condition.destination_subnets.clone(),
        port: condition.port,
        source_subnet: String::new(),
        source_labels: condition.source_labels.clone(),
        gateways: condition.gateways.clone(),
        source_namespace: condition.source_namespace.clone(),
    };
    l4_match(report, field, &common);
}

pub(super) fn check_tcp(report: &mut Report<'_>, field: &str, route: &TcpRoute) {
    for (i, condition) in route.r#match.iter().enumerate() {
        l4_match(report, &format!("{field}.match[{i}]"), condition);
    }
    destinations(report, field, &route.route);
}

fn l4_match(report: &mut Report<'_>, field: &str, condition: &L4MatchAttributes) {
    for (i, subnet) in condition.destination_subnets.iter().enumerate() {
        let at = format!("{field}.destinationSubnets[{i}]");
        report.require(
            values::is_ip_or_range(subnet),
            &at,
            format_args!("`{subnet}` is not an address or a range"),
        );
    }
    let subnet = &condition.source_subnet;
    let fits = subnet.is_empty() || values::is_ip_or_range(subnet);
    report.require(
        fits,
        &format!("{field}.sourceSubnet"),
        format_args!("`{subnet}` is not an address or a range"),
    );
    if condition.port != 0 {
        values::port(report, &format!("{field}.port"), condition.port);
    }
    values::label_map(
        report,
        &format!("{field}.sourceLabels"),
        &condition.source_labels,
    );
    gateways(report, &format!("{field}.gateways"), &condition.gateways);
    let namespace = &condition.source_namespace;
    let fits = namespace.is_empty() || is_any_case_label(namespace);
    report.require(
        fits,
        &format!("{field}.sourceNamespace"),
        format_args!("`{namespace}` is not a namespace"),
    );
}

fn destinations(report: &mut Report<'_>, field: &str, routes: &[RouteDestination]) {
    report.require(
        !routes.is_empty(),
        &format!("{field}.route"),
        "at least one destination is needed",
    );
    let weights: Vec<i32> = routes.iter().map(|to| to.weight).collect();
    values::weights(report, &format!("{field}.route"), &weights);
    for (i, to) in routes.iter().enumerate() {
        values::destination(
            report,
            &format!("{field}.route[{i}].destination"),
            to.destination.as_ref(),
        );
    }
}
