//! What the injector is told besides the pod.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use lateen_api::mesh::MeshConfig;

use crate::values::Values;

/// Everything about the mesh that the injected pod depends on.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The mesh config.
    pub mesh: MeshConfig,
    /// The Helm values.
    pub values: Values,
    /// Which pods are injected.
    pub gate: Gate,
    /// Whether the proxy becomes a native sidecar where a pod does not say.
    pub native_sidecars: bool,
    /// The compliance policy of the control plane (its `COMPLIANCE_POLICY`), for example `fips-140-3`; empty for none.
    pub compliance_policy: String,
    /// Whether inbound traffic goes to the application's localhost instead of its pod address.
    pub inbound_localhost: bool,
}

/// The rules of the config's `policy`, `neverInjectSelector` and `alwaysInjectSelector`.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// What happens to pods that nothing else decides about.
    pub policy: Policy,
    /// Pods that match one of them are not injected unless they ask for it.
    pub never_inject: Vec<LabelSelector>,
    /// Pods that match one of them are injected unless they ask not to be.
    pub always_inject: Vec<LabelSelector>,
}

/// The config's `policy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Pods are injected unless they ask not to be.
    #[default]
    Enabled,
    /// Pods are injected only if they ask for it.
    Disabled,
    /// No pod is injected, whatever it asks for (any other text in the config).
    Never,
}

/// The workload that a pod belongs to, as its labels and metrics will name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The workload's API version as written, for example `apps/v1`.
    pub api_version: String,
    /// The workload's kind, for example `Deployment`.
    pub kind: String,
    /// The workload's name.
    pub name: String,
    /// The workload's namespace; empty means `default`.
    pub namespace: String,
}

impl Settings {
    /// The control plane's revision; `default` counts as none.
    #[must_use]
    pub fn revision(&self) -> &str {
        match self.values.revision.as_str() {
            "default" => "",
            revision => revision,
        }
    }

    /// The address at which proxies of this revision find the control plane: `defaultConfig.discoveryAddress` of such a mesh.
    #[must_use]
    pub fn discovery_address(&self) -> String {
        format!("{}:15012", self.control_plane())
    }

    /// The name of the control plane's Service: `istiod`, with the revision behind a dash.
    pub(crate) fn control_plane(&self) -> String {
        let dash = if self.revision().is_empty() { "" } else { "-" };
        format!(
            "istiod{dash}{}.{}.svc",
            self.revision(),
            self.values.global.istio_namespace
        )
    }
}
