//! Rules on Sidecars.

use std::collections::{HashMap, HashSet};
use std::fmt::Arguments;

use super::connection_pool::connection_pool;
use super::report::Report;
use super::tls::server_tls;
use super::values;
use super::workload_selector::workload_selector;
use crate::host::{is_any_case_label, is_fqdn};
use crate::networking::{
    CaptureMode, Destination, EgressListener, IngressListener, OutboundTrafficPolicy,
    OutboundTrafficPolicyMode, ServerTlsMode, ServerTlsSettings, Sidecar, SidecarPort,
};
use crate::protocol::Protocol;

/// Where an application listens on its own machine.
const LOCAL_HOSTS: [&str; 5] = ["", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"];

pub(super) fn check(report: &mut Report<'_>, spec: &Sidecar) {
    if let Some(selector) = &spec.workload_selector
        && !workload_selector(report, "labels", &selector.labels)
    {
        return;
    }
    let empty = spec.ingress.is_empty()
        && spec.egress.is_empty()
        && spec.outbound_traffic_policy.is_none()
        && spec.inbound_connection_pool.is_none();
    report.require(
        !empty,
        "spec",
        "sets nothing: give ingress, egress, outboundTrafficPolicy or inboundConnectionPool",
    );
    let mut numbers = HashSet::new();
    for (i, listener) in spec.ingress.iter().enumerate() {
        let field = format_args!("spec.ingress[{i}]");
        ingress(report, field, listener);
        if let Some(port) = &listener.port {
            unique(report, field, &mut numbers, port.number);
        }
    }
    if let Some(pool) = &spec.inbound_connection_pool {
        connection_pool(report, "spec.inboundConnectionPool", pool);
    }
    egress_listeners(report, &spec.egress);
    if let Some(policy) = &spec.outbound_traffic_policy {
        outbound(report, format_args!("spec.outboundTrafficPolicy"), policy);
    }
}

fn unique(report: &mut Report<'_>, field: Arguments<'_>, numbers: &mut HashSet<u32>, number: u32) {
    report.require(
        numbers.insert(number),
        format_args!("{field}.port.number"),
        format_args!("another listener has the port {number} too"),
    );
}

fn port(report: &mut Report<'_>, field: Arguments<'_>, port: &SidecarPort) {
    report.require(
        port.name.is_empty() || is_any_case_label(&port.name),
        format_args!("{field}.name"),
        format_args!("`{}` is not a port's name", port.name),
    );
    values::protocol(
        report,
        format_args!("{field}.protocol"),
        &port.protocol,
        true,
    );
    report.require(
        port.target_port == 0,
        format_args!("{field}.targetPort"),
        "has no meaning in a Sidecar: take it out",
    );
}

fn address(report: &mut Report<'_>, field: Arguments<'_>, bind: &str) {
    report.require(
        bind.is_empty() || values::is_ip(bind),
        format_args!("{field}.bind"),
        format_args!("`{bind}` is not an address"),
    );
}

fn ingress(report: &mut Report<'_>, field: Arguments<'_>, listener: &IngressListener) {
    let Some(at_port) = &listener.port else {
        return report.error(format_args!("{field}.port"), "a port is needed");
    };
    port(report, format_args!("{field}.port"), at_port);
    values::port(report, format_args!("{field}.port.number"), at_port.number);
    address(report, field, &listener.bind);
    let endpoint = listener.default_endpoint.as_str();
    report.require(
        endpoint.is_empty() || values::is_unix(endpoint) || is_local_endpoint(endpoint),
        format_args!("{field}.defaultEndpoint"),
        format_args!("`{endpoint}` is not an endpoint of the workload: 127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port, :port, or unix:// and a path"),
    );
    let protocol = Protocol::parse(&at_port.protocol);
    if let Some(tls) = &listener.tls {
        ingress_tls(report, format_args!("{field}.tls"), tls, protocol);
    }
    if let Some(pool) = &listener.connection_pool {
        let at = format_args!("{field}.connectionPool");
        connection_pool(report, at, pool);
        if pool.http.is_some() && !protocol.is_http() {
            report.warning(
                format_args!("{at}.http"),
                format_args!(
                    "has no effect on a port of protocol `{}`: use tcp, or an HTTP protocol",
                    at_port.protocol
                ),
            );
        }
    }
}

fn is_local_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        LOCAL_HOSTS.contains(&host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn ingress_tls(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    tls: &ServerTlsSettings,
    protocol: Protocol,
) {
    report.require(
        protocol.is_tls(),
        field,
        "needs a port of protocol HTTPS or TLS",
    );
    let mesh = matches!(
        tls.mode,
        ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough
    );
    report.require(
        !mesh,
        format_args!("{field}.mode"),
        format_args!(
            "{} is for gateways: use SIMPLE, MUTUAL or OPTIONAL_MUTUAL",
            tls.mode
        ),
    );
    for (name, set) in [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ] {
        report.require(
            !set,
            format_args!("{field}.{name}"),
            "cannot be used in a Sidecar: take it out",
        );
    }
    server_tls(report, field, tls);
}

fn egress_listeners(report: &mut Report<'_>, listeners: &[EgressListener]) {
    let (mut numbers, mut sockets) = (HashSet::new(), HashSet::new());
    for (i, listener) in listeners.iter().enumerate() {
        let field = format_args!("spec.egress[{i}]");
        match &listener.port {
            None => report.require(
                i + 1 == listeners.len(),
                format_args!("{field}.port"),
                "only the last entry may be without a port",
            ),
            Some(at_port) => {
                port(report, format_args!("{field}.port"), at_port);
                if at_port.number == 0 {
                    socket(report, field, listener);
                    report.require(
                        sockets.insert(listener.bind.as_str()),
                        format_args!("{field}.bind"),
                        format_args!("another entry binds `{}` too", listener.bind),
                    );
                } else {
                    values::port(report, format_args!("{field}.port.number"), at_port.number);
                    address(report, field, &listener.bind);
                    unique(report, field, &mut numbers, at_port.number);
                }
            }
        }
        report.require(
            !listener.hosts.is_empty(),
            format_args!("{field}.hosts"),
            "at least one host is needed (`*/*` for all)",
        );
        egress_hosts(report, field, &listener.hosts);
    }
}

fn socket(report: &mut Report<'_>, field: Arguments<'_>, listener: &EgressListener) {
    report.require(
        values::is_unix(&listener.bind),
        format_args!("{field}.bind"),
        format_args!(
            "a port of 0 needs a socket, unix:// with an absolute path or unix://@name, not `{}`",
            listener.bind
        ),
    );
    report.require(
        listener.capture_mode != CaptureMode::Iptables,
        format_args!("{field}.captureMode"),
        "connections to a socket are not redirected: use NONE",
    );
}

fn egress_hosts(report: &mut Report<'_>, field: Arguments<'_>, hosts: &[String]) {
    let own = report.namespace();
    let mut seen: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (i, text) in hosts.iter().enumerate() {
        let at = format_args!("{field}.hosts[{i}]");
        report.require(
            is_scoped(text),
            at,
            format_args!(
                "`{text}` is not of the form namespace/host, such as `./*` or `shop/*.example.com`"
            ),
        );
        let Some((namespace, host)) = text.split_once('/') else {
            continue;
        };
        if namespace.starts_with('~') {
            continue;
        }
        let namespace = if namespace == "." { own } else { namespace };
        let known = seen.entry(namespace).or_default();
        let idle = match host {
            "*" => !known.is_empty(),
            host => known.contains("*") || known.contains(host),
        };
        if idle {
            report.warning(
                at,
                format_args!(
                    "`{text}` and an earlier host of the namespace cover each other: keep one"
                ),
            );
        }
        known.insert(host);
    }
    if seen.len() > 1 && seen.get("*").is_some_and(|hosts| hosts.contains("*")) {
        report.warning(
            format_args!("{field}.hosts"),
            "`*/*` covers everything: take the hosts of other namespaces out",
        );
    }
}

/// `namespace/host`, perhaps with a `~` that leaves the hosts out.
fn is_scoped(text: &str) -> bool {
    text.split_once('/').is_some_and(|(namespace, host)| {
        let scope = match namespace.strip_prefix('~').unwrap_or(namespace) {
            "*" | "." => true,
            "" => namespace == "~",
            name => is_any_case_label(name),
        };
        scope && values::scoped_host(host)
    })
}

fn outbound(report: &mut Report<'_>, field: Arguments<'_>, policy: &OutboundTrafficPolicy) {
    report.require(
        policy.mode != OutboundTrafficPolicyMode::AllowAnyDynamicDns,
        format_args!("{field}.mode"),
        "ALLOW_ANY_DYNAMIC_DNS can be set for the whole mesh only",
    );
    let Some(proxy) = &policy.egress_proxy else {
        return;
    };
    let at = format_args!("{field}.egressProxy");
    if policy.mode == OutboundTrafficPolicyMode::AllowAny {
        egress_proxy(report, at, proxy);
    } else {
        report.error(at, "counts only with the mode ALLOW_ANY: set it");
    }
}

fn egress_proxy(report: &mut Report<'_>, field: Arguments<'_>, proxy: &Destination) {
    report.require(
        is_fqdn(&proxy.host),
        format_args!("{field}.host"),
        format_args!("`{}` is not a full host name", proxy.host),
    );
    report.require(
        proxy.subset.is_empty() || is_any_case_label(&proxy.subset),
        format_args!("{field}.subset"),
        format_args!("`{}` is not a subset's name", proxy.subset),
    );
    match &proxy.port {
        Some(port) => values::port(report, format_args!("{field}.port.number"), port.number),
        None => report.error(format_args!("{field}.port"), "a port is needed"),
    }
}
