//! What a pod can learn about itself: fields (`fieldRef`), resources (`resourceFieldRef`), and settings of its namespace.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, ObjectFieldSelector, Pod, ResourceFieldSelector};
use thiserror::Error;

use crate::network::GATEWAY;

/// Name of the one node of a local mesh.
pub(crate) const NODE: &str = "local";

/// Keys and values of a ConfigMap or Secret.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// ConfigMaps and Secrets of the mesh by namespace and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// ConfigMaps.
    pub config_maps: BTreeMap<(String, String), Data>,
    /// Secrets.
    pub secrets: BTreeMap<(String, String), Data>,
}

/// Identity of a running pod.
#[derive(Debug, Clone)]
pub(crate) struct PodFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Address.
    pub ip: Ipv4Addr,
    /// Service account, `default` when the pod names none.
    pub service_account: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Why a field cannot be given to a container.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FactError {
    /// No such field, or one that a local mesh does not know.
    #[error(
        "fieldRef {0:?} is not supported; use a field of metadata, spec.nodeName, spec.serviceAccountName, status.hostIP or status.podIP"
    )]
    Field(String),
    /// No such resource.
    #[error(
        "resourceFieldRef {0:?} is not supported; use limits.cpu, limits.memory, requests.cpu or requests.memory"
    )]
    Resource(String),
    /// The container of a `resourceFieldRef` is not there.
    #[error("resourceFieldRef names container {0:?}, which the pod does not have")]
    Container(String),
    /// A quantity does not parse.
    #[error("quantity {0:?} is not valid")]
    Quantity(String),
}

impl PodFacts {
    /// Facts of a pod that has got its address.
    #[must_use]
    pub(crate) fn of(pod: &Pod, ip: Ipv4Addr) -> Self {
        let meta = &pod.metadata;
        let account = pod
            .spec
            .as_ref()
            .and_then(|s| s.service_account_name.clone())
            .filter(|a| !a.is_empty());
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            ip,
            service_account: account.unwrap_or_else(|| "default".to_owned()),
            labels: meta.labels.clone().unwrap_or_default(),
            annotations: meta.annotations.clone().unwrap_or_default(),
        }
    }

    /// Value of a field, as the downward API gives it.
    ///
    /// # Errors
    /// [`FactError::Field`] for a field that is not known.
    pub(crate) fn field(&self, selector: &ObjectFieldSelector) -> Result<String, FactError> {
        let path = selector.field_path.as_str();
        let value = match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "metadata.uid" => self.uid.clone(),
            "metadata.labels" => lines(&self.labels),
            "metadata.annotations" => lines(&self.annotations),
            "spec.nodeName" => NODE.to_owned(),
            "spec.serviceAccountName" => self.service_account.clone(),
            "status.hostIP" | "status.hostIPs" => GATEWAY.to_string(),
            "status.podIP" | "status.podIPs" => self.ip.to_string(),
            _ => keyed(path, "metadata.labels", &self.labels)
                .or_else(|| keyed(path, "metadata.annotations", &self.annotations))
                .ok_or_else(|| FactError::Field(path.to_owned()))?,
        };
        Ok(value)
    }
}

/// `metadata.labels['key']`: the value, empty when the key is not there.
fn keyed(path: &str, field: &str, map: &BTreeMap<String, String>) -> Option<String> {
    let key = path
        .strip_prefix(field)?
        .strip_prefix("['")?
        .strip_suffix("']")?;
    Some(map.get(key).cloned().unwrap_or_default())
}

/// `key="value"` lines with the value quoted as the downward API does.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(k, v)| format!("{k}={}\n", serde_json::Value::from(v.as_str())))
        .collect()
}

