//! Typed settings of the pod's side, from `PROXY_CONFIG` and the variables that injected pods carry.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use crate::Source;
use crate::probes::{Probers, ProbersError};
use crate::scrape::{ScrapeConfig, ScrapeError};

/// Everything the agent needs to know, read once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pod's name, namespace, service account and addresses.
    pub pod: Pod,
    /// The effective ProxyConfig as given, for node metadata.
    pub proxy_config: Map<String, Value>,
    /// Control plane for xDS, `host:port`.
    pub discovery_address: String,
    /// Certificate authority, `host:port`.
    pub ca_address: String,
    /// File of roots that the control plane's certificate must chain to.
    pub control_plane_roots: PathBuf,
    /// File of the token shown to the control plane, read again on each use.
    pub token_file: PathBuf,
    /// Folder for what outlives a restart of the container: a memory volume.
    pub state_dir: PathBuf,
    /// Trust domain of identities.
    pub trust_domain: String,
    /// Id of the cluster the pod is in.
    pub cluster_id: String,
    /// Workers wanted; `None` lets the machine decide, as does a ProxyConfig value of 0.
    pub concurrency: Option<usize>,
    /// How a pod's end goes.
    pub drain: DrainSettings,
    /// Ports of the agent's own servers.
    pub ports: Ports,
    /// How the certificate is asked for.
    pub certificate: CertificateSettings,
    /// Probes of the application that come in rewritten.
    pub probers: Probers,
    /// Metrics of the application to merge; `None` if it has none.
    pub scrape: Option<ScrapeConfig>,
    /// The proxy's own metrics are part of the merged page (`PILOT_AGENT_MERGE_ENVOY_STATS`).
    pub merge_proxy_stats: bool,
    /// Probes go to localhost instead of the pod's address (`REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION`).
    pub probe_localhost: bool,
    /// Mark for sockets of the proxy where no user of its own exists (`LATEEN_SOCKET_MARK`).
    pub socket_mark: Option<u32>,
}

/// What the pod is called.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `POD_NAME`.
    pub name: String,
    /// `POD_NAMESPACE`.
    pub namespace: String,
    /// `SERVICE_ACCOUNT`.
    pub service_account: String,
    /// `INSTANCE_IP`, every address of it.
    pub addresses: Vec<IpAddr>,
}

/// Ports on which the pod's side listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Agent: readiness, merged metrics, application probes.
    pub status: u16,
    /// Readiness alone, for the kubelet.
    pub health: u16,
    /// The proxy's metrics alone.
    pub prometheus: u16,
    /// Admin, on localhost.
    pub admin: u16,
}

/// How long a pod's end may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSettings {
    /// Connections are asked to end over this time.
    pub drain: Duration,
    /// The process ends after this time.
    pub termination: Duration,
    /// End when the last connection has, instead of after a fixed time; not before [`DrainSettings::minimum`].
    pub exit_on_zero_connections: bool,
    /// Shortest time before connections are counted.
    pub minimum: Duration,
}

/// How a certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CertificateSettings {
    /// Lifetime wished for (`SECRET_TTL`).
    pub ttl: Duration,
    /// Part of the lifetime that is left when a new one is asked for (`SECRET_GRACE_PERIOD_RATIO`).
    pub grace_ratio: f64,
}

