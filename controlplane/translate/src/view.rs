//! What translation looks at: a snapshot, a scope in it, and the traits of the proxies that share the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::mesh::{MeshConfig, ProxyConfig};
use lateen_api::networking::DestinationRule;
use lateen_controlplane_model::destination::Destination;
use lateen_controlplane_model::proxy::{Interception, Labels, Proxy, Role};
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::scope::Scope;
use lateen_controlplane_model::service::{Distribution, Service};
use lateen_controlplane_model::snapshot::{Mesh, Snapshot};

use crate::filters::Extras;

/// Everything about a proxy that shapes its outbound resources; proxies with equal traits share them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traits {
    pub(crate) role: Role,
    pub(crate) namespace: Arc<str>,
    pub(crate) domain: Arc<str>,
    /// Name of the Sidecar resource in effect.
    pub(crate) sidecar: Option<(Arc<str>, Arc<str>)>,
    /// Labels, only where some rule depends on the client's labels or the proxy is a gateway.
    pub(crate) labels: Labels,
    pub(crate) istio: bool,
    pub(crate) ipv6: bool,
    pub(crate) interception: Interception,
    pub(crate) http10: bool,
    pub(crate) idle_timeout: Option<String>,
    pub(crate) http_proxy_port: Option<u16>,
    /// Addresses the mesh allotted are usable.
    pub(crate) auto_addresses: bool,
    pub(crate) locality: Arc<str>,
    pub(crate) network: Arc<str>,
    /// Node, only where some service keeps to a client's node.
    pub(crate) node: Option<Arc<str>>,
    /// Parts of the ProxyConfig that shape connection managers, as JSON.
    pub(crate) settings: String,
}

/// A snapshot as one group of proxies sees it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) scope: Arc<Scope>,
    pub(crate) traits: Traits,
    /// The pod's ProxyConfig, as far as [`SETTINGS`] go.
    pub(crate) settings: ProxyConfig,
    /// Names of the workload, for spans; only listeners carry them.
    pub(crate) tags: Tags,
}

