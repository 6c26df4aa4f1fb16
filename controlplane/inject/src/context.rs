//! What a template sees: the pod as the user gave it, its effective proxy settings, the mesh.

use std::fmt::Display;

use lateen_api::mesh::ProxyConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::InjectError;
use crate::names;
use crate::pod::{List, PodObject, name_of};
use crate::settings::{Owner, Settings};

/// The inputs of one injection.
pub(crate) struct Context<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) owner: &'a Owner,
    /// The pod without what an earlier injection added.
    pub(crate) pod: PodObject,
    /// The effective proxy settings.
    pub(crate) config: ProxyConfig,
    /// Whether the proxy becomes an init container that stays.
    pub(crate) native: bool,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        settings: &'a Settings,
        owner: &'a Owner,
        pod: PodObject,
        config: ProxyConfig,
    ) -> Self {
        let native = match pod.annotation(names::NATIVE_SIDECAR) {
            None | Some("") => settings.native_sidecars,
            Some(text) => text != "false",
        };
        Self {
            settings,
            owner,
            pod,
            config,
            native,
        }
    }

    /// The annotation as given, even an empty one, else the default.
    pub(crate) fn annotation_or(&self, key: &str, default: impl Display) -> String {
        self.pod
            .annotation(key)
            .map_or_else(|| default.to_string(), str::to_owned)
    }

    /// `REDIRECT`, `TPROXY` or `NONE`.
    pub(crate) fn interception_mode(&self) -> String {
        self.annotation_or(names::INTERCEPTION_MODE, self.config.interception_mode)
    }

    pub(crate) fn is_tproxy(&self) -> bool {
        self.interception_mode() == "TPROXY"
    }

    /// The agent's port as a text; `0` for no probes.
    pub(crate) fn status_port(&self) -> String {
        self.annotation_or(
            names::STATUS_PORT,
            self.settings.values.global.proxy.status_port,
        )
    }

    /// Whether an application waits for the proxy.
    pub(crate) fn holds_application(&self) -> bool {
        self.config
            .hold_application_until_proxy_starts
            .unwrap_or(false)
            || self
                .settings
                .values
                .global
                .proxy
                .hold_application_until_proxy_starts
    }

    /// The names of the user's containers.
    pub(crate) fn application_containers(&self) -> Vec<String> {
        let containers = self.pod.containers(List::Containers).iter().map(name_of);
        containers
            .filter(|name| *name != names::PROXY)
            .map(str::to_owned)
            .collect()
    }

    /// The mesh's trust domain.
    pub(crate) fn trust_domain(&self) -> &str {
        match self.settings.mesh.trust_domain.as_str() {
            "" => &self.settings.values.global.trust_domain,
            domain => domain,
        }
    }

    /// The label's value, where an empty one counts as none.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.pod.label(key).filter(|value| !value.is_empty())
    }

    /// The network of the pod: its own label, else the mesh's value.
    pub(crate) fn network(&self) -> Option<&str> {
        self.pod
            .label(names::NETWORK)
            .or(Some(&self.settings.values.global.network))
            .filter(|network| !network.is_empty())
    }

    /// Whether the control plane signs the proxies' root of trust.
    pub(crate) fn trusts_istiod(&self) -> bool {
        self.settings.values.global.pilot_cert_provider == "istiod"
    }
}

/// A setting that is a piece of a pod; `null` and `{}` give none.
pub(crate) fn piece<T: DeserializeOwned>(
    value: &Value,
    path: &'static str,
) -> Result<Option<T>, InjectError> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|error| InjectError::Setting {
            path,
            reason: error.to_string(),
        })
}
