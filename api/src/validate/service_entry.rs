//! Rules on ServiceEntries.

use std::collections::HashSet;

use super::report::Report;
use super::workload_selector::workload_selector;
use super::{values, workload_entry};
use crate::host::{is_any_case_label, is_fqdn, is_wildcard, is_wildcard_domain};
use crate::labels::label;
use crate::networking::{
    ServiceEntry, ServiceEntryLocation, ServiceEntryResolution as Resolution, ServicePort,
};
use crate::protocol::Protocol;

pub(super) fn check(report: &mut Report<'_>, spec: &ServiceEntry) {
    if let Some(selector) = &spec.workload_selector {
        if !workload_selector(report, "labels", &selector.labels) {
            return;
        }
        report.require(
            spec.endpoints.is_empty(),
            "spec.endpoints",
            "workloadSelector says what the endpoints are: keep one of the two",
        );
    }
    hosts(report, spec);
    addresses(report, spec);
    ports(report, spec);
    let names: HashSet<&str> = spec.ports.iter().map(|port| port.name.as_str()).collect();
    match spec.resolution {
        Resolution::None => unresolved(report, spec),
        Resolution::Static => {
            for (i, endpoint) in spec.endpoints.iter().enumerate() {
                let at = format_args!("spec.endpoints[{i}]");
                workload_entry::static_endpoint(report, at, endpoint, &names);
            }
        }
        Resolution::Dns | Resolution::DnsRoundRobin => dns(report, spec, &names),
        Resolution::DynamicDns => dynamic_dns(report, spec),
    }
    let told_apart = spec.hosts.len() < 2
        || spec.resolution == Resolution::None
        || spec
            .ports
            .iter()
            .map(protocol)
            .all(|protocol| protocol.is_http() || protocol.is_tls());
    report.require(
        told_apart,
        "spec.hosts",
        "several hosts are told apart in HTTP and TLS only: use one ServiceEntry for each host, or change the ports' protocol",
    );
    values::export_to(report, &spec.export_to, true);
}

fn protocol(port: &ServicePort) -> Protocol {
    Protocol::parse(&port.protocol)
}

fn hosts(report: &mut Report<'_>, spec: &ServiceEntry) {
    report.require(
        !spec.hosts.is_empty(),
        "spec.hosts",
        "at least one host is needed",
    );
    for (i, host) in spec.hosts.iter().enumerate() {
        let at = format_args!("spec.hosts[{i}]");
        if host == "*" || !is_wildcard_domain(host) {
            report.error(
                at,
                format_args!("`{host}` is not a host name or a wildcard such as `*.example.com`"),
            );
        } else if is_wildcard(host)
            && !host.starts_with("*.")
            && spec.resolution != Resolution::DynamicDns
        {
            report.warning(
                at,
                format_args!("`{host}` is a wildcard within a label: make it `*.` and a domain"),
            );
        }
    }
}

fn addresses(report: &mut Report<'_>, spec: &ServiceEntry) {
    let ranges = matches!(spec.resolution, Resolution::None | Resolution::Static);
    for (i, address) in spec.addresses.iter().enumerate() {
        let at = format_args!("spec.addresses[{i}]");
        if !values::is_ip_or_range(address) {
            report.error(at, format_args!("`{address}` is not an address or a range"));
        }
        report.require(
            ranges || !address.contains('/'),
            at,
            format_args!(
                "a range goes with the resolutions NONE and STATIC, not {}",
                spec.resolution
            ),
        );
    }
}