/// What spans say of the workload: tag and value, in order.
pub(crate) type Tags = Vec<(&'static str, String)>;

const SETTINGS: [&str; 3] = ["tracing", "proxyHeaders", "gatewayTopology"];

impl Traits {
    /// The traits of a proxy under a snapshot. `near` says that some service [keeps to a client's node](keeps_to_node).
    pub(crate) fn of(proxy: &Proxy, snapshot: &Snapshot, near: bool) -> Self {
        let sidecar = match proxy.role {
            Role::Sidecar => snapshot.sidecars.select(&proxy.namespace, &proxy.labels),
            Role::Router => None,
        };
        let labelled = proxy.role == Role::Router
            || snapshot.virtual_services.depends_on_labels()
            || snapshot.destinations.depends_on_labels(&proxy.namespace);
        let settings: BTreeMap<&str, &serde_json::Value> = SETTINGS
            .iter()
            .filter_map(|key| Some((*key, proxy.config.get(*key)?)))
            .collect();
        Self {
            role: proxy.role,
            namespace: Arc::clone(&proxy.namespace),
            domain: Arc::clone(&proxy.domain),
            sidecar: sidecar.map(|rule| (Arc::clone(&rule.namespace), Arc::clone(&rule.name))),
            labels: if labelled {
                proxy.labels.clone()
            } else {
                Labels::new()
            },
            istio: proxy.speaks_istio(),
            ipv6: proxy.is_ipv6_only(),
            interception: proxy.interception,
            http10: proxy.http10,
            idle_timeout: proxy.idle_timeout.clone(),
            http_proxy_port: proxy
                .http_proxy_port
                .or_else(|| mesh_proxy_port(&snapshot.mesh)),
            auto_addresses: proxy.dns_capture && proxy.dns_auto_allocate,
            locality: Arc::clone(&proxy.locality),
            network: Arc::clone(&proxy.network),
            node: near.then(|| Arc::clone(&proxy.node_name)),
            settings: serde_json::to_string(&settings).unwrap_or_default(),
        }
    }
}

fn mesh_proxy_port(mesh: &Mesh) -> Option<u16> {
    u16::try_from(mesh.config.proxy_http_port)
        .ok()
        .filter(|port| *port > 0)
}

/// True when the endpoints of a service depend on the client's node.
pub(crate) fn keeps_to_node(service: &Service) -> bool {
    service.node_local || service.distribution == Distribution::SameNode
}

impl View {
    /// A view of a snapshot for proxies with these traits.
    pub(crate) fn new(snapshot: Arc<Snapshot>, scope: Arc<Scope>, traits: Traits) -> Self {
        let settings = serde_json::from_str(&traits.settings).unwrap_or_default();
        Self {
            snapshot,
            scope,
            traits,
            settings,
            tags: Tags::new(),
        }
    }

    /// The same view for listeners of one workload.
    pub(crate) fn tagged(self: &Arc<Self>, tags: Tags) -> Self {
        let (snapshot, scope) = (Arc::clone(&self.snapshot), Arc::clone(&self.scope));
        Self {
            tags,
            ..Self::new(snapshot, scope, self.traits.clone())
        }
    }

    pub(crate) fn mesh(&self) -> &Mesh {
        &self.snapshot.mesh
    }

    pub(crate) fn config(&self) -> &MeshConfig {
        &self.snapshot.mesh.config
    }

    pub(crate) fn is_router(&self) -> bool {
        self.traits.role == Role::Router
    }

    /// What of Istio's filters these proxies get.
    pub(crate) fn extras(&self) -> Extras {
        let metrics = self
            .config()
            .default_providers
            .as_ref()
            .is_some_and(|providers| {
                providers
                    .metrics
                    .iter()
                    .any(|name| self.is_prometheus(name))
            });
        Extras {
            istio: self.traits.istio,
            metrics,
        }
    }

    fn is_prometheus(&self, name: &str) -> bool {
        use lateen_api::mesh::Provider;
        let declared = self
            .config()
            .extension_providers
            .iter()
            .find(|provider| provider.name == name);
        match declared.map(|provider| &provider.provider) {
            Some(provider) => matches!(provider, Some(Provider::Prometheus(_))),
            None => name == "prometheus",
        }
    }

    /// The DestinationRule these proxies use for a service.
    pub(crate) fn destination(&self, service: &Service) -> Option<&Arc<Destination>> {
        let root = self.mesh().root_namespace();
        self.snapshot.destinations.lookup(
            &self.traits.namespace,
            &self.traits.labels,
            service,
            root,
        )
    }

    /// The same, only its rule.
    pub(crate) fn rule(&self, service: &Service) -> Option<&Rule<DestinationRule>> {
        self.destination(service)
            .map(|destination| &destination.rule)
    }

    /// The address that stands for all.
    pub(crate) fn wildcard(&self) -> &'static str {
        if self.traits.ipv6 { "::" } else { "0.0.0.0" }
    }

    /// The loopback address.
    pub(crate) fn loopback(&self) -> &'static str {
        if self.traits.ipv6 { "::1" } else { "127.0.0.1" }
    }

    /// Idle time after which connections are closed, where the pod sets one.
    pub(crate) fn idle_timeout(&self) -> Option<crate::pb::Duration> {
        let text = self.traits.idle_timeout.as_deref()?;
        text.parse::<lateen_api::Duration>()
            .ok()
            .and_then(crate::wire::span)
    }
}

/// The tags of a proxy.
pub(crate) fn tags(proxy: &Proxy, mesh: &Mesh) -> Tags {
    let meta = |key: &str| {
        proxy
            .metadata
            .get(key)
            .and_then(serde_json::Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let label = |keys: [&str; 3]| keys.iter().find_map(|key| proxy.labels.get(*key).cloned());
    let workload = || meta("WORKLOAD_NAME").map_or_else(|| "unknown".to_owned(), str::to_owned);
    let service = label([
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ])
    .unwrap_or_else(workload);
    let revision = label([
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    let mesh_id = meta("MESH_ID").map_or_else(|| mesh.trust_domain(), str::to_owned);
    vec![
        (
            "istio.canonical_revision",
            revision.unwrap_or_else(|| "latest".to_owned()),
        ),
        ("istio.canonical_service", service),
        ("istio.cluster_id", proxy.cluster.to_string()),
        ("istio.mesh_id", mesh_id),
        ("istio.namespace", proxy.namespace.to_string()),
    ]
}