/// A setting that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A variable that an injected pod always has.
    #[error("{name} is not set: the proxy runs in an injected pod, where it comes from {from}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// Where a pod has it from.
        from: &'static str,
    },
    /// A value that does not parse.
    #[error("{name}: `{value}` is not {expected}")]
    Invalid {
        /// Variable or ProxyConfig field.
        name: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `PROXY_CONFIG` is no JSON object.
    #[error("PROXY_CONFIG is not a JSON object: {0}")]
    ProxyConfig(String),
    /// A setting whose feature is not there.
    #[error("{name}={value} is not supported: {instead}")]
    Unsupported {
        /// Variable or file.
        name: &'static str,
        /// Its value.
        value: String,
        /// What can be done.
        instead: &'static str,
    },
    /// `ISTIO_KUBE_APP_PROBERS` cannot be used.
    #[error(transparent)]
    Probers(#[from] ProbersError),
    /// `ISTIO_PROMETHEUS_ANNOTATIONS` cannot be used.
    #[error(transparent)]
    Scrape(#[from] ScrapeError),
}

const TOKEN_FILE: &str = "/var/run/secrets/tokens/istio-token";
const STATE_DIR: &str = "/etc/istio/proxy";
const DISCOVERY_ADDRESS: &str = "istiod.istio-system.svc:15012";

impl Settings {
    /// Reads all settings of an injected pod.
    ///
    /// # Errors
    /// Names the first variable or field that is missing, malformed or not supported.
    pub fn read(source: &dyn Source) -> Result<Self, SettingsError> {
        let proxy_config = proxy_config(source)?;
        let discovery_address = host_port(
            "discoveryAddress",
            text(&proxy_config, "discoveryAddress").unwrap_or_else(|| DISCOVERY_ADDRESS.to_owned()),
        )?;
        let ca_address = host_port(
            "CA_ADDR",
            var(source, "CA_ADDR").unwrap_or_else(|| discovery_address.clone()),
        )?;
        let ports = ports(source, &proxy_config)?;
        refuse_sds_socket(source)?;
        Ok(Self {
            pod: Pod::read(source)?,
            discovery_address,
            ca_address,
            control_plane_roots: control_plane_roots(source)?,
            token_file: var(source, "LATEEN_TOKEN_FILE")
                .unwrap_or_else(|| TOKEN_FILE.to_owned())
                .into(),
            state_dir: state_dir(text(&proxy_config, "configPath")),
            trust_domain: var(source, "TRUST_DOMAIN").unwrap_or_else(|| "cluster.local".to_owned()),
            cluster_id: var(source, "ISTIO_META_CLUSTER_ID")
                .unwrap_or_else(|| "Kubernetes".to_owned()),
            concurrency: concurrency(source, &proxy_config)?,
            drain: DrainSettings::read(source, &proxy_config)?,
            certificate: CertificateSettings::read(source)?,
            probers: Probers::parse(var(source, "ISTIO_KUBE_APP_PROBERS").as_deref())?,
            scrape: ScrapeConfig::parse(
                var(source, "ISTIO_PROMETHEUS_ANNOTATIONS").as_deref(),
                ports.status,
            )?,
            merge_proxy_stats: flag(source, "PILOT_AGENT_MERGE_ENVOY_STATS", true)?,
            probe_localhost: flag(source, "REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", false)?,
            socket_mark: parsed(source, "LATEEN_SOCKET_MARK", "a number")?,
            ports,
            proxy_config,
        })
    }

    /// This workload's SPIFFE URI.
    #[must_use]
    pub fn spiffe_id(&self) -> String {
        let domain = self.trust_domain.replace('@', ".");
        format!(
            "spiffe://{domain}/ns/{}/sa/{}",
            self.pod.namespace, self.pod.service_account
        )
    }
}

impl Pod {
    fn read(source: &dyn Source) -> Result<Self, SettingsError> {
        let required = |name, from| var(source, name).ok_or(SettingsError::Missing { name, from });
        let addresses = required("INSTANCE_IP", "status.podIP")?;
        let addresses = addresses
            .split(',')
            .map(|part| parse("INSTANCE_IP", part.trim(), "an IP address"))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: required("POD_NAME", "metadata.name")?,
            namespace: required("POD_NAMESPACE", "metadata.namespace")?,
            service_account: var(source, "SERVICE_ACCOUNT").unwrap_or_else(|| "default".to_owned()),
            addresses,
        })
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.addresses
            .first()
            .copied()
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }
}

impl DrainSettings {
    fn read(source: &dyn Source, config: &Map<String, Value>) -> Result<Self, SettingsError> {
        let minimum = match var(source, "MINIMUM_DRAIN_DURATION") {
            Some(text) => duration("MINIMUM_DRAIN_DURATION", &text)?,
            None => Duration::from_secs(5),
        };
        Ok(Self {
            drain: field_duration(config, "drainDuration", Duration::from_secs(45))?,
            termination: field_duration(
                config,
                "terminationDrainDuration",
                Duration::from_secs(5),
            )?,
            exit_on_zero_connections: flag(source, "EXIT_ON_ZERO_ACTIVE_CONNECTIONS", false)?,
            minimum,
        })
    }
}

impl CertificateSettings {
    fn read(source: &dyn Source) -> Result<Self, SettingsError> {
        let ttl = match var(source, "SECRET_TTL") {
            Some(text) => duration("SECRET_TTL", &text)?,
            None => Duration::from_secs(24 * 3600),
        };
        let grace_ratio = parsed(
            source,
            "SECRET_GRACE_PERIOD_RATIO",
            "a number between 0 and 1",
        )?
        .unwrap_or(0.5);
        if !(0.0..=1.0).contains(&grace_ratio) {
            return Err(SettingsError::Invalid {
                name: "SECRET_GRACE_PERIOD_RATIO".into(),
                value: grace_ratio.to_string(),
                expected: "a number between 0 and 1",
            });
        }
        Ok(Self { ttl, grace_ratio })
    }
}

fn var(source: &dyn Source, name: &str) -> Option<String> {
    source.var(name).filter(|value| !value.trim().is_empty())
}

fn proxy_config(source: &dyn Source) -> Result<Map<String, Value>, SettingsError> {
    let Some(text) = var(source, "PROXY_CONFIG") else {
        return Ok(Map::new());
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(SettingsError::ProxyConfig(format!("it is {other}"))),
        Err(error) => Err(SettingsError::ProxyConfig(error.to_string())),
    }
}

