//! Rules on Sidecars.

use std::collections::HashSet;

use super::destination_rule::connection_pool;
use super::report::Report;
use super::{tls, values};
use crate::host::is_any_case_label;
use crate::networking::{
    EgressListener, IngressListener, OutboundTrafficPolicy, OutboundTrafficPolicyMode, Sidecar,
    SidecarPort,
};

pub(super) fn check(report: &mut Report<'_>, spec: &Sidecar) {
    let empty = spec.ingress.is_empty()
        && spec.egress.is_empty()
        && spec.outbound_traffic_policy.is_none()
        && spec.inbound_connection_pool.is_none();
    report.require(
        !empty,
        "spec",
        "one of ingress, egress, outboundTrafficPolicy and inboundConnectionPool is needed",
    );
    if let Some(selector) = &spec.workload_selector {
        values::selector(report, "spec.workloadSelector.labels", &selector.labels);
    }
    let mut numbers = HashSet::new();
    for (i, listener) in spec.ingress.iter().enumerate() {
        let field = format!("spec.ingress[{i}]");
        ingress(report, &field, listener);
        if let Some(port) = listener.port.as_ref() {
            let new = numbers.insert(port.number);
            report.require(
                new,
                &format!("{field}.port.number"),
                format_args!("the port {} is given twice", port.number),
            );
        }
    }
    for (i, listener) in spec.egress.iter().enumerate() {
        let last = i + 1 == spec.egress.len();
        egress(report, &format!("spec.egress[{i}]"), listener, last);
    }
    if let Some(pool) = &spec.inbound_connection_pool {
        connection_pool(report, "spec.inboundConnectionPool", pool);
    }
    if let Some(policy) = &spec.outbound_traffic_policy {
        outbound(report, policy);
    }
}

fn port(report: &mut Report<'_>, field: &str, port: &SidecarPort) {
    let named = port.name.is_empty() || is_any_case_label(&port.name);
    report.require(
        named,
        &format!("{field}.name"),
        format_args!("`{}` is not a port's name", port.name),
    );
    values::protocol(report, &format!("{field}.protocol"), &port.protocol, true);
    report.require(
        port.target_port == 0,
        &format!("{field}.targetPort"),
        "has no meaning in a Sidecar: take it out",
    );
}

fn ingress(report: &mut Report<'_>, field: &str, listener: &IngressListener) {
    let Some(at_port) = &listener.port else {
        return report.error(&format!("{field}.port"), "a port is needed");
    };
    port(report, &format!("{field}.port"), at_port);
    values::port(report, &format!("{field}.port.number"), at_port.number);
    let bind = &listener.bind;
    report.require(
        bind.is_empty() || values::is_ip(bind),
        &format!("{field}.bind"),
        format_args!("`{bind}` is not an address"),
    );
    let endpoint = &listener.default_endpoint;
    let fits = endpoint.is_empty() || values::is_unix(endpoint) || is_local_endpoint(endpoint);
    let rule = "127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port or unix:// and a path";
    report.require(
        fits,
        &format!("{field}.defaultEndpoint"),
        format_args!("`{endpoint}` is not one of {rule}"),
    );
    if listener.tls.is_some() {
        let protocol = crate::protocol::Protocol::parse(&at_port.protocol);
        tls::server(
            report,
            &format!("{field}.tls"),
            listener.tls.as_ref(),
            protocol,
        );
    }
    if let Some(pool) = &listener.connection_pool {
        connection_pool(report, &format!("{field}.connectionPool"), pool);
    }
}

fn is_local_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"].contains(&host)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn egress(report: &mut Report<'_>, field: &str, listener: &EgressListener, last: bool) {
    report.require(
        !listener.hosts.is_empty(),
        &format!("{field}.hosts"),
        "at least one host is needed",
    );
    for (i, host) in listener.hosts.iter().enumerate() {
        let at = format!("{field}.hosts[{i}]");
        let fits = host.split_once('/').is_some_and(|(namespace, name)| {
            let plain = namespace.strip_prefix('~').unwrap_or(namespace);
            let scope = ["*", "."].contains(&plain) || is_any_case_label(plain) || namespace == "~";
            scope && values::scoped_host(name)
        });
        report.require(
            fits,
            &at,
            format_args!(
                "`{host}` is not of the form namespace/host, such as `./*` or `shop/*.example.com`"
            ),
        );
    }
    match &listener.port {
        None => report.require(
            last,
            &format!("{field}.port"),
            "only the last entry may have no port",
        ),
        Some(at_port) => {
            port(report, &format!("{field}.port"), at_port);
            if at_port.number == 0 {
                report.require(
                    values::is_unix(&listener.bind),
                    &format!("{field}.bind"),
                    "a port of 0 needs a socket to bind",
                );
            } else {
                values::port(report, &format!("{field}.port.number"), at_port.number);
                let bind = &listener.bind;
                let fits = bind.is_empty() || values::is_ip(bind);
                report.require(
                    fits,
                    &format!("{field}.bind"),
                    format_args!("`{bind}` is not an address"),
                );
            }
        }
    }
}

fn outbound(report: &mut Report<'_>, policy: &OutboundTrafficPolicy) {
    let field = "spec.outboundTrafficPolicy";
    let dynamic = policy.mode == OutboundTrafficPolicyMode::AllowAnyDynamicDns;
    report.require(
        !dynamic,
        &format!("{field}.mode"),
        "ALLOW_ANY_DYNAMIC_DNS can be set for the mesh only",
    );
    if policy.egress_proxy.is_some() {
        let allowed = policy.mode == OutboundTrafficPolicyMode::AllowAny;
        report.require(
            allowed,
            &format!("{field}.egressProxy"),
            "needs the mode ALLOW_ANY",
        );
        values::destination(
            report,
            &format!("{field}.egressProxy"),
            policy.egress_proxy.as_ref(),
        );
    }
}
