//! Rules on limits and times of connections, and on the removal of failing endpoints.

use std::fmt::{Arguments, Display};

use super::report::Report;
use super::values;
use crate::networking::{
    ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, OutlierDetection, TcpSettings,
};

/// Limits and times of connections.
pub(super) fn connection_pool(
    report: &mut Report<'_>,
    field: impl Display,
    pool: &ConnectionPoolSettings,
) {
    report.require(
        pool.tcp.is_some() || pool.http.is_some(),
        &field,
        "sets nothing: give tcp or http, or take it out",
    );
    if let Some(http) = &pool.http {
        http_pool(report, format_args!("{field}.http"), http);
    }
    if let Some(tcp) = &pool.tcp {
        tcp_pool(report, format_args!("{field}.tcp"), tcp);
    }
}

fn tcp_pool(report: &mut Report<'_>, field: Arguments<'_>, tcp: &TcpSettings) {
    values::not_negative(
        report,
        format_args!("{field}.maxConnections"),
        tcp.max_connections,
    );
    // An idle timeout below a millisecond turns the timeout off.
    let idle = tcp.idle_timeout.filter(|idle| idle.as_millis() >= 1);
    for (name, duration) in [
        ("connectTimeout", tcp.connect_timeout),
        ("maxConnectionDuration", tcp.max_connection_duration),
        ("idleTimeout", idle),
    ] {
        values::duration(report, format_args!("{field}.{name}"), duration);
    }
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let at = format_args!("{field}.tcpKeepalive");
        values::duration(report, format_args!("{at}.time"), keepalive.time);
        values::duration(report, format_args!("{at}.interval"), keepalive.interval);
    }
}

fn http_pool(report: &mut Report<'_>, field: Arguments<'_>, http: &HttpSettings) {
    for (name, number) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        values::not_negative(report, format_args!("{field}.{name}"), number);
    }
    values::duration(
        report,
        format_args!("{field}.idleTimeout"),
        http.idle_timeout,
    );
    let both = http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade;
    report.require(
        !both,
        format_args!("{field}.useClientProtocol"),
        "contradicts h2UpgradePolicy UPGRADE: keep one of them",
    );
    if let Some(keep_alive) = &http.http2_keep_alive {
        let at = format_args!("{field}.http2KeepAlive");
        for (name, duration) in [
            ("interval", keep_alive.interval),
            ("timeout", keep_alive.timeout),
        ] {
            let at = format_args!("{at}.{name}");
            report.require(
                duration.is_some(),
                at,
                "is needed: pings have an interval and a timeout",
            );
            values::duration(report, at, duration);
        }
    }
}

/// When an endpoint is left out for a while.
pub(super) fn outlier_detection(
    report: &mut Report<'_>,
    field: impl Display,
    outlier: &OutlierDetection,
) {
    if outlier.consecutive_errors != 0 {
        report.warning(
            format_args!("{field}.consecutiveErrors"),
            "is deprecated: use consecutive5xxErrors or consecutiveGatewayErrors",
        );
    }
    let local = outlier.consecutive_local_origin_failures.unwrap_or(0);
    report.require(
        local == 0 || outlier.split_external_local_origin_errors,
        format_args!("{field}.consecutiveLocalOriginFailures"),
        "counts only with splitExternalLocalOriginErrors: set that to true",
    );
    for (name, duration) in [
        ("interval", outlier.interval),
        ("baseEjectionTime", outlier.base_ejection_time),
    ] {
        values::duration(report, format_args!("{field}.{name}"), duration);
    }
    for (name, percent) in [
        ("maxEjectionPercent", outlier.max_ejection_percent),
        ("minHealthPercent", outlier.min_health_percent),
    ] {
        values::int_percent(report, format_args!("{field}.{name}"), percent);
    }
}
