//! The kinds that are read, and what is said of those that are not.

use std::fmt;

/// A kind of object that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Routes.
    VirtualService,
    /// Policies of destinations.
    DestinationRule,
    /// Ports at the mesh's edge (of Istio's own API).
    Gateway,
    /// Services that the cluster does not know.
    ServiceEntry,
    /// Endpoints that are no pods.
    WorkloadEntry,
    /// What proxies see.
    Sidecar,
    /// What workloads outside of Kubernetes have in common.
    WorkloadGroup,
    /// Changes of the configuration that proxies get.
    EnvoyFilter,
    /// Settings of proxies that take effect when a pod is made.
    ProxyConfig,
    /// Which connections workloads accept.
    PeerAuthentication,
    /// Which requests workloads admit.
    AuthorizationPolicy,
    /// Which tokens workloads accept.
    RequestAuthentication,
    /// What workloads report.
    Telemetry,
    /// Filters of the user's own, as WebAssembly modules.
    WasmPlugin,
    /// Filters of the user's own, as WebAssembly modules or Lua scripts.
    TrafficExtension,
    /// Who runs gateways (Gateway API).
    GatewayClass,
    /// Ports at the mesh's edge (Gateway API).
    KubernetesGateway,
    /// Routes of HTTP requests (Gateway API).
    HttpRoute,
    /// Routes of gRPC calls (Gateway API).
    GrpcRoute,
    /// Routes of TLS connections (Gateway API).
    TlsRoute,
    /// Routes of TCP connections (Gateway API).
    TcpRoute,
    /// Routes of UDP datagrams (Gateway API).
    UdpRoute,
    /// References that other namespaces may make (Gateway API).
    ReferenceGrant,
    /// How gateways verify the servers behind them (Gateway API).
    BackendTlsPolicy,
    /// Further ports of a gateway (Gateway API).
    ListenerSet,
    /// Kubernetes services.
    Service,
    /// Pods.
    Pod,
    /// Endpoints of Kubernetes services.
    EndpointSlice,
    /// Namespaces.
    Namespace,
    /// Settings.
    ConfigMap,
    /// Secrets.
    Secret,
    /// Service accounts.
    ServiceAccount,
    /// Machines.
    Node,
    /// Pods that are replaced step by step.
    Deployment,
    /// Pods with names of their own.
    StatefulSet,
    /// A pod on each machine.
    DaemonSet,
    /// A number of equal pods.
    ReplicaSet,
    /// Pods that run to their end.
    Job,
    /// Jobs by the clock.
    CronJob,
    /// A number of equal pods, the old way.
    ReplicationController,
    /// Ports at the cluster's edge (of Kubernetes' own API).
    Ingress,
    /// Who runs ingresses.
    IngressClass,
    /// Kinds that the API server serves besides its own.
    CustomResourceDefinition,
    /// Who changes objects on their way into the cluster.
    MutatingWebhookConfiguration,
    /// Who refuses objects on their way into the cluster.
    ValidatingWebhookConfiguration,
}

/// Why an object's kind is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// The kind is known, but not in this version.
    #[error("{kind} is not served as {api_version}, only as {served}")]
    Version {
        /// The kind.
        kind: String,
        /// The object's `apiVersion`.
        api_version: String,
        /// Versions that are served.
        served: String,
    },
    /// The kind is not known.
    #[error("unknown kind {kind} ({api_version})")]
    Unknown {
        /// The kind.
        kind: String,
        /// The object's `apiVersion`.
        api_version: String,
    },
}