fn ports(report: &mut Report<'_>, spec: &ServiceEntry) {
    let everywhere = spec.addresses.is_empty() && !allocates(report, spec);
    let mut names = HashSet::with_capacity(spec.ports.len());
    let mut numbers = HashSet::with_capacity(spec.ports.len());
    for (i, port) in spec.ports.iter().enumerate() {
        let field = format_args!("spec.ports[{i}]");
        let (at, name) = (format_args!("{field}.name"), port.name.as_str());
        if !is_any_case_label(name) {
            report.error(
                at,
                format_args!(
                    "`{name}` is not a port's name: letters, digits and `-`, at most 63, are"
                ),
            );
        } else if !names.insert(name) {
            report.error(at, format_args!("the name `{name}` is given twice"));
        }
        let at = format_args!("{field}.number");
        values::port(report, at, port.number);
        report.require(
            numbers.insert(port.number),
            at,
            format_args!("the port {} is given twice", port.number),
        );
        if port.target_port != 0 {
            values::port(report, format_args!("{field}.targetPort"), port.target_port);
        }
        let at = format_args!("{field}.protocol");
        values::protocol(report, at, &port.protocol, true);
        if everywhere && ["", "TCP"].contains(&port.protocol.as_str()) {
            report.warning(
                at,
                format_args!(
                    "without addresses the port {} takes TCP to every address: list addresses",
                    port.number
                ),
            );
        }
    }
}

/// Whether the control plane gives the service addresses of its own when it lists none.
fn allocates(report: &Report<'_>, spec: &ServiceEntry) -> bool {
    let label = report.object().meta.labels.get(label::AUTO_ALLOCATE_IP);
    spec.resolution != Resolution::None
        && !label.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

fn unresolved(report: &mut Report<'_>, spec: &ServiceEntry) {
    report.require(
        spec.endpoints.is_empty(),
        "spec.endpoints",
        "with the resolution NONE traffic goes where the client sent it: use STATIC or DNS for endpoints",
    );
    if spec.workload_selector.is_some() {
        report.warning(
            "spec.workloadSelector",
            "has no effect with the resolution NONE: use STATIC or DNS",
        );
    }
}

fn dns(report: &mut Report<'_>, spec: &ServiceEntry, names: &HashSet<&str>) {
    if spec.endpoints.is_empty() {
        for (i, host) in spec.hosts.iter().enumerate() {
            report.require(
                is_fqdn(host),
                format_args!("spec.hosts[{i}]"),
                format_args!("`{host}` cannot be looked up: list endpoints, or use another resolution than {}", spec.resolution),
            );
        }
    }
    report.require(
        spec.resolution != Resolution::DnsRoundRobin || spec.endpoints.len() < 2,
        "spec.endpoints",
        "DNS_ROUND_ROBIN takes one endpoint at most: use DNS for several",
    );
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        let at = format_args!("spec.endpoints[{i}]");
        workload_entry::dns_endpoint(report, at, endpoint, names);
    }
    let tcp = spec.ports.iter().any(|port| protocol(port).is_tcp());
    if tcp && !spec.addresses.is_empty() && spec.hosts.len() > 1 {
        report.warning(
            "spec.hosts",
            "on a TCP port the addresses stand for one host only: use one ServiceEntry for each host",
        );
    }
}

fn dynamic_dns(report: &mut Report<'_>, spec: &ServiceEntry) {
    for (i, host) in spec.hosts.iter().enumerate() {
        report.require(
            is_wildcard(host),
            format_args!("spec.hosts[{i}]"),
            format_args!("`{host}` is no wildcard, which DYNAMIC_DNS needs: use DNS"),
        );
    }
    for (name, empty) in [
        ("addresses", spec.addresses.is_empty()),
        ("endpoints", spec.endpoints.is_empty()),
    ] {
        report.require(
            empty,
            format_args!("spec.{name}"),
            "DYNAMIC_DNS looks up the name of each request: take this out",
        );
    }
    for (i, port) in spec.ports.iter().enumerate() {
        let fits = matches!(
            protocol(port),
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls
        );
        report.require(
            fits,
            format_args!("spec.ports[{i}].protocol"),
            format_args!(
                "`{}` names no host in each request: DYNAMIC_DNS takes HTTP, HTTP2, GRPC and TLS",
                port.protocol
            ),
        );
    }
    let waypoint = report.object().meta.labels.get(label::USE_WAYPOINT);
    let guarded = waypoint.is_some_and(|name| !["", "none"].contains(&name.as_str()));
    report.require(
        !guarded || spec.location != ServiceEntryLocation::MeshInternal,
        "spec.location",
        "a MESH_INTERNAL service with DYNAMIC_DNS cannot have a waypoint: use MESH_EXTERNAL, or take the label istio.io/use-waypoint off",
    );
}
