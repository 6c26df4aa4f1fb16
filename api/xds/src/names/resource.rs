use std::fmt;
use std::str::FromStr;

use super::error::NameError;

/// What type URLs of protobuf messages start with.
pub const PREFIX: &str = "type.googleapis.com/";

/// Type URLs, for matching.
pub mod type_url {
    /// Clusters, CDS.
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// Listeners, LDS.
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// Route configurations, RDS.
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Endpoints, EDS.
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// Secrets, SDS.
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// Extension configurations, ECDS.
    pub const EXTENSION_CONFIG: &str =
        "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    /// The DNS name table, NDS.
    pub const NAME_TABLE: &str = "type.googleapis.com/istio.networking.nds.v1.NameTable";
    /// Health of a VM, client to server.
    pub const HEALTH: &str = "type.googleapis.com/istio.v1.HealthInformation";
    /// Proxy configuration, PCDS.
    pub const PROXY_CONFIG: &str = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig";
    /// Bootstrap, BDS.
    pub const BOOTSTRAP: &str = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap";
    /// Workloads and services of the node proxy, WDS.
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    /// Workloads of the node proxy, WDS.
    pub const WORKLOAD: &str = "type.googleapis.com/istio.workload.Workload";
    /// Authorization of the node proxy, WADS.
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
    /// A debug page by name.
    pub const DEBUG: &str = "istio.io/debug";
    /// State of every connected proxy.
    pub const DEBUG_SYNCZ: &str = "istio.io/debug/syncz";
    /// Configuration of one proxy.
    pub const DEBUG_CONFIG_DUMP: &str = "istio.io/debug/config_dump";
}

/// A type of xDS resource (contract xds.md §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "documented at the constants of `type_url`")]
pub enum ResourceType {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
    Address,
    Workload,
    Authorization,
    ExtensionConfig,
    NameTable,
    Health,
    ProxyConfig,
    Bootstrap,
    Debug,
    DebugSyncz,
    DebugConfigDump,
}

/// Type with its URL and its short name, in push order: CDS, EDS, LDS, RDS, SDS, then the others.
const TYPES: &[(ResourceType, &str, &str)] = &[
    (ResourceType::Cluster, type_url::CLUSTER, "cds"),
    (ResourceType::Endpoint, type_url::ENDPOINT, "eds"),
    (ResourceType::Listener, type_url::LISTENER, "lds"),
    (ResourceType::Route, type_url::ROUTE, "rds"),
    (ResourceType::Secret, type_url::SECRET, "sds"),
    (ResourceType::Address, type_url::ADDRESS, "wds"),
    (ResourceType::Workload, type_url::WORKLOAD, "wds"),
    (ResourceType::Authorization, type_url::AUTHORIZATION, "wads"),
    (
        ResourceType::ExtensionConfig,
        type_url::EXTENSION_CONFIG,
        "ecds",
    ),
    (ResourceType::NameTable, type_url::NAME_TABLE, "nds"),
    (ResourceType::Health, type_url::HEALTH, "health"),
    (ResourceType::ProxyConfig, type_url::PROXY_CONFIG, "pcds"),
    (ResourceType::Bootstrap, type_url::BOOTSTRAP, "bds"),
    (ResourceType::Debug, type_url::DEBUG, "debug"),
    (ResourceType::DebugSyncz, type_url::DEBUG_SYNCZ, "syncz"),
    (
        ResourceType::DebugConfigDump,
        type_url::DEBUG_CONFIG_DUMP,
        "config_dump",
    ),
];

/// Short names of the types that a proxy subscribes to, in push order.
pub const SHORT_PREFIXES: &[&str] = &["cds", "eds", "lds", "rds", "sds", "ecds", "nds"];

impl ResourceType {
    /// Every type in push order.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|(kind, _, _)| *kind)
    }

    /// The type of a type URL.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        TYPES
            .iter()
            .find(|(_, known, _)| *known == url)
            .map(|(kind, _, _)| *kind)
    }

    /// The type of a short name, such as `cds`.
    #[must_use]
    pub fn from_short(short: &str) -> Option<Self> {
        TYPES
            .iter()
            .find(|(_, _, known)| *known == short)
            .map(|(kind, _, _)| *kind)
    }

    /// Its type URL.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        self.row().1
    }

    /// Its short name in metrics and tables, such as `cds`.
    #[must_use]
    pub fn short(self) -> &'static str {
        self.row().2
    }

    /// Whether a subscription without names means all resources.
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        matches!(
            self,
            Self::Cluster
                | Self::Listener
                | Self::Address
                | Self::Workload
                | Self::Authorization
                | Self::NameTable
        )
    }

    /// Whether it is a debug request, which never creates a watch.
    #[must_use]
    pub fn is_debug(self) -> bool {
        matches!(self, Self::Debug | Self::DebugSyncz | Self::DebugConfigDump)
    }

    fn row(self) -> &'static (Self, &'static str, &'static str) {
        TYPES
            .iter()
            .find(|(kind, _, _)| *kind == self)
            .unwrap_or(&TYPES[0])
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_url())
    }
}

impl FromStr for ResourceType {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::from_type_url(text)
            .ok_or_else(|| NameError::new("resource type", text, "not a type of the contract"))
    }
}
