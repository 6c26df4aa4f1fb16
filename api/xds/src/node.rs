//! Who a proxy says it is: node id and metadata (contract xds.md §3).

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use envoy_types::pb::envoy::config::core::v3 as core;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::structs::{self, StructError};

/// Largest node message that is read, in bytes.
pub const MAX_NODE_BYTES: usize = 256 * 1024;

/// Largest number of labels or annotations that is read.
pub const MAX_LABELS: usize = 4096;

/// Why a node is refused; the texts go to the client.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The id has another form.
    #[error("node id {0:?} is not of the form <type>~<ip>~<pod>.<namespace>~<domain>")]
    Id(String),
    /// The type is none of the contract.
    #[error("unknown node type {0:?}; known are sidecar, router, waypoint, ztunnel, agentgateway")]
    Type(String),
    /// Neither the id nor INSTANCE_IPS holds an address.
    #[error("no valid IP address in the service node id or metadata")]
    NoAddress,
    /// The metadata does not read.
    #[error("node metadata: {0}")]
    Metadata(String),
    /// More than is read.
    #[error("node is larger than {MAX_NODE_BYTES} bytes or has more than {MAX_LABELS} labels")]
    TooLarge,
}

impl From<StructError> for NodeError {
    fn from(error: StructError) -> Self {
        Self::Metadata(error.to_string())
    }
}

/// What kind of proxy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeType {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
    /// A waypoint of the ambient mode.
    Waypoint,
    /// The node proxy of the ambient mode.
    Ztunnel,
    /// The AI gateway.
    Agentgateway,
}

impl NodeType {
    const ALL: [Self; 5] = [
        Self::Sidecar,
        Self::Router,
        Self::Waypoint,
        Self::Ztunnel,
        Self::Agentgateway,
    ];

    /// As node ids write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
            Self::Waypoint => "waypoint",
            Self::Ztunnel => "ztunnel",
            Self::Agentgateway => "agentgateway",
        }
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NodeType {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| NodeError::Type(text.chars().take(64).collect()))
    }
}

/// A node id: `<type>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeId {
    /// Kind of proxy.
    pub kind: NodeType,
    /// Address as written; may be empty where INSTANCE_IPS has it.
    pub ip: String,
    /// Pod name.
    pub pod: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// DNS domain: `<namespace>.svc.<domain>`.
    pub domain: String,
}

impl NodeId {
    /// `<pod>.<namespace>`, as tables and debug requests name a proxy.
    #[must_use]
    pub fn proxy_id(&self) -> String {
        format!("{}.{}", self.pod, self.namespace)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}~{}~{}.{}~{}",
            self.kind, self.ip, self.pod, self.namespace, self.domain
        )
    }
}

impl FromStr for NodeId {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<Self, NodeError> {
        let error = || NodeError::Id(text.chars().take(256).collect());
        let parts: Vec<&str> = text.splitn(5, '~').collect();
        let [kind, ip, id, domain] = parts.as_slice() else {
            return Err(error());
        };
        let (pod, namespace) = id.rsplit_once('.').ok_or_else(error)?;
        if pod.is_empty() || namespace.is_empty() || text.chars().any(char::is_control) {
            return Err(error());
        }
        let (ip, pod) = ((*ip).to_owned(), pod.to_owned());
        Ok(Self {
            kind: kind.parse()?,
            ip,
            pod,
            namespace: namespace.to_owned(),
            domain: (*domain).to_owned(),
        })
    }
}

/// The metadata of a node. Keys that have no field here stay in `other`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", default)]
pub struct NodeMetadata {
    /// The proxy's ProxyConfig, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_config: Option<Value>,
    /// Version of Istio, or of what speaks like it; its presence says that Istio's own filters are known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub istio_version: String,
    /// Revision of the control plane that injected it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub istio_revision: String,
    /// Build of the proxy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub istio_proxy_sha: String,
    /// Labels of the pod, without pod-template-hash.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Labels that do not change while the pod lives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub static_labels: BTreeMap<String, String>,
    /// Annotations of the pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Addresses of the pod, joined by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance_ips: String,
    /// Pod name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Machine the pod runs on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// Name of the workload: the Deployment and the like.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload_name: String,
    /// API path of the workload.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Service account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// Names of the application's containers, joined by commas.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_containers: String,
    /// REDIRECT, TPROXY or NONE.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interception_mode: String,
    /// Cluster the pod runs in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster_id: String,
    /// Network the pod is in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// Id of the mesh.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mesh_id: String,
    /// Ports of the pod: a JSON array as a string.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_ports: String,
    /// Generator that answers, for debug clients `event`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generator: String,
    /// "true" where the proxy captures DNS.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dns_capture: String,
    /// "true" where services without an address get one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dns_auto_allocate: String,
    /// Port of the explicit HTTP proxy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http_proxy_port: String,
    /// Idle timeout of connections, a duration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub idle_timeout: String,
    /// "1" where HTTP/1.0 is served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http10: String,
    /// "true" where HBONE is spoken.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub enable_hbone: String,
    /// Every other key.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl NodeMetadata {
    /// From the JSON form.
    ///
    /// # Errors
    /// When a known key has another type, or there are too many labels.
    pub fn from_json(value: Value) -> Result<Self, NodeError> {
        let metadata: Self = serde_json::from_value(value)
            .map_err(|error| NodeError::Metadata(error.to_string()))?;
        if metadata.labels.len() > MAX_LABELS || metadata.annotations.len() > MAX_LABELS {
            return Err(NodeError::TooLarge);
        }
        Ok(metadata)
    }

