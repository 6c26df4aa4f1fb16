//! Rules on the settings that all proxies of the mesh start from.

use std::fmt::Display;

use super::client_tls::client_tls;
use super::mesh_config::port_number;
use super::report::Report;
use super::values;
use crate::host::is_fqdn;
use crate::mesh::{
    AuthenticationPolicy, ClusterName, ConnectionSettings, PrivateKeyProvider,
    PrivateKeyProviderKind, ProxyConfig, Tracer, Tracing,
};
use crate::proto::Duration;

/// Metadata that used to switch on what is now the default.
const AUTO_ALLOCATE: &str = "ISTIO_META_DNS_AUTO_ALLOCATE";

/// The smallest window of HTTP/2, in bytes (RFC 9113 section 6.9.2).
const SMALLEST_WINDOW: i32 = 65_535;

pub(super) fn check(report: &mut Report<'_>, field: impl Display, proxy: &ProxyConfig) {
    for (name, path) in [
        ("configPath", &proxy.config_path),
        ("binaryPath", &proxy.binary_path),
    ] {
        report.require(
            !path.is_empty(),
            format_args!("{field}.{name}"),
            "a path is needed: leave the field out for the default",
        );
    }
    let named = match &proxy.cluster_name {
        Some(ClusterName::ServiceCluster(name)) => !name.is_empty(),
        Some(ClusterName::TracingServiceName(_)) => true,
        None => false,
    };
    report.require(
        named,
        format_args!("{field}.serviceCluster"),
        "a name is needed here, or a rule in tracingServiceName",
    );
    drain_duration(
        report,
        format_args!("{field}.drainDuration"),
        proxy.drain_duration,
    );
    addresses(report, &field, proxy);
    for (name, port) in [
        ("proxyAdminPort", proxy.proxy_admin_port),
        ("statusPort", proxy.status_port),
    ] {
        values::port(report, format_args!("{field}.{name}"), port_number(port));
    }
    report.require(
        proxy.control_plane_auth_policy != AuthenticationPolicy::Inherit,
        format_args!("{field}.controlPlaneAuthPolicy"),
        "there is nothing to inherit from: set NONE or MUTUAL_TLS",
    );
    if let Some(settings) = &proxy.tracing {
        tracing(report, format_args!("{field}.tracing"), settings);
    }
    if proxy.proxy_metadata.contains_key(AUTO_ALLOCATE) {
        report.warning(
            format_args!("{field}.proxyMetadata.{AUTO_ALLOCATE}"),
            "addresses for ServiceEntries come from the control plane now: take it out",
        );
    }
    if let Some(provider) = &proxy.private_key_provider {
        private_keys(report, format_args!("{field}.privateKeyProvider"), provider);
    }
    if let Some(settings) = &proxy.connection_settings {
        connections(report, format_args!("{field}.connectionSettings"), settings);
    }
}

fn drain_duration(report: &mut Report<'_>, field: impl Display, duration: Option<Duration>) {
    let nanos = duration.unwrap_or(Duration::ZERO).as_nanos();
    let fits = nanos >= 1_000_000 && nanos % 1_000_000_000 == 0;
    report.require(
        fits,
        field,
        "cannot be used: whole seconds, at least one, can",
    );
}

fn addresses(report: &mut Report<'_>, field: impl Display, proxy: &ProxyConfig) {
    address(
        report,
        format_args!("{field}.discoveryAddress"),
        &proxy.discovery_address,
    );
    let service = |service: &Option<crate::mesh::RemoteService>| {
        service
            .as_ref()
            .map_or_else(String::new, |service| service.address.clone())
    };
    for (name, text) in [
        ("statsdUdpAddress", proxy.statsd_udp_address.clone()),
        (
            "envoyMetricsServiceAddress",
            proxy.envoy_metrics_service_address.clone(),
        ),
        (
            "envoyMetricsService.address",
            service(&proxy.envoy_metrics_service),
        ),
        (
            "envoyAccessLogService.address",
            service(&proxy.envoy_access_log_service),
        ),
    ] {
        if !text.is_empty() {
            address(report, format_args!("{field}.{name}"), &text);
        }
    }
}