/// A row of what is known of kinds.
struct Row {
    kind: Kind,
    name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const ALL: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const TELEMETRY: &str = "telemetry.istio.io";
const EXTENSIONS: &str = "extensions.istio.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const V1: &[&str] = &["v1"];
const V1_AND_BETA: &[&str] = &["v1", "v1beta1"];
const V1_AND_ALPHA: &[&str] = &["v1", "v1alpha2", "v1alpha3"];

const fn row(
    kind: Kind,
    name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
) -> Row {
    Row {
        kind,
        name,
        group,
        versions,
    }
}

/// In the order of the enum, so that a kind finds its row by number.
const ROWS: [Row; 45] = [
    row(Kind::VirtualService, "VirtualService", NETWORKING, ALL),
    row(Kind::DestinationRule, "DestinationRule", NETWORKING, ALL),
    row(Kind::Gateway, "Gateway", NETWORKING, ALL),
    row(Kind::ServiceEntry, "ServiceEntry", NETWORKING, ALL),
    row(Kind::WorkloadEntry, "WorkloadEntry", NETWORKING, ALL),
    row(Kind::Sidecar, "Sidecar", NETWORKING, ALL),
    row(Kind::WorkloadGroup, "WorkloadGroup", NETWORKING, ALL),
    row(Kind::EnvoyFilter, "EnvoyFilter", NETWORKING, &["v1alpha3"]),
    row(Kind::ProxyConfig, "ProxyConfig", NETWORKING, &["v1beta1"]),
    row(
        Kind::PeerAuthentication,
        "PeerAuthentication",
        SECURITY,
        V1_AND_BETA,
    ),
    row(
        Kind::AuthorizationPolicy,
        "AuthorizationPolicy",
        SECURITY,
        V1_AND_BETA,
    ),
    row(
        Kind::RequestAuthentication,
        "RequestAuthentication",
        SECURITY,
        V1_AND_BETA,
    ),
    row(Kind::Telemetry, "Telemetry", TELEMETRY, &["v1", "v1alpha1"]),
    row(Kind::WasmPlugin, "WasmPlugin", EXTENSIONS, &["v1alpha1"]),
    row(
        Kind::TrafficExtension,
        "TrafficExtension",
        EXTENSIONS,
        &["v1alpha1"],
    ),
    row(Kind::GatewayClass, "GatewayClass", GATEWAY_API, V1_AND_BETA),
    row(Kind::KubernetesGateway, "Gateway", GATEWAY_API, V1_AND_BETA),
    row(Kind::HttpRoute, "HTTPRoute", GATEWAY_API, V1_AND_BETA),
    row(Kind::GrpcRoute, "GRPCRoute", GATEWAY_API, V1_AND_ALPHA),
    row(Kind::TlsRoute, "TLSRoute", GATEWAY_API, V1_AND_ALPHA),
    row(Kind::TcpRoute, "TCPRoute", GATEWAY_API, V1_AND_ALPHA),
    row(Kind::UdpRoute, "UDPRoute", GATEWAY_API, V1_AND_ALPHA),
    row(
        Kind::ReferenceGrant,
        "ReferenceGrant",
        GATEWAY_API,
        V1_AND_BETA,
    ),
    row(
        Kind::BackendTlsPolicy,
        "BackendTLSPolicy",
        GATEWAY_API,
        V1_AND_ALPHA,
    ),
    row(Kind::ListenerSet, "ListenerSet", GATEWAY_API, V1),
    row(Kind::Service, "Service", "", V1),
    row(Kind::Pod, "Pod", "", V1),
    row(Kind::EndpointSlice, "EndpointSlice", "discovery.k8s.io", V1),
    row(Kind::Namespace, "Namespace", "", V1),
    row(Kind::ConfigMap, "ConfigMap", "", V1),
    row(Kind::Secret, "Secret", "", V1),
    row(Kind::ServiceAccount, "ServiceAccount", "", V1),
    row(Kind::Node, "Node", "", V1),
    row(Kind::Deployment, "Deployment", "apps", V1),
    row(Kind::StatefulSet, "StatefulSet", "apps", V1),
    row(Kind::DaemonSet, "DaemonSet", "apps", V1),
    row(Kind::ReplicaSet, "ReplicaSet", "apps", V1),
    row(Kind::Job, "Job", "batch", V1),
    row(Kind::CronJob, "CronJob", "batch", V1),
    row(Kind::ReplicationController, "ReplicationController", "", V1),
    row(Kind::Ingress, "Ingress", "networking.k8s.io", V1),
    row(Kind::IngressClass, "IngressClass", "networking.k8s.io", V1),
    row(
        Kind::CustomResourceDefinition,
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        V1,
    ),
    row(
        Kind::MutatingWebhookConfiguration,
        "MutatingWebhookConfiguration",
        ADMISSION,
        V1,
    ),
    row(
        Kind::ValidatingWebhookConfiguration,
        "ValidatingWebhookConfiguration",
        ADMISSION,
        V1,
    ),
];

impl Kind {
    /// The kind of an object.
    ///
    /// # Errors
    /// When objects of the kind are not read; the error says which way.
    pub fn find(api_version: &str, kind: &str) -> Result<Self, KindError> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let texts = || (kind.to_owned(), api_version.to_owned());
        if let Some(row) = ROWS
            .iter()
            .find(|row| row.group == group && row.name == kind)
        {
            if row.versions.contains(&version) {
                return Ok(row.kind);
            }
            let (kind, api_version) = texts();
            let served: Vec<_> = row
                .versions
                .iter()
                .map(|version| versioned(row.group, version))
                .collect();
            return Err(KindError::Version {
                kind,
                api_version,
                served: served.join(", "),
            });
        }
        let (kind, api_version) = texts();
        Err(KindError::Unknown { kind, api_version })
    }

