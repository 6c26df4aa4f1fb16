//! Rules on the mesh's own settings. Extension providers are not among them: one that cannot be used is left out when it is needed.

use std::collections::HashSet;

use super::connection_pool::{connection_pool, outlier_detection};
use super::locality::{locality, zone_aware};
use super::report::Report;
use super::{Fault, http_actions, mesh_proxy_config, values};
use crate::host::{is_any_case_label, is_wildcard_domain};
use crate::mesh::{DefaultTrafficPolicy, MeshConfig};
use crate::networking::HttpRetry;
use crate::proto::Duration;

const MILLISECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600_000 * MILLISECOND;

/// Curves for TLS, by Envoy's names.
const CURVES: [&str; 7] = [
    "P-224",
    "P-256",
    "P-384",
    "P-521",
    "X25519",
    "X25519Kyber768Draft00",
    "X25519MLKEM768",
];

/// The faults of the mesh's settings; paths begin at the document's root.
#[must_use]
pub fn validate_mesh_config(mesh: &MeshConfig) -> Vec<Fault> {
    let mut report = Report::without_object();
    let report_to = &mut report;
    values::port(
        report_to,
        "proxyListenPort",
        port_number(mesh.proxy_listen_port),
    );
    timeouts(report_to, mesh);
    mesh_proxy_config::check(report_to, "defaultConfig", &mesh.default_config);
    if let Some(setting) = &mesh.locality_lb_setting {
        locality(report_to, "localityLbSetting", setting);
    }
    if let Some(setting) = &mesh.zone_aware_lb_setting {
        zone_aware(report_to, "zoneAwareLbSetting", setting);
    }
    for (i, settings) in mesh.service_settings.iter().enumerate() {
        for (j, host) in settings.hosts.iter().enumerate() {
            report_to.require(
                is_wildcard_domain(host),
                format_args!("serviceSettings[{i}].hosts[{j}]"),
                format_args!("`{host}` is not a host name or a wildcard"),
            );
        }
    }
    trust_domains(report_to, mesh);
    tls(report_to, mesh);
    if let Some(policy) = &mesh.default_traffic_policy {
        traffic_policy(report_to, policy);
    }
    if let Some(retries) = &mesh.default_inbound_http_retry_policy {
        inbound_retries(report_to, retries);
    }
    report.finish()
}

/// A port as a number that is checked like all others; negative ones are none.
pub(super) fn port_number(port: i32) -> u32 {
    u32::try_from(port).unwrap_or(0)
}

fn timeouts(report: &mut Report<'_>, mesh: &MeshConfig) {
    let timeout = mesh.connect_timeout.unwrap_or(Duration::ZERO);
    let fits =
        (MILLISECOND..=HOUR).contains(&timeout.as_nanos()) && timeout.as_nanos() % MILLISECOND == 0;
    report.require(
        fits,
        "connectTimeout",
        format_args!("{timeout} cannot be used: 1ms to 1h, in whole milliseconds, can"),
    );
    let timeout = mesh.protocol_detection_timeout.unwrap_or(Duration::ZERO);
    report.require(
        timeout.as_nanos() % MILLISECOND == 0,
        "protocolDetectionTimeout",
        format_args!("{timeout} is not in whole milliseconds"),
    );
}

fn trust_domains(report: &mut Report<'_>, mesh: &MeshConfig) {
    let message = "is not a trust domain: letters, digits and `-` with dots between are";
    report.require(
        is_trust_domain(&mesh.trust_domain),
        "trustDomain",
        format_args!("`{}` {message}", mesh.trust_domain),
    );
    for (i, alias) in mesh.trust_domain_aliases.iter().enumerate() {
        report.require(
            is_trust_domain(alias),
            format_args!("trustDomainAliases[{i}]"),
            format_args!("`{alias}` {message}"),
        );
    }
}

fn is_trust_domain(text: &str) -> bool {
    let name = match text.strip_suffix('.') {
        Some(name) if !name.is_empty() => name,
        _ => text,
    };
    name.split('.').all(is_any_case_label)
}

fn tls(report: &mut Report<'_>, mesh: &MeshConfig) {
    if let Some(tls) = &mesh.mesh_mtls {
        report.require(
            tls.ecdh_curves.is_empty(),
            "meshMTLS.ecdhCurves",
            "curves between workloads of the mesh are fixed: take them out, or set them in tlsDefaults",
        );
    }
    let Some(defaults) = &mesh.tls_defaults else {
        return;
    };
    let mut seen = HashSet::new();
    for (i, curve) in defaults.ecdh_curves.iter().enumerate() {
        let field = format_args!("tlsDefaults.ecdhCurves[{i}]");
        if !curve.is_empty() && !CURVES.contains(&curve.as_str()) {
            report.warning(
                field,
                format_args!("`{curve}` is not a known curve: {} are", CURVES.join(", ")),
            );
        } else if !seen.insert(curve) {
            report.warning(field, format_args!("`{curve}` is given twice"));
        }
    }
}

fn traffic_policy(report: &mut Report<'_>, policy: &DefaultTrafficPolicy) {
    if let Some(pool) = &policy.connection_pool {
        let mut pool = pool.clone();
        // Pings are not looked at here.
        if let Some(http) = &mut pool.http {
            http.http2_keep_alive = None;
        }
        connection_pool(report, "defaultTrafficPolicy.connectionPool", &pool);
    }
    if let Some(outlier) = &policy.outlier_detection {
        let mut outlier = outlier.clone();
        // Nor is the deprecated count.
        outlier.consecutive_errors = 0;
        outlier_detection(report, "defaultTrafficPolicy.outlierDetection", &outlier);
    }
}

fn inbound_retries(report: &mut Report<'_>, retries: &HttpRetry) {
    let field = "defaultInboundHttpRetryPolicy";
    http_actions::retry(report, format_args!("{field}"), retries);
    report.require(
        retries.attempts != 0 || retries.backoff.is_none(),
        format_args!("{field}.backoff"),
        "0 attempts turn retries off: take the backoff out, or set attempts",
    );
    for (name, given) in [
        ("perTryTimeout", retries.per_try_timeout.is_some()),
        (
            "retryRemoteLocalities",
            retries.retry_remote_localities.is_some(),
        ),
        (
            "retryIgnorePreviousHosts",
            retries.retry_ignore_previous_hosts.is_some(),
        ),
    ] {
        if given {
            report.warning(
                format_args!("{field}.{name}"),
                "does not count for inbound requests: attempts, retryOn and backoff do",
            );
        }
    }
}
