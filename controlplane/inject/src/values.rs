//! The Helm values that reach the injected pod, with the defaults of Istio's chart (contract/inject.md §2–4). Other values are of no
//! meaning to injection and may stand in the same file.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Values as a chart gives them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Values {
    /// Settings of all components.
    pub global: Global,
    /// Settings of the webhook.
    pub sidecar_injector_webhook: Webhook,
    /// Settings that come from the control plane's own chart.
    pub pilot: Pilot,
    /// Settings of gateways.
    pub gateways: Gateways,
    /// The control plane's revision; empty for the default one.
    pub revision: String,
}

/// `global`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Global {
    /// Where images come from.
    pub hub: String,
    /// The tag of images; a number is taken as it is printed.
    #[serde(deserialize_with = "scalar")]
    pub tag: String,
    /// The kind of image (`debug`, `distroless`), a suffix of the tag.
    pub variant: String,
    /// When images are pulled; empty leaves it to the cluster.
    pub image_pull_policy: String,
    /// Names of secrets for pulling images.
    pub image_pull_secrets: Vec<String>,
    /// Settings of the proxy's container.
    pub proxy: Proxy,
    /// Settings of the init container.
    #[serde(rename = "proxy_init")]
    pub proxy_init: ProxyInit,
    /// Log settings of the agent.
    pub logging: Logging,
    /// Whether logs are JSON.
    pub log_as_json: bool,
    /// Settings of the token exchange server.
    pub sts: Sts,
    /// Where certificates come from; empty means the control plane.
    pub ca_address: String,
    /// The name of a certificate authority that is not Istio's.
    pub ca_name: String,
    /// Who signs the control plane's certificate.
    pub pilot_cert_provider: String,
    /// The network of this cluster; empty when there is only one.
    pub network: String,
    /// The name of the mesh; empty means the trust domain.
    #[serde(rename = "meshID")]
    pub mesh_id: String,
    /// Settings of a mesh of several clusters.
    pub multi_cluster: MultiCluster,
    /// The trust domain where mesh config has none.
    pub trust_domain: String,
    /// Whether the legacy secret `istio.<service account>` is mounted.
    pub mount_mtls_certs: bool,
    /// Settings of tokens.
    pub sds: Sds,
    /// The namespace of the control plane.
    pub istio_namespace: String,
    /// Whether redirect rules are written with nft.
    pub native_nftables: bool,
}

/// `global.proxy`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Proxy {
    /// The image's name, or a whole image when it holds a `/`.
    pub image: String,
    /// The DNS domain of the cluster.
    pub cluster_domain: String,
    /// The proxy's log level.
    pub log_level: String,
    /// Log levels of single components.
    pub component_log_level: String,
    /// Where ejections are logged; empty for nowhere.
    pub outlier_log_path: String,
    /// Whether the containers are privileged.
    pub privileged: bool,
    /// The port of the agent's pages.
    pub status_port: u16,
    /// Readiness probe: seconds before the first check.
    pub readiness_initial_delay_seconds: u32,
    /// Readiness probe: seconds between checks.
    pub readiness_period_seconds: u32,
    /// Readiness probe: failures until not ready.
    pub readiness_failure_threshold: u32,
    /// Settings of the startup probe.
    pub startup_probe: StartupProbe,
    /// Outbound ranges that are redirected.
    #[serde(rename = "includeIPRanges")]
    pub include_ip_ranges: String,
    /// Outbound ranges that are not.
    #[serde(rename = "excludeIPRanges")]
    pub exclude_ip_ranges: String,
    /// Inbound ports that are redirected.
    #[serde(deserialize_with = "scalar")]
    pub include_inbound_ports: String,
    /// Inbound ports that are not.
    #[serde(deserialize_with = "scalar")]
    pub exclude_inbound_ports: String,
    /// Outbound ports that are redirected whatever the address.
    #[serde(deserialize_with = "scalar")]
    pub include_outbound_ports: String,
    /// Outbound ports that are not redirected.
    #[serde(deserialize_with = "scalar")]
    pub exclude_outbound_ports: String,
    /// Requests and limits, as in a container.
    pub resources: Value,
    /// Hooks in place of the generated ones, as in a container; `null` for none.
    pub lifecycle: Value,
    /// The tracer; `datadog` adds its settings.
    pub tracer: String,
    /// Whether applications start after the proxy.
    pub hold_application_until_proxy_starts: bool,
    /// Whether the proxy may bind ports below 1024.
    pub cap_net_bind_service: bool,
    /// The seccomp profile of both containers; `null` for none.
    pub seccomp_profile: Value,
    /// `enabled` or `disabled`: whether pods without a wish are injected.
    pub auto_inject: String,
}