    /// The kind's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The kind's API group; empty for Kubernetes' core.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.row().group
    }

    /// The `apiVersion` of new objects of the kind.
    #[must_use]
    pub fn api_version(self) -> String {
        versioned(self.row().group, self.versions()[0])
    }

    /// The versions in which objects of the kind are read, the preferred one first.
    #[must_use]
    pub const fn versions(self) -> &'static [&'static str] {
        self.row().versions
    }

    /// Whether the kind is one of Istio's.
    #[must_use]
    pub fn is_istio(self) -> bool {
        self.group().ends_with(".istio.io")
    }

    /// Whether the kind is one of the Gateway API's.
    #[must_use]
    pub const fn is_gateway_api(self) -> bool {
        matches!(
            self,
            Self::GatewayClass
                | Self::KubernetesGateway
                | Self::HttpRoute
                | Self::GrpcRoute
                | Self::TlsRoute
                | Self::TcpRoute
                | Self::UdpRoute
                | Self::ReferenceGrant
                | Self::BackendTlsPolicy
                | Self::ListenerSet
        )
    }

    /// Whether objects of the kind belong to a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::Node
                | Self::GatewayClass
                | Self::IngressClass
                | Self::CustomResourceDefinition
                | Self::MutatingWebhookConfiguration
                | Self::ValidatingWebhookConfiguration
        )
    }

    /// Whether objects of the kind run pods (pods themselves among them), so that a sidecar may be injected.
    #[must_use]
    pub const fn is_workload(self) -> bool {
        matches!(
            self,
            Self::Pod
                | Self::Deployment
                | Self::StatefulSet
                | Self::DaemonSet
                | Self::ReplicaSet
                | Self::Job
                | Self::CronJob
                | Self::ReplicationController
        )
    }

    /// All kinds that are read.
    pub fn all() -> impl Iterator<Item = Self> {
        ROWS.iter().map(|row| row.kind)
    }

    const fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

fn versioned(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_own_row() {
        for (number, row) in ROWS.iter().enumerate() {
            assert_eq!(row.kind as usize, number, "{}", row.name);
            assert_eq!(Kind::find(&row.kind.api_version(), row.name), Ok(row.kind));
            for version in row.versions {
                assert_eq!(
                    Kind::find(&versioned(row.group, version), row.name),
                    Ok(row.kind)
                );
            }
        }
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (api_version, kind, said) in [
            (
                "networking.istio.io/v1",
                "VirtualServices",
                "unknown kind VirtualServices (networking.istio.io/v1)",
            ),
            (
                "networking.istio.io/v2",
                "VirtualService",
                "is not served as networking.istio.io/v2",
            ),
            (
                "networking.istio.io/v1",
                "EnvoyFilter",
                "is not served as networking.istio.io/v1, only as networking.istio.io/v1alpha3",
            ),
            ("rbac.authorization.k8s.io/v1", "Role", "unknown kind Role"),
            (
                "extensions/v1beta1",
                "Deployment",
                "unknown kind Deployment (extensions/v1beta1)",
            ),
        ] {
            let error = Kind::find(api_version, kind).expect_err(kind).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