/// `host:port`.
fn address(report: &mut Report<'_>, field: impl Display, text: &str) {
    report.require(
        is_address(text),
        field,
        format_args!("`{text}` is not an address with a port, such as collector.monitoring:9411"),
    );
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host = match host.strip_prefix('[') {
        Some(inside) => match inside.strip_suffix(']') {
            Some(address) => address,
            None => return false,
        },
        // An IPv6 address needs brackets.
        None if host.contains(':') => return false,
        None => host,
    };
    port.parse().is_ok_and(|port: u16| port != 0) && (is_fqdn(host) || values::is_ip(host))
}

fn tracing(report: &mut Report<'_>, field: impl Display, settings: &Tracing) {
    // The address of the machine is filled in when the proxy starts.
    let on_host = |text: &str| text.replacen("$(HOST_IP)", "127.0.0.1", 1);
    match &settings.tracer {
        Some(Tracer::Zipkin(zipkin)) => address(
            report,
            format_args!("{field}.zipkin.address"),
            &on_host(&zipkin.address),
        ),
        Some(Tracer::Datadog(datadog)) => address(
            report,
            format_args!("{field}.datadog.address"),
            &on_host(&datadog.address),
        ),
        Some(Tracer::Lightstep(lightstep)) => {
            let at = format_args!("{field}.lightstep");
            address(report, format_args!("{at}.address"), &lightstep.address);
            report.require(
                !lightstep.access_token.is_empty(),
                format_args!("{at}.accessToken"),
                "an access token is needed",
            );
        }
        Some(Tracer::Stackdriver(_) | Tracer::OpenCensusAgent(_)) | None => {}
    }
    if let Some(tls) = &settings.tls_settings {
        client_tls(report, format_args!("{field}.tlsSettings"), tls);
    }
}

fn private_keys(report: &mut Report<'_>, field: impl Display, provider: &PrivateKeyProvider) {
    let (name, delay) = match &provider.provider {
        Some(PrivateKeyProviderKind::CryptoMb(cryptomb)) => ("cryptomb", cryptomb.poll_delay),
        Some(PrivateKeyProviderKind::Qat(qat)) => ("qat", qat.poll_delay),
        None => return report.error(field, "cryptomb or qat is needed"),
    };
    report.require(
        delay.is_some_and(|delay| !delay.is_zero()),
        format_args!("{field}.{name}.pollDelay"),
        "a delay other than 0 is needed",
    );
}

fn connections(report: &mut Report<'_>, field: impl Display, settings: &ConnectionSettings) {
    let limits = [
        (
            "listenerPerConnectionBufferLimitBytes",
            settings.listener_per_connection_buffer_limit_bytes,
            0,
        ),
        (
            "clusterPerConnectionBufferLimitBytes",
            settings.cluster_per_connection_buffer_limit_bytes,
            0,
        ),
        (
            "httpMaxConcurrentStreams",
            settings.http_max_concurrent_streams,
            1,
        ),
        (
            "http2InitialStreamWindowSize",
            settings.http2_initial_stream_window_size,
            SMALLEST_WINDOW,
        ),
        (
            "http2InitialConnectionWindowSize",
            settings.http2_initial_connection_window_size,
            SMALLEST_WINDOW,
        ),
        (
            "listenerConnectionLimit",
            settings.listener_connection_limit,
            1,
        ),
        (
            "globalDownstreamConnectionLimit",
            settings.global_downstream_connection_limit,
            1,
        ),
    ];
    for (name, number, least) in limits {
        let number = number.unwrap_or(least);
        report.require(
            number >= least,
            format_args!("{field}.{name}"),
            format_args!("{number} is too small: at least {least}"),
        );
    }
    for (name, timeout) in [
        ("httpIdleTimeout", settings.http_idle_timeout),
        ("httpRequestTimeout", settings.http_request_timeout),
        ("httpStreamIdleTimeout", settings.http_stream_idle_timeout),
        (
            "httpRequestHeadersTimeout",
            settings.http_request_headers_timeout,
        ),
    ] {
        let timeout = timeout.unwrap_or(Duration::ZERO);
        report.require(
            timeout.as_nanos() >= 0,
            format_args!("{field}.{name}"),
            format_args!("{timeout} is negative"),
        );
    }
}