/// `global.proxy.startupProbe`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StartupProbe {
    /// Whether there is one.
    pub enabled: bool,
    /// Failures until the container is restarted.
    pub failure_threshold: u32,
}

/// `global.proxy_init`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProxyInit {
    /// The image's name, or a whole image when it holds a `/`.
    pub image: String,
    /// Whether rules are written over existing ones.
    pub force_apply_iptables: bool,
}

/// `global.logging`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Logging {
    /// The agent's log levels.
    pub level: String,
}

/// `global.sts`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sts {
    /// The port of the token exchange server; 0 for none.
    pub service_port: u16,
}

/// `global.multiCluster`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MultiCluster {
    /// This cluster's name; empty means `Kubernetes`.
    pub cluster_name: String,
}

/// `global.sds`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sds {
    /// The projected token.
    pub token: Token,
}

/// `global.sds.token`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Token {
    /// Whom the token is for.
    pub aud: String,
}

/// `sidecarInjectorWebhook`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Webhook {
    /// Whether the application's probes go by way of the agent.
    #[serde(rename = "rewriteAppHTTPProbe")]
    pub rewrite_app_http_probe: bool,
    /// Templates of one's own, name to text. Not supported yet: [`Values::check`] refuses them.
    pub templates: BTreeMap<String, Value>,
}

/// `pilot`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Pilot {
    /// Settings of the CNI plugin.
    pub cni: Cni,
    /// The control plane's environment.
    pub env: Map<String, Value>,
}

/// `pilot.cni`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cni {
    /// Whether the CNI plugin writes redirect rules.
    pub enabled: bool,
    /// `default` or `multus`.
    pub provider: String,
}

/// `gateways`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateways {
    /// The pod's security context; `null` for the generated one.
    pub security_context: Value,
    /// The seccomp profile of gateways; `null` for none.
    pub seccomp_profile: Value,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            hub: "lateen".to_owned(),
            tag: env!("CARGO_PKG_VERSION").to_owned(),
            variant: String::new(),
            image_pull_policy: String::new(),
            image_pull_secrets: Vec::new(),
            proxy: Proxy::default(),
            proxy_init: ProxyInit::default(),
            logging: Logging::default(),
            log_as_json: false,
            sts: Sts::default(),
            ca_address: String::new(),
            ca_name: String::new(),
            pilot_cert_provider: "istiod".to_owned(),
            network: String::new(),
            mesh_id: String::new(),
            multi_cluster: MultiCluster::default(),
            trust_domain: "cluster.local".to_owned(),
            mount_mtls_certs: false,
            sds: Sds::default(),
            istio_namespace: "istio-system".to_owned(),
            native_nftables: false,
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        let any = || "*".to_owned();
        Self {
            image: "proxyv2".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            log_level: "warning".to_owned(),
            component_log_level: "misc:error".to_owned(),
            outlier_log_path: String::new(),
            privileged: false,
            status_port: 15020,
            readiness_initial_delay_seconds: 0,
            readiness_period_seconds: 15,
            readiness_failure_threshold: 4,
            startup_probe: StartupProbe::default(),
            include_ip_ranges: any(),
            exclude_ip_ranges: String::new(),
            include_inbound_ports: any(),
            exclude_inbound_ports: String::new(),
            include_outbound_ports: String::new(),
            exclude_outbound_ports: String::new(),
            resources: serde_json::json!({
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"cpu": "2000m", "memory": "1024Mi"},
            }),
            lifecycle: Value::Null,
            tracer: "none".to_owned(),
            hold_application_until_proxy_starts: false,
            cap_net_bind_service: false,
            seccomp_profile: Value::Null,
            auto_inject: "enabled".to_owned(),
        }
    }
}