    /// The JSON form; empty values are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether the client knows the filters that only Istio's proxies have.
    #[must_use]
    pub fn knows_istio_filters(&self) -> bool {
        !self.istio_version.is_empty()
    }

    /// A switch of the contract, a string `"true"` or `"1"`.
    #[must_use]
    pub fn switch(value: &str) -> bool {
        value.eq_ignore_ascii_case("true") || value == "1"
    }
}

/// A node: id and metadata together.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The id.
    pub id: NodeId,
    /// Service cluster, `<app>.<namespace>`.
    pub cluster: String,
    /// The metadata.
    pub metadata: NodeMetadata,
    /// `region/zone/subzone` as far as known.
    pub locality: Option<core::Locality>,
}

impl Node {
    /// Reads the node of a discovery request.
    ///
    /// # Errors
    /// When the id or the metadata does not read, or it is larger than the caps.
    pub fn from_proto(node: &core::Node) -> Result<Self, NodeError> {
        if node.encoded_len() > MAX_NODE_BYTES {
            return Err(NodeError::TooLarge);
        }
        let metadata = match &node.metadata {
            Some(fields) => NodeMetadata::from_json(structs::to_json(fields)?)?,
            None => NodeMetadata::default(),
        };
        let read = Self {
            id: node.id.parse()?,
            cluster: node.cluster.clone(),
            metadata,
            locality: node.locality.clone(),
        };
        if read.id.kind != NodeType::Ztunnel && read.addresses().is_empty() {
            return Err(NodeError::NoAddress);
        }
        Ok(read)
    }

    /// The node as discovery requests carry it.
    ///
    /// # Errors
    /// When the metadata is nested too deep.
    pub fn to_proto(&self) -> Result<core::Node, NodeError> {
        Ok(core::Node {
            id: self.id.to_string(),
            cluster: self.cluster.clone(),
            metadata: Some(structs::from_json(&self.metadata.to_json())?),
            locality: self.locality.clone(),
            ..Default::default()
        })
    }

    /// Addresses of the pod: INSTANCE_IPS, else the id's; what is no address is left out.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let listed: Vec<IpAddr> = self
            .metadata
            .instance_ips
            .split(',')
            .filter_map(|ip| ip.trim().parse().ok())
            .collect();
        if listed.is_empty() {
            self.id.ip.parse().into_iter().collect()
        } else {
            listed
        }
    }

    /// Namespace whose configuration applies: NAMESPACE, else the id's.
    #[must_use]
    pub fn namespace(&self) -> &str {
        if self.metadata.namespace.is_empty() {
            &self.id.namespace
        } else {
            &self.metadata.namespace
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(id: &str, metadata: Value) -> core::Node {
        core::Node {
            id: id.into(),
            metadata: Some(structs::from_json(&metadata).unwrap()),
            ..Default::default()
        }
    }

    #[test]
    fn ids() {
        let text = "sidecar~10.0.0.1~reviews-v1.x.default~default.svc.cluster.local";
        let id: NodeId = text.parse().unwrap();
        assert_eq!(
            (id.kind, id.pod.as_str(), id.namespace.as_str()),
            (NodeType::Sidecar, "reviews-v1.x", "default")
        );
        assert_eq!(id.to_string(), text);
        assert_eq!(id.proxy_id(), "reviews-v1.x.default");
        for bad in [
            "",
            "sidecar~1.1.1.1~a.b",
            "sidecar~1.1.1.1~a~c",
            "sidecar~1~a.b~c~d",
            "alien~1.1.1.1~a.b~c",
            "sidecar~1.1.1.1~.b~c",
            "sidecar~1.1.1.1~a\0.b~c",
        ] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_reads_and_keeps_what_it_does_not_know() {
        let metadata = json!({
            "ISTIO_VERSION": "1.27", "LABELS": {"app": "reviews"}, "INSTANCE_IPS": "10.0.0.2,fd00::2", "NAMESPACE": "other",
            "PROXY_CONFIG": {"concurrency": 2}, "HTTP10": "1", "STS_PORT": "0"
        });
        let read = Node::from_proto(&node("sidecar~~a.b~b.svc.c", metadata.clone())).unwrap();
        assert_eq!(read.namespace(), "other");
        assert_eq!(
            read.addresses(),
            [
                "10.0.0.2".parse::<IpAddr>().unwrap(),
                "fd00::2".parse().unwrap()
            ]
        );
        assert!(read.metadata.knows_istio_filters() && NodeMetadata::switch(&read.metadata.http10));
        assert_eq!(read.metadata.other.get("STS_PORT"), Some(&json!("0")));
        assert_eq!(read.metadata.to_json(), metadata);
        assert_eq!(Node::from_proto(&read.to_proto().unwrap()).unwrap(), read);
    }

    #[test]
    fn refusals_name_the_reason() {
        let error = |id, metadata| {
            Node::from_proto(&node(id, metadata))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("sidecar~x~a.b~c", json!({})),
            "no valid IP address in the service node id or metadata"
        );
        assert!(
            error("sidecar~1.1.1.1~a.b~c", json!({"LABELS": "x"})).starts_with("node metadata: ")
        );
        let many: Map<String, Value> = (0..=MAX_LABELS)
            .map(|i| (format!("l{i}"), json!("")))
            .collect();
        assert!(
            error("sidecar~1.1.1.1~a.b~c", json!({ "LABELS": many })).starts_with("node is larger")
        );
    }
}
