//! The effective proxy settings of a pod: the mesh's with the pod's annotation on top.

use lateen_api::mesh::{ClusterName, ProxyConfig, Tracer};
use lateen_api::yaml;

use crate::error::InjectError;
use crate::names;
use crate::pod::PodObject;
use crate::settings::Settings;

/// The settings of the mesh with the annotation `proxy.istio.io/config` laid on them.
///
/// # Errors
/// When the annotation cannot be read.
pub(crate) fn effective(pod: &PodObject, settings: &Settings) -> Result<ProxyConfig, InjectError> {
    let base = &settings.mesh.default_config;
    match pod.annotation(names::PROXY_CONFIG) {
        None => Ok(base.clone()),
        Some(text) => laid_on(base, text).map_err(|reason| InjectError::Annotation {
            key: names::PROXY_CONFIG,
            reason,
        }),
    }
}

/// Whether the annotation's text makes sense on the built-in defaults; the reason if not.
pub(crate) fn check_annotation(text: &str) -> Result<(), String> {
    let config = laid_on(&ProxyConfig::default(), text)
        .map_err(|reason| format!("failed to convert to apply proxy config: {reason}"))?;
    check(&config)
}

fn laid_on(base: &ProxyConfig, text: &str) -> Result<ProxyConfig, String> {
    let documents = yaml::parse(text).map_err(|error| error.to_string())?;
    let Some(document) = documents.first().filter(|document| !document.is_empty()) else {
        return Ok(base.clone());
    };
    yaml::read_with(&document.root, |input| base.overlay(input))
        .map(|(config, _)| config)
        .map_err(|error| error.to_string())
}

fn check(config: &ProxyConfig) -> Result<(), String> {
    for (name, text) in [
        ("configPath", &config.config_path),
        ("binaryPath", &config.binary_path),
    ] {
        if text.is_empty() {
            return Err(format!("{name} must be set"));
        }
    }
    if matches!(&config.cluster_name, Some(ClusterName::ServiceCluster(name)) if name.is_empty()) {
        return Err("serviceCluster must be set".to_owned());
    }
    let drains = [
        ("drainDuration", config.drain_duration),
        (
            "terminationDrainDuration",
            config.termination_drain_duration,
        ),
    ];
    for (name, duration) in drains
        .into_iter()
        .filter_map(|(name, duration)| Some((name, duration?)))
    {
        if duration.as_nanos() <= 0 || duration.subsec_nanos() != 0 {
            return Err(format!(
                "invalid {name}: {duration} is not a whole number of seconds above 0"
            ));
        }
    }
    address("discoveryAddress", &config.discovery_address)?;
    for (name, port) in [
        ("proxyAdminPort", config.proxy_admin_port),
        ("statusPort", config.status_port),
    ] {
        if !(1..=65535).contains(&port) {
            return Err(format!(
                "invalid {name}: {port} is not a port from 1 to 65535"
            ));
        }
    }
    check_services(config)
}

fn check_services(config: &ProxyConfig) -> Result<(), String> {
    if !config.statsd_udp_address.is_empty() {
        address("statsdUdpAddress", &config.statsd_udp_address)?;
    }
    for (name, service) in [
        ("envoyMetricsService", &config.envoy_metrics_service),
        ("envoyAccessLogService", &config.envoy_access_log_service),
    ] {
        if let Some(service) = service {
            address(&format!("{name}.address"), &service.address)?;
        }
    }
    match config
        .tracing
        .as_ref()
        .and_then(|tracing| tracing.tracer.as_ref())
    {
        Some(Tracer::Zipkin(zipkin)) => address("tracing.zipkin.address", &zipkin.address),
        Some(Tracer::Lightstep(lightstep)) if lightstep.access_token.is_empty() => {
            Err("tracing.lightstep.accessToken must be set".to_owned())
        }
        Some(Tracer::Lightstep(lightstep)) => {
            address("tracing.lightstep.address", &lightstep.address)
        }
        Some(Tracer::Datadog(datadog)) => address("tracing.datadog.address", &datadog.address),
        _ => Ok(()),
    }
}

/// `host:port`, where the host may be a variable such as `$(HOST_IP)`.
fn address(name: &str, text: &str) -> Result<(), String> {
    let wrong = || format!("invalid {name}: \"{text}\" is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port_ok = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || host.contains(char::is_whitespace) || !port_ok {
        Err(wrong())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_checked_on_the_defaults() {
        for (text, reason) in [
            ("", None),
            ("discoveryAddress: istiod.x.svc:15012\nunknown: 1", None),
            ("drainDuration: 1.5s", Some("invalid drainDuration")),
            ("discoveryAddress: istiod", Some("invalid discoveryAddress")),
            ("statusPort: 0", Some("invalid statusPort")),
            (
                "concurrency: many",
                Some("failed to convert to apply proxy config: concurrency: "),
            ),
            ("[", Some("failed to convert to apply proxy config: ")),
            (
                "tracing: {zipkin: {address: nowhere}}",
                Some("invalid tracing.zipkin.address"),
            ),
        ] {
            match (check_annotation(text), reason) {
                (Ok(()), None) => {}
                (Err(said), Some(start)) => assert!(said.starts_with(start), "{text}: {said}"),
                (said, _) => panic!("{text}: {said:?}"),
            }
        }
    }
}