fn control_plane_roots(source: &dyn Source) -> Result<PathBuf, SettingsError> {
    for name in ["XDS_ROOT_CA", "CA_ROOT_CA"] {
        match var(source, name) {
            Some(value) if value == "SYSTEM" => {
                return Err(SettingsError::Unsupported {
                    name,
                    value,
                    instead: "name a file of root certificates",
                });
            }
            Some(path) => return Ok(path.into()),
            None => {}
        }
    }
    match var(source, "PILOT_CERT_PROVIDER").as_deref() {
        None | Some("istiod") => Ok("/var/run/secrets/istio/root-cert.pem".into()),
        Some("kubernetes") => Ok("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt".into()),
        Some("custom") => Ok("/etc/certs/root-cert.pem".into()),
        Some(other) => Err(SettingsError::Unsupported {
            name: "PILOT_CERT_PROVIDER",
            value: other.to_owned(),
            instead: "istiod, kubernetes and custom are; or name a file in XDS_ROOT_CA",
        }),
    }
}

/// Relative paths are meant from the root, where the container starts.
fn state_dir(configured: Option<String>) -> PathBuf {
    let path = configured.unwrap_or_else(|| STATE_DIR.to_owned());
    Path::new("/").join(path.trim_start_matches("./"))
}

fn refuse_sds_socket(source: &dyn Source) -> Result<(), SettingsError> {
    const SOCKET: &str = "/var/run/secrets/workload-spiffe-uds/socket";
    if source.exists(Path::new(SOCKET)) {
        return Err(SettingsError::Unsupported {
            name: "workload identity socket",
            value: SOCKET.into(),
            instead: "certificates come from the control plane, or from files in workload-spiffe-credentials",
        });
    }
    Ok(())
}

fn ports(source: &dyn Source, config: &Map<String, Value>) -> Result<Ports, SettingsError> {
    Ok(Ports {
        status: field_port(config, "statusPort", 15020)?,
        health: parsed(source, "ISTIO_META_ENVOY_STATUS_PORT", "a port")?.unwrap_or(15021),
        prometheus: parsed(source, "ISTIO_META_ENVOY_PROMETHEUS_PORT", "a port")?.unwrap_or(15090),
        admin: field_port(config, "proxyAdminPort", 15000)?,
    })
}

fn concurrency(
    source: &dyn Source,
    config: &Map<String, Value>,
) -> Result<Option<usize>, SettingsError> {
    if let Some(value) = config.get("concurrency") {
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        let number = number
            .ok_or_else(|| invalid("concurrency", &value.to_string(), "a number of workers"))?;
        return Ok(Some(number).filter(|number| *number > 0));
    }
    // The limit of the pod's CPU, rounded up, decides where nothing else does.
    parsed(source, "ISTIO_CPU_LIMIT", "a number of CPUs")
}

fn text(config: &Map<String, Value>, field: &str) -> Option<String> {
    config
        .get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn field_port(
    config: &Map<String, Value>,
    field: &str,
    default: u16,
) -> Result<u16, SettingsError> {
    let Some(value) = config.get(field) else {
        return Ok(default);
    };
    let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| invalid(field, &value.to_string(), "a port"))
}

fn field_duration(
    config: &Map<String, Value>,
    field: &str,
    default: Duration,
) -> Result<Duration, SettingsError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => duration(field, text),
        Some(other) => Err(invalid(field, &other.to_string(), "a duration such as 45s")),
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, SettingsError> {
    let wrong = || invalid(name, text, "a duration such as 45s");
    let nanos = lateen_api::Duration::from_str(text)
        .map_err(|_| wrong())?
        .as_nanos();
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| wrong())
}

fn flag(source: &dyn Source, name: &str, default: bool) -> Result<bool, SettingsError> {
    match var(source, name).as_deref() {
        None => Ok(default),
        Some("true" | "1" | "True" | "TRUE") => Ok(true),
        Some("false" | "0" | "False" | "FALSE") => Ok(false),
        Some(other) => Err(invalid(name, other, "true or false")),
    }
}

fn parsed<T: FromStr>(
    source: &dyn Source,
    name: &str,
    expected: &'static str,
) -> Result<Option<T>, SettingsError> {
    var(source, name)
        .map(|text| parse(name, text.trim(), expected))
        .transpose()
}

fn parse<T: FromStr>(name: &str, text: &str, expected: &'static str) -> Result<T, SettingsError> {
    text.parse().map_err(|_| invalid(name, text, expected))
}

fn host_port(name: &str, text: String) -> Result<String, SettingsError> {
    let port = text
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) => Ok(text),
        _ => Err(invalid(name, &text, "host:port")),
    }
}

fn invalid(name: &str, value: &str, expected: &'static str) -> SettingsError {
    SettingsError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests;
