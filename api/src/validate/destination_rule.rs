//! Rules on DestinationRules.

use std::collections::HashSet;
use std::fmt::Arguments;

use super::client_tls::client_tls;
use super::connection_pool::{connection_pool, outlier_detection};
use super::load_balancer::load_balancer;
use super::report::Report;
use super::values;
use super::workload_selector::workload_selector;
use crate::host::{is_any_case_label, is_fqdn, is_wildcard_domain};
use crate::networking::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings,
    OutlierDetection, PortTrafficPolicy, Subset, TrafficPolicy, TunnelSettings,
};

pub(super) fn check(report: &mut Report<'_>, spec: &DestinationRule) {
    report.require(
        is_wildcard_domain(&spec.host),
        "spec.host",
        format_args!("`{}` is not a host name or a wildcard", spec.host),
    );
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(report, format_args!("spec.trafficPolicy"), policy);
    }
    // A subset's warnings never reach the user.
    report.errors_only(|report| subsets(report, &spec.subsets));
    values::export_to(report, &spec.export_to, false);
    if let Some(selector) = &spec.workload_selector {
        own_namespace_only(report, &spec.export_to);
        workload_selector(report, "matchLabels", &selector.match_labels);
    }
}

/// What counts for some workloads only cannot be seen beyond their namespace.
fn own_namespace_only(report: &mut Report<'_>, namespaces: &[String]) {
    let own = report.namespace();
    let other = |name: &String| name != "." && name != own;
    if let Some(i) = namespaces.iter().position(other) {
        report.error(
            format_args!("spec.exportTo[{i}]"),
            "with a workloadSelector the object counts in its own namespace: leave exportTo out or write `.`",
        );
    }
}

fn subsets(report: &mut Report<'_>, subsets: &[Subset]) {
    let mut names = HashSet::with_capacity(subsets.len());
    for (i, subset) in subsets.iter().enumerate() {
        let field = format_args!("spec.subsets[{i}]");
        let (at, name) = (format_args!("{field}.name"), subset.name.as_str());
        if !is_any_case_label(name) {
            report.error(
                at,
                format_args!(
                    "`{name}` is not a subset's name: letters, digits and `-`, at most 63, are"
                ),
            );
        } else if !names.insert(name) {
            report.error(at, format_args!("the subset `{name}` is given twice"));
        }
        values::label_map(report, format_args!("{field}.labels"), &subset.labels);
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(report, format_args!("{field}.trafficPolicy"), policy);
        }
    }
}

fn traffic_policy(report: &mut Report<'_>, field: Arguments<'_>, policy: &TrafficPolicy) {
    let settings = Settings::from(policy);
    let empty = settings.is_empty()
        && policy.port_level_settings.is_empty()
        && policy.tunnel.is_none()
        && policy.proxy_protocol.is_none()
        && policy.retry_budget.is_none();
    report.require(
        !empty,
        field,
        "sets nothing: give at least one of its settings, or take it out",
    );
    settings.check(report, field);
    // Likewise the warnings of single ports.
    report.errors_only(|report| {
        for (i, port) in policy.port_level_settings.iter().enumerate() {
            port_policy(report, format_args!("{field}.portLevelSettings[{i}]"), port);
        }
    });
    if let Some(settings) = &policy.tunnel {
        let at = format_args!("{field}.tunnel");
        report.require(
            policy.proxy_protocol.is_none(),
            at,
            "excludes proxyProtocol: keep one of them",
        );
        tunnel(report, at, settings);
    }
}

fn port_policy(report: &mut Report<'_>, field: Arguments<'_>, policy: &PortTrafficPolicy) {
    report.require(
        policy.port.is_some(),
        format_args!("{field}.port"),
        "say for which port the settings are",
    );
    let settings = Settings::from(policy);
    report.require(
        !settings.is_empty(),
        field,
        "sets nothing: give loadBalancer, connectionPool, outlierDetection or tls",
    );
    settings.check(report, field);
}

fn tunnel(report: &mut Report<'_>, field: Arguments<'_>, tunnel: &TunnelSettings) {
    let (protocol, host) = (tunnel.protocol.as_str(), tunnel.target_host.as_str());
    report.require(
        ["", "CONNECT", "POST"].contains(&protocol),
        format_args!("{field}.protocol"),
        format_args!("`{protocol}` does not make a tunnel: CONNECT and POST do"),
    );
    report.require(
        is_fqdn(host) || values::is_ip(host),
        format_args!("{field}.targetHost"),
        format_args!("`{host}` is not a full host name or an address"),
    );
    values::port(
        report,
        format_args!("{field}.targetPort"),
        tunnel.target_port,
    );
}

/// What a policy and the settings of one port have in common.
struct Settings<'a> {
    load_balancer: Option<&'a LoadBalancerSettings>,
    connection_pool: Option<&'a ConnectionPoolSettings>,
    outlier_detection: Option<&'a OutlierDetection>,
    tls: Option<&'a ClientTlsSettings>,
}

impl<'a> From<&'a TrafficPolicy> for Settings<'a> {
    fn from(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        }
    }
}

impl<'a> From<&'a PortTrafficPolicy> for Settings<'a> {
    fn from(policy: &'a PortTrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
        }
    }
}

impl Settings<'_> {
    fn is_empty(&self) -> bool {
        self.load_balancer.is_none()
            && self.connection_pool.is_none()
            && self.outlier_detection.is_none()
            && self.tls.is_none()
    }

    fn check(&self, report: &mut Report<'_>, field: Arguments<'_>) {
        if let Some(balancer) = self.load_balancer {
            let outlier = self.outlier_detection.is_some();
            load_balancer(
                report,
                format_args!("{field}.loadBalancer"),
                balancer,
                outlier,
            );
        }
        if let Some(pool) = self.connection_pool {
            connection_pool(report, format_args!("{field}.connectionPool"), pool);
        }
        if let Some(outlier) = self.outlier_detection {
            outlier_detection(report, format_args!("{field}.outlierDetection"), outlier);
        }
        if let Some(tls) = self.tls {
            client_tls(report, format_args!("{field}.tls"), tls);
        }
    }
}