/// Value of a resource of a container; what has no limit has the machine's size.
///
/// # Errors
/// [`FactError`] for an unknown resource, container or a quantity that does not parse.
pub(crate) fn resource(
    selector: &ResourceFieldSelector,
    containers: &[Container],
    own: &str,
) -> Result<String, FactError> {
    let name = selector
        .container_name
        .as_deref()
        .filter(|n| !n.is_empty())
        .unwrap_or(own);
    let container = containers
        .iter()
        .find(|c| c.name == name)
        .ok_or_else(|| FactError::Container(name.to_owned()))?;
    let (side, kind) = selector.resource.split_once('.').unwrap_or_default();
    let (machine, known) = match kind {
        "cpu" => (machine_cpus() * 1000, true),
        "memory" => (machine_memory().saturating_mul(1000), true),
        _ => (0, false),
    };
    if !known || !matches!(side, "limits" | "requests") {
        return Err(FactError::Resource(selector.resource.clone()));
    }
    let resources = container.resources.as_ref();
    let map = resources.and_then(|r| {
        if side == "limits" {
            r.limits.as_ref()
        } else {
            r.requests.as_ref()
        }
    });
    let given = map
        .and_then(|m| m.get(kind))
        .map(|q| thousandths(&q.0))
        .transpose()?;
    let value = given.unwrap_or(if side == "limits" { machine } else { 0 });
    let divisor = selector
        .divisor
        .as_ref()
        .map(|q| q.0.as_str())
        .filter(|d| !matches!(*d, "" | "0"));
    let divisor = divisor.map_or(Ok(1000), thousandths)?.max(1);
    Ok(value.div_ceil(divisor).to_string())
}

/// A Kubernetes quantity in thousandths, rounded up.
///
/// # Errors
/// [`FactError::Quantity`] when it does not parse or is negative.
pub(crate) fn thousandths(quantity: &str) -> Result<u128, FactError> {
    let fail = || FactError::Quantity(quantity.to_owned());
    let end = quantity
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || fraction.len() > 9 {
        return Err(fail());
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| fail())?;
    let (multiplier, shift) = scale(suffix).ok_or_else(fail)?;
    let scaled = digits
        .checked_mul(multiplier)
        .and_then(|v| v.checked_mul(1000))
        .ok_or_else(fail)?;
    let down = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(9)) * shift;
    Ok(scaled.div_ceil(down))
}

/// Multiplier and divisor of a suffix.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| (1024_u128.pow(power), 1);
    let decimal = |power: u32| (1000_u128.pow(power), 1);
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: u32 = suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|e| *e <= 18)?;
            (10_u128.pow(exponent), 1)
        }
    })
}

fn machine_cpus() -> u128 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u128)
}

/// Bytes of memory of this machine.
fn machine_memory() -> u128 {
    let table = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: u128 = line
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    kibibytes * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    #[test]
    fn quantities() {
        let table = [
            ("2", 2000),
            ("100m", 100),
            ("1Gi", 1_073_741_824_000),
            ("1.5", 1500),
            ("0.0005", 1),
            ("1e3", 1_000_000),
            ("2k", 2_000_000),
        ];
        for (text, value) in table {
            assert_eq!(thousandths(text), Ok(value), "{text}");
        }
        for bad in [
            "",
            "-1",
            "1x",
            "Gi",
            "1.1.1",
            "99999999999999999999999999999999999999",
        ] {
            assert!(thousandths(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cpu_limit_is_rounded_up_to_whole_cores() {
        let mut container = Container {
            name: "istio-proxy".to_owned(),
            ..Container::default()
        };
        let limits = BTreeMap::from([("cpu".to_owned(), Quantity("1500m".to_owned()))]);
        container.resources = Some(k8s_openapi::api::core::v1::ResourceRequirements {
            limits: Some(limits),
            ..Default::default()
        });
        let selector = ResourceFieldSelector {
            resource: "limits.cpu".to_owned(),
            divisor: Some(Quantity("1".to_owned())),
            container_name: None,
        };
        assert_eq!(
            resource(&selector, &[container], "istio-proxy"),
            Ok("2".to_owned())
        );
    }

    #[test]
    fn fields() {
        let pod = Pod {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some("p".to_owned()),
                labels: Some(BTreeMap::from([("app".to_owned(), "a\"b".to_owned())])),
                ..Default::default()
            },
            ..Pod::default()
        };
        let facts = PodFacts::of(&pod, Ipv4Addr::new(10, 244, 0, 9));
        let ask = |path: &str| {
            facts.field(&ObjectFieldSelector {
                api_version: None,
                field_path: path.to_owned(),
            })
        };
        assert_eq!(ask("status.podIP"), Ok("10.244.0.9".to_owned()));
        assert_eq!(ask("metadata.labels['app']"), Ok("a\"b".to_owned()));
        assert_eq!(ask("metadata.labels"), Ok("app=\"a\\\"b\"\n".to_owned()));
        assert_eq!(ask("spec.serviceAccountName"), Ok("default".to_owned()));
        assert!(ask("status.phase").is_err());
    }
}