impl Default for StartupProbe {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 600,
        }
    }
}

impl Default for ProxyInit {
    fn default() -> Self {
        Self {
            image: "proxyv2".to_owned(),
            force_apply_iptables: false,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: "default:info".to_owned(),
        }
    }
}

impl Default for Token {
    fn default() -> Self {
        Self {
            aud: "istio-ca".to_owned(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            rewrite_app_http_probe: true,
            templates: BTreeMap::new(),
        }
    }
}

/// Values that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// A value has the wrong shape.
    #[error("the values cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// A value that needs what is not supported yet.
    #[error(
        "the value `{0}` is not supported yet: remove it, or inject with the stock templates `sidecar` and `gateway`"
    )]
    Unsupported(&'static str),
}

impl Values {
    /// Reads values that a YAML or JSON file gave; what is missing or `null` has its default.
    ///
    /// # Errors
    /// When a value has the wrong shape, or needs what is not supported ([`Values::check`]).
    pub fn read(given: &Value) -> Result<Self, ValuesError> {
        let values: Self = serde_json::from_value(match without_empty(given) {
            Value::Null => Value::Object(Map::new()),
            some => some,
        })?;
        values.check()?;
        Ok(values)
    }

    /// Refuses values that would change the output in a way that is not supported.
    ///
    /// # Errors
    /// [`ValuesError::Unsupported`] with the value's path.
    pub fn check(&self) -> Result<(), ValuesError> {
        if self.sidecar_injector_webhook.templates.is_empty() {
            return Ok(());
        }
        Err(ValuesError::Unsupported("sidecarInjectorWebhook.templates"))
    }

    /// Whether a variable of the control plane's environment is set to true.
    pub(crate) fn pilot_flag(&self, name: &str) -> bool {
        match self.pilot.env.get(name) {
            Some(Value::Bool(on)) => *on,
            Some(Value::String(text)) => {
                matches!(text.as_str(), "true" | "1" | "True" | "TRUE" | "t" | "T")
            }
            _ => false,
        }
    }
}

/// A copy without `null` and without the maps that this leaves empty.
fn without_empty(value: &Value) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let kept: Map<String, Value> = map
        .iter()
        .map(|(key, inner)| (inner, key.clone(), without_empty(inner)))
        .filter(|(before, _, after)| {
            !after.is_null()
                && (**before == *after || after.as_object().is_none_or(|m| !m.is_empty()))
        })
        .map(|(_, key, after)| (key, after))
        .collect();
    Value::Object(kept)
}

/// Text, a number or a bool, as text.
fn scalar<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    match Value::deserialize(input)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(serde::de::Error::custom("expected text or a number")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_null_has_its_default_and_numbers_are_tags() {
        let values = Values::read(&json!({
            "global": {"tag": 1.28, "hub": null, "proxy": {"resources": {"limits": {"cpu": null}, "requests": {"cpu": "1"}}}},
            "base": {"anything": true}
        }))
        .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(values.global.tag, "1.28");
        assert_eq!(values.global.hub, "lateen");
        assert_eq!(
            values.global.proxy.resources,
            json!({"requests": {"cpu": "1"}})
        );
        assert_eq!(values.global.proxy.readiness_period_seconds, 15);
        assert_eq!(
            Values::read(&Value::Null).unwrap_or_else(|e| panic!("{e}")),
            Values::default()
        );
    }

    #[test]
    fn templates_of_ones_own_are_refused_by_name() {
        let error =
            Values::read(&json!({"sidecarInjectorWebhook": {"templates": {"mine": "spec: {}"}}}))
                .expect_err("templates");
        assert!(
            error
                .to_string()
                .contains("`sidecarInjectorWebhook.templates` is not supported"),
            "{error}"
        );
    }
}
