//! A connected proxy as its node id and metadata describe it (contract of the node: xDS `Node.id` and `Node.metadata`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;

/// Labels of a pod or another workload.
pub type Labels = BTreeMap<String, String>;

/// What kind of proxy is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Beside an application in its pod.
    Sidecar,
    /// A gateway of its own.
    Router,
}

/// How traffic gets into a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Interception {
    /// netfilter REDIRECT.
    #[default]
    Redirect,
    /// netfilter TPROXY: the source address is kept.
    Tproxy,
    /// Applications connect to the sidecar's own listeners.
    None,
}

/// Typed identity and settings of a connected proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// Node id as sent, `<role>~<ip>~<pod>.<ns>~<ns>.svc.<domain>`.
    pub id: Arc<str>,
    /// Sidecar or router.
    pub role: Role,
    /// Addresses of the pod, the first is the primary one.
    pub addresses: Vec<IpAddr>,
    /// `<pod>.<ns>` of the id.
    pub name: Arc<str>,
    /// Config namespace.
    pub namespace: Arc<str>,
    /// DNS domain after `svc.` in the id, e.g. `cluster.local`.
    pub domain: Arc<str>,
    /// Service account the node claims; serving checks it against the authenticated identity.
    pub service_account: Arc<str>,
    /// Labels of the pod.
    pub labels: Labels,
    /// Cluster the proxy runs in; empty when unknown.
    pub cluster: Arc<str>,
    /// Network of the proxy; empty when unknown.
    pub network: Arc<str>,
    /// `Node.cluster`, e.g. `productpage.default`.
    pub node_cluster: Arc<str>,
    /// Name of the Kubernetes node.
    pub node_name: Arc<str>,
    /// `region/zone/subzone`; empty when unknown.
    pub locality: Arc<str>,
    /// `ISTIO_VERSION` of the metadata; absent on clients that are no Istio-compatible proxy, which get upstream types alone.
    pub istio_version: Option<Arc<str>>,
    /// How traffic gets into the sidecar.
    pub interception: Interception,
    /// `HTTP_PROXY_PORT`: an explicit forward-proxy listener.
    pub http_proxy_port: Option<u16>,
    /// `IDLE_TIMEOUT` for HTTP and TCP connections, as a duration text (`30s`).
    pub idle_timeout: Option<String>,
    /// `HTTP10` is `1`: accept HTTP/1.0.
    pub http10: bool,
    /// `DNS_CAPTURE` is true.
    pub dns_capture: bool,
    /// `DNS_AUTO_ALLOCATE` is true.
    pub dns_auto_allocate: bool,
    /// Container ports by name, of `POD_PORTS`.
    pub pod_ports: BTreeMap<String, u16>,
    /// `PROXY_CONFIG`: the effective ProxyConfig of the pod as proto JSON.
    pub config: Arc<Map<String, Value>>,
    /// The whole metadata as sent, for debugging views.
    pub metadata: Arc<Map<String, Value>>,
}

