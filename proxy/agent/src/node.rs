//! Who the proxy says it is to the control plane: node id, cluster, locality and metadata (contract/xds.md §3).

use envoy_types::pb::envoy::config::core::v3::Locality;
use lateen_xds::node::{Node, NodeError, NodeId, NodeMetadata, NodeType};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::podinfo::{ANNOTATIONS, LABELS, read};
use crate::{Settings, Source};

/// Why no node can be made of the environment.
#[derive(Debug, Error)]
pub enum NodeBuildError {
    /// An `ISTIO_METAJSON_*` variable is no JSON object.
    #[error("{name} is not a JSON object: {reason}")]
    Json {
        /// The variable.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A metadata value has another type than the control plane reads.
    #[error("ISTIO_META_* variables: {0}")]
    Metadata(#[from] NodeError),
}

const PREFIX: &str = "ISTIO_META_";
const JSON_PREFIX: &str = "ISTIO_METAJSON_";

/// Builds the node of this pod's proxy. `domain` is the argument `--domain`; empty means `<ns>.svc.cluster.local`.
///
/// # Errors
/// When an `ISTIO_METAJSON_*` variable is no JSON object, or a value has the wrong type.
pub fn node(
    source: &dyn Source,
    settings: &Settings,
    kind: NodeType,
    domain: &str,
    version: &str,
) -> Result<Node, NodeBuildError> {
    let pod = &settings.pod;
    let metadata = NodeMetadata::from_json(Value::Object(metadata(source, settings, version)?))?;
    let configured = settings
        .proxy_config
        .get("serviceCluster")
        .and_then(Value::as_str);
    let cluster = match (
        configured.filter(|name| !name.is_empty()),
        metadata.labels.get("app"),
    ) {
        (Some(name), _) => name.to_owned(),
        (None, Some(app)) => format!("{app}.{}", pod.namespace),
        (None, None) => format!("istio-proxy.{}", pod.namespace),
    };
    let default_domain = || format!("{}.svc.cluster.local", pod.namespace);
    Ok(Node {
        id: NodeId {
            kind,
            ip: pod.address().to_string(),
            pod: pod.name.clone(),
            namespace: pod.namespace.clone(),
            domain: if domain.is_empty() {
                default_domain()
            } else {
                domain.to_owned()
            },
        },
        cluster,
        locality: metadata
            .labels
            .get("istio-locality")
            .map(|label| locality(label)),
        metadata,
    })
}

fn metadata(
    source: &dyn Source,
    settings: &Settings,
    version: &str,
) -> Result<Map<String, Value>, NodeBuildError> {
    let mut metadata = Map::new();
    let mut variables = source.vars();
    variables.sort();
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix(PREFIX).filter(|key| !key.is_empty()) {
            metadata.insert(key.to_owned(), Value::String(value));
        } else if name.starts_with(JSON_PREFIX) {
            metadata.extend(object(&name, &value)?);
        }
    }
    let mut labels = read(source, LABELS);
    labels.remove("pod-template-hash");
    let pod = &settings.pod;
    let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
    let pairs = [
        ("NAME", pod.name.as_str()),
        ("NAMESPACE", &pod.namespace),
        ("SERVICE_ACCOUNT", &pod.service_account),
        ("INSTANCE_IPS", &addresses.join(",")),
        ("CLUSTER_ID", &settings.cluster_id),
        ("ISTIO_VERSION", version),
    ];
    for (key, value) in pairs {
        metadata.entry(key).or_insert_with(|| value.into());
    }
    metadata.insert(
        "PROXY_CONFIG".to_owned(),
        Value::Object(settings.proxy_config.clone()),
    );
    metadata.insert("ANNOTATIONS".to_owned(), strings(read(source, ANNOTATIONS)));
    metadata.insert("LABELS".to_owned(), strings(labels));
    metadata.insert("ENVOY_STATUS_PORT".to_owned(), settings.ports.health.into());
    metadata.insert(
        "ENVOY_PROMETHEUS_PORT".to_owned(),
        settings.ports.prometheus.into(),
    );
    Ok(metadata)
}

fn object(name: &str, text: &str) -> Result<Map<String, Value>, NodeBuildError> {
    let wrong = |reason: String| NodeBuildError::Json {
        name: name.to_owned(),
        reason,
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(wrong("it is another JSON value".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn strings(map: std::collections::BTreeMap<String, String>) -> Value {
    Value::Object(
        map.into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect(),
    )
}

/// `region.zone.subzone` (labels cannot hold slashes) or `region/zone/subzone`.
fn locality(label: &str) -> Locality {
    let separator = if label.contains('/') { '/' } else { '.' };
    let mut parts = label.splitn(3, separator).map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality {
        region: next(),
        zone: next(),
        sub_zone: next(),
    }
}
