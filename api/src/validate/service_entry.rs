//! Rules on ServiceEntries and WorkloadEntries.

use std::collections::HashSet;

use super::report::Report;
use super::values;
use crate::host::{is_any_case_label, is_fqdn, is_wildcard, is_wildcard_domain};
use crate::networking::{ServiceEntry, ServiceEntryResolution as Resolution, WorkloadEntry};

pub(super) fn check(report: &mut Report<'_>, spec: &ServiceEntry) {
    report.require(
        !spec.hosts.is_empty(),
        "spec.hosts",
        "at least one host is needed",
    );
    for (i, host) in spec.hosts.iter().enumerate() {
        let fits = host != "*" && is_wildcard_domain(host);
        report.require(
            fits,
            &format!("spec.hosts[{i}]"),
            format_args!("`{host}` is not a host name or a wildcard of a domain"),
        );
    }
    addresses(report, spec);
    ports(report, spec);
    resolution(report, spec);
    values::export_to(report, &spec.export_to, true);
    if let Some(selector) = &spec.workload_selector {
        values::selector(report, "spec.workloadSelector.labels", &selector.labels);
        report.require(
            spec.endpoints.is_empty(),
            "spec.endpoints",
            "only one of workloadSelector and endpoints may be set",
        );
    }
}

fn addresses(report: &mut Report<'_>, spec: &ServiceEntry) {
    for (i, address) in spec.addresses.iter().enumerate() {
        let field = format!("spec.addresses[{i}]");
        report.require(
            values::is_ip_or_range(address),
            &field,
            format_args!("`{address}` is not an address or a range"),
        );
        let range = address.contains('/');
        let fits = !range || matches!(spec.resolution, Resolution::None | Resolution::Static);
        report.require(fits, &field, "a range needs the resolution NONE or STATIC");
    }
}

fn ports(report: &mut Report<'_>, spec: &ServiceEntry) {
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (i, port) in spec.ports.iter().enumerate() {
        let field = format!("spec.ports[{i}]");
        let name = port.name.as_str();
        report.require(
            is_any_case_label(name),
            &format!("{field}.name"),
            format_args!("`{name}` is not a port's name"),
        );
        report.require(
            names.insert(name),
            &format!("{field}.name"),
            format_args!("the name `{name}` is given twice"),
        );
        values::port(report, &format!("{field}.number"), port.number);
        let new = numbers.insert(port.number);
        report.require(
            new,
            &format!("{field}.number"),
            format_args!("the port {} is given twice", port.number),
        );
        if port.target_port != 0 {
            values::port(report, &format!("{field}.targetPort"), port.target_port);
        }
        values::protocol(report, &format!("{field}.protocol"), &port.protocol, true);
    }
}

fn resolution(report: &mut Report<'_>, spec: &ServiceEntry) {
    let field = "spec.endpoints";
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        let at = format!("{field}[{i}]");
        let unix = values::is_unix(&endpoint.address);
        let fits = match spec.resolution {
            Resolution::Static => {
                values::is_ip(&endpoint.address)
                    || unix
                    || (endpoint.address.is_empty() && !endpoint.network.is_empty())
            }
            Resolution::Dns | Resolution::DnsRoundRobin => {
                values::is_ip(&endpoint.address) || is_fqdn(&endpoint.address)
            }
            Resolution::None | Resolution::DynamicDns => true,
        };
        let address = &endpoint.address;
        report.require(
            fits,
            &format!("{at}.address"),
            format_args!(
                "`{address}` is not an address that {} takes",
                spec.resolution
            ),
        );
        endpoint_ports(report, &at, endpoint, spec);
        report.require(
            !(unix && spec.ports.len() > 1),
            &format!("{at}.address"),
            "a socket serves one port only",
        );
    }
    match spec.resolution {
        Resolution::None | Resolution::DynamicDns => {
            report.require(
                spec.endpoints.is_empty(),
                field,
                format_args!("{} has no endpoints", spec.resolution),
            );
        }
        Resolution::Dns | Resolution::DnsRoundRobin if spec.endpoints.is_empty() => {
            for (i, host) in spec
                .hosts
                .iter()
                .enumerate()
                .filter(|(_, host)| is_wildcard(host))
            {
                let message =
                    format_args!("`{host}` cannot be looked up: name the endpoints, or use NONE");
                report.error(&format!("spec.hosts[{i}]"), message);
            }
        }
        _ => {}
    }
    if spec.resolution == Resolution::DnsRoundRobin {
        report.require(
            spec.endpoints.len() < 2,
            field,
            "DNS_ROUND_ROBIN takes one endpoint at most",
        );
    }
    if spec.resolution == Resolution::DynamicDns {
        let wild = spec.hosts.iter().all(|host| is_wildcard(host));
        report.require(
            wild && spec.addresses.is_empty(),
            "spec.resolution",
            "DYNAMIC_DNS needs wildcard hosts and no addresses",
        );
    }
}

fn endpoint_ports(
    report: &mut Report<'_>,
    field: &str,
    endpoint: &WorkloadEntry,
    spec: &ServiceEntry,
) {
    for (name, number) in &endpoint.ports {
        let at = format!("{field}.ports{}", crate::yaml::key_step(name));
        let known = spec.ports.iter().any(|port| port.name == *name);
        report.require(
            known,
            &at,
            format_args!("the ServiceEntry has no port of the name `{name}`"),
        );
        values::port(report, &at, *number);
    }
    values::label_map(report, &format!("{field}.labels"), &endpoint.labels);
}

pub(super) fn check_workload_entry(report: &mut Report<'_>, spec: &WorkloadEntry) {
    let address = spec.address.as_str();
    if address.is_empty() {
        report.require(
            !spec.network.is_empty(),
            "spec.address",
            "an address is needed",
        );
    } else {
        let fits = values::is_ip(address) || is_fqdn(address) || values::is_unix(address);
        report.require(
            fits,
            "spec.address",
            format_args!("`{address}` is not an address, a host name or a socket"),
        );
    }
    for (name, number) in &spec.ports {
        let at = format!("spec.ports{}", crate::yaml::key_step(name));
        report.require(
            is_any_case_label(name),
            &at,
            format_args!("`{name}` is not a port's name"),
        );
        values::port(report, &at, *number);
    }
    values::label_map(report, "spec.labels", &spec.labels);
}
