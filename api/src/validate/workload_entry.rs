//! Rules on WorkloadEntries, by themselves and as the endpoints of ServiceEntries.

use std::collections::HashSet;
use std::fmt::Arguments;

use super::report::{Key, Report};
use super::values;
use crate::host::{is_any_case_label, is_fqdn};
use crate::networking::WorkloadEntry;

/// What a socket's path stands behind.
const UNIX: &str = "unix://";

pub(super) fn check(report: &mut Report<'_>, spec: &WorkloadEntry) {
    entry(report, format_args!("spec"), spec, None);
}

/// An endpoint of a ServiceEntry with the resolution STATIC, whose ports have these names.
pub(super) fn static_endpoint(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    endpoint: &WorkloadEntry,
    names: &HashSet<&str>,
) {
    entry(report, field, endpoint, Some(names));
}

/// An endpoint of a ServiceEntry that is looked up by DNS.
pub(super) fn dns_endpoint(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    endpoint: &WorkloadEntry,
    names: &HashSet<&str>,
) {
    let address = endpoint.address.as_str();
    report.require(
        values::is_ip(address) || is_fqdn(address),
        format_args!("{field}.address"),
        format_args!("`{address}` is not an address or a full host name, which DNS endpoints have"),
    );
    ports_and_labels(report, field, endpoint, Some(names));
}

fn entry(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    entry: &WorkloadEntry,
    names: Option<&HashSet<&str>>,
) {
    let (at, address) = (format_args!("{field}.address"), entry.address.as_str());
    if address.is_empty() {
        if entry.network.is_empty() {
            return report.error(
                at,
                "an address is needed, or a network behind whose gateway the workload is",
            );
        }
        report.warning(
            at,
            format_args!(
                "without an address the workload is reached by the gateway of the network `{}` only",
                entry.network
            ),
        );
    } else if address.starts_with(UNIX) {
        socket(report, field, entry, names);
    } else {
        let known = values::is_ip(address) || (names.is_none() && is_fqdn(address));
        let host = if names.is_none() { ", a host name" } else { "" };
        report.require(
            known,
            at,
            format_args!("`{address}` is not an address{host} or a socket"),
        );
    }
    ports_and_labels(report, field, entry, names);
}

fn socket(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    entry: &WorkloadEntry,
    names: Option<&HashSet<&str>>,
) {
    let (at, address) = (format_args!("{field}.address"), &entry.address);
    report.require(
        values::is_unix(address),
        at,
        format_args!("`{address}` is not a socket: unix:// with an absolute path, or unix://@name"),
    );
    report.require(
        entry.ports.is_empty(),
        format_args!("{field}.ports"),
        "a socket has no ports: take them out",
    );
    report.require(
        names.is_none_or(|names| names.len() == 1),
        at,
        "a socket serves one port: the service must have exactly one",
    );
}

fn ports_and_labels(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    entry: &WorkloadEntry,
    names: Option<&HashSet<&str>>,
) {
    for (name, number) in &entry.ports {
        let at = format_args!("{field}.ports{}", Key(name));
        if !is_any_case_label(name) {
            report.error(at, format_args!("`{name}` is not a port's name"));
        } else if names.is_some_and(|names| !names.contains(name.as_str())) {
            report.error(
                at,
                format_args!("the service has no port of the name `{name}`"),
            );
        }
        values::port(report, at, *number);
    }
    values::label_map(report, format_args!("{field}.labels"), &entry.labels);
}