/// Why a node was not accepted; each is the client's fault (`InvalidArgument`).
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NodeError {
    /// The id has not four parts.
    #[error("node id `{0}` is not of the form <type>~<ip>~<name>.<namespace>~<domain>")]
    Shape(String),
    /// The first part is no role this control plane serves.
    #[error("node type `{0}` is not supported: use sidecar or router")]
    Role(String),
    /// Neither metadata nor id has an address.
    #[error("no valid IP address in the service node id or metadata")]
    Address,
    /// A metadata field has the wrong type or content.
    #[error("node metadata {field}: {reason}")]
    Metadata {
        /// Key of the metadata.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Proxy {
    /// Builds a proxy from `Node.id`, `Node.metadata` as JSON, `Node.cluster` and `Node.locality` (`region/zone/subzone`).
    ///
    /// # Errors
    /// [`NodeError`] when the id is malformed, the role unknown, or no address is given.
    pub fn parse(
        id: &str,
        metadata: Map<String, Value>,
        node_cluster: &str,
        locality: &str,
    ) -> Result<Self, NodeError> {
        let parts: Vec<&str> = id.split('~').collect();
        let [role, ip, name, dns] = parts.as_slice() else {
            return Err(NodeError::Shape(id.to_owned()));
        };
        let role = match *role {
            "sidecar" => Role::Sidecar,
            "router" => Role::Router,
            other => return Err(NodeError::Role(other.to_owned())),
        };
        let text = |key: &str| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let id_namespace = name.rsplit_once('.').map_or("", |(_, namespace)| namespace);
        let namespace = Some(text("NAMESPACE"))
            .filter(|ns| !ns.is_empty())
            .unwrap_or(id_namespace);
        let labels = labels(&metadata)?;
        let locality = labels
            .get("istio-locality")
            .map_or_else(|| locality.to_owned(), |label| label.replace('.', "/"));
        Ok(Self {
            id: id.into(),
            role,
            addresses: addresses(text("INSTANCE_IPS"), ip)?,
            name: (*name).into(),
            namespace: namespace.into(),
            domain: dns
                .split_once(".svc.")
                .map_or("cluster.local", |(_, domain)| domain)
                .into(),
            service_account: text("SERVICE_ACCOUNT").into(),
            cluster: text("CLUSTER_ID").into(),
            network: text("NETWORK").into(),
            node_cluster: node_cluster.into(),
            node_name: text("NODE_NAME").into(),
            locality: locality.into(),
            istio_version: Some(text("ISTIO_VERSION"))
                .filter(|v| !v.is_empty())
                .map(Into::into),
            interception: interception(text("INTERCEPTION_MODE"))?,
            http_proxy_port: port(text("HTTP_PROXY_PORT"))?,
            idle_timeout: Some(text("IDLE_TIMEOUT"))
                .filter(|v| !v.is_empty())
                .map(Into::into),
            http10: text("HTTP10") == "1",
            dns_capture: text("DNS_CAPTURE") == "true",
            dns_auto_allocate: text("DNS_AUTO_ALLOCATE") == "true",
            pod_ports: pod_ports(text("POD_PORTS"))?,
            config: Arc::new(
                metadata
                    .get("PROXY_CONFIG")
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default(),
            ),
            labels,
            metadata: Arc::new(metadata),
        })
    }

    /// True when the client understands Istio's own filters.
    #[must_use]
    pub fn speaks_istio(&self) -> bool {
        self.istio_version.is_some()
    }

    /// True when the pod has only IPv6 addresses.
    #[must_use]
    pub fn is_ipv6_only(&self) -> bool {
        self.addresses.iter().all(IpAddr::is_ipv6)
    }

    /// A field of the pod's ProxyConfig by its path, e.g. `["gatewayTopology", "numTrustedProxies"]`.
    #[must_use]
    pub fn setting(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter()
            .try_fold(self.config.get(*first)?, |value, key| value.get(key))
    }
}

fn addresses(instance_ips: &str, from_id: &str) -> Result<Vec<IpAddr>, NodeError> {
    let parse = |text: &str| {
        text.split(',')
            .filter_map(|ip| ip.trim().parse().ok())
            .collect::<Vec<IpAddr>>()
    };
    let found = Some(parse(instance_ips))
        .filter(|ips| !ips.is_empty())
        .unwrap_or_else(|| parse(from_id));
    if found.is_empty() {
        Err(NodeError::Address)
    } else {
        Ok(found)
    }
}

fn labels(metadata: &Map<String, Value>) -> Result<Labels, NodeError> {
    let field = "LABELS";
    let Some(value) = metadata.get(field) else {
        return Ok(Labels::new());
    };
    let map = value.as_object().ok_or_else(|| NodeError::Metadata {
        field,
        reason: "must be an object of strings".into(),
    })?;
    map.iter()
        .map(|(key, value)| match value.as_str() {
            Some(text) => Ok((key.clone(), text.to_owned())),
            None => Err(NodeError::Metadata {
                field,
                reason: format!("label `{key}` must be a string"),
            }),
        })
        .collect()
}

fn interception(text: &str) -> Result<Interception, NodeError> {
    match text {
        "" | "REDIRECT" => Ok(Interception::Redirect),
        "TPROXY" => Ok(Interception::Tproxy),
        "NONE" => Ok(Interception::None),
        other => Err(NodeError::Metadata {
            field: "INTERCEPTION_MODE",
            reason: format!("`{other}` is none of REDIRECT, TPROXY, NONE"),
        }),
    }
}

fn port(text: &str) -> Result<Option<u16>, NodeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse::<u16>().ok().filter(|port| *port > 0);
    parsed.map(Some).ok_or_else(|| NodeError::Metadata {
        field: "HTTP_PROXY_PORT",
        reason: format!("`{text}` is no port number"),
    })
}

/// `POD_PORTS` is a JSON array encoded as a string: `[{"name":"http","containerPort":8080,"protocol":"TCP"}]`.
fn pod_ports(text: &str) -> Result<BTreeMap<String, u16>, NodeError> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parsed: Vec<Value> =
        serde_json::from_str(text.trim()).map_err(|error| NodeError::Metadata {
            field: "POD_PORTS",
            reason: error.to_string(),
        })?;
    let named = parsed.iter().filter_map(|port| {
        let name = port.get("name")?.as_str().filter(|name| !name.is_empty())?;
        let number = u16::try_from(port.get("containerPort")?.as_u64()?).ok()?;
        Some((name.to_owned(), number))
    });
    Ok(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn node_of_a_sidecar() {
        let metadata = map(json!({
            "INSTANCE_IPS": "10.0.0.7,fd00::7", "NAMESPACE": "shop", "SERVICE_ACCOUNT": "web", "ISTIO_VERSION": "1.32.0",
            "LABELS": {"app": "web"}, "POD_PORTS": "[{\"name\":\"http\",\"containerPort\":8080}]",
            "PROXY_CONFIG": {"gatewayTopology": {"numTrustedProxies": 2}},
        }));
        let proxy = Proxy::parse(
            "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local",
            metadata,
            "web.shop",
            "",
        )
        .expect("valid");
        assert_eq!(proxy.role, Role::Sidecar);
        assert_eq!(proxy.addresses.len(), 2);
        assert_eq!(&*proxy.domain, "cluster.local");
        assert_eq!(proxy.pod_ports.get("http"), Some(&8080));
        assert_eq!(
            proxy.setting(&["gatewayTopology", "numTrustedProxies"]),
            Some(&json!(2))
        );
        assert!(proxy.speaks_istio());
    }

    #[test]
    fn bad_nodes_say_why() {
        let parse = |id: &str, metadata| Proxy::parse(id, map(metadata), "", "").map(|_| ());
        assert_eq!(
            parse("sidecar~x~a.b~b.svc.c", json!({})),
            Err(NodeError::Address)
        );
        assert!(matches!(
            parse("sidecar~10.0.0.1", json!({})),
            Err(NodeError::Shape(_))
        ));
        assert!(matches!(
            parse("ztunnel~10.0.0.1~a.b~b.svc.c", json!({})),
            Err(NodeError::Role(_))
        ));
        let bad = parse("sidecar~10.0.0.1~a.b~b.svc.c", json!({"LABELS": {"a": 1}}));
        assert_eq!(
            bad.unwrap_err().to_string(),
            "node metadata LABELS: label `a` must be a string"
        );
    }
}
