//! Pages about the state of the control plane, over HTTP under `/debug` and over xDS as `istio.io/debug*` (contract xds.md §13).
//!
//! Callers of the system namespace see everything; others only what their own namespace's proxies were sent.

mod dump;
mod error;
mod syncz;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::google::protobuf::Any;
use lateen_controlplane_model::caller::Caller;
use lateen_controlplane_model::generate::{Names, Resource};
use lateen_xds::any;
use lateen_xds::json::{Codec, Naming};
use lateen_xds::names::type_url;
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;

pub use error::DebugError;

use crate::hub::{Client, Hub};

/// A page that another part of the control plane gives.
pub type Page = Box<dyn Fn() -> Value + Send + Sync>;

/// Who looks.
#[derive(Debug, Clone, Copy)]
pub enum Viewer<'a> {
    /// Somebody on this machine.
    Local,
    /// An authenticated caller.
    Caller(&'a Caller),
}

/// What this control plane says of itself.
#[derive(Debug, Clone)]
pub struct Info {
    /// Version.
    pub version: String,
    /// Revision.
    pub revision: String,
    /// Name of this replica, usually its pod.
    pub id: String,
    /// Cluster it runs in.
    pub cluster: String,
}

/// Pages about one proxy.
const OF_PROXY: [&str; 3] = ["config_dump", "edsz", "ndsz"];
/// Pages about all.
const OF_ALL: [&str; 5] = ["adsz", "connections", "list", "push_status", "syncz"];

/// The pages.
pub struct Debug {
    hub: Arc<Hub>,
    info: Info,
    system_namespace: String,
    pages: BTreeMap<&'static str, Page>,
}

impl Debug {
    /// Pages over a hub.
    #[must_use]
    pub fn new(hub: Arc<Hub>, info: Info, system_namespace: &str) -> Self {
        Self {
            hub,
            info,
            system_namespace: system_namespace.to_owned(),
            pages: BTreeMap::new(),
        }
    }

    /// Adds a page, such as `registryz`.
    #[must_use]
    pub fn with_page(mut self, name: &'static str, page: Page) -> Self {
        self.pages.insert(name, page);
        self
    }

    /// What this control plane says of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// A page by its name and the proxy it is about.
    ///
    /// # Errors
    /// [`DebugError`]: no such page, no such proxy, or not for this viewer.
    pub fn page(
        &self,
        name: &str,
        proxy_id: Option<&str>,
        viewer: Viewer<'_>,
    ) -> Result<Value, DebugError> {
        if OF_PROXY.contains(&name) {
            let client = self.client(proxy_id, viewer)?;
            return match name {
                "config_dump" => self.config_dump(&client),
                "edsz" => self.resources_of(&client, type_url::ENDPOINT),
                _ => self.resources_of(&client, type_url::NAME_TABLE),
            };
        }
        if !self.sees_all(viewer) {
            return Err(DebugError::Forbidden);
        }
        match name {
            "" | "list" => Ok(self.index()),
            "syncz" => self.syncz(),
            "adsz" | "connections" => Ok(syncz::connections(&self.hub.proxies())),
            "push_status" => {
                let rejections = self.hub.current().map(|config| config.rejections());
                let texts = rejections
                    .iter()
                    .flat_map(|list| list.iter())
                    .map(ToString::to_string);
                Ok(json!({ "rejected": texts.collect::<Vec<_>>() }))
            }
            other => match self.pages.get(other) {
                Some(page) => Ok(page()),
                None => Err(DebugError::NoPage(other.chars().take(64).collect())),
            },
        }
    }

    /// Who answers, for responses of the type `istio.io/debug/syncz`.
    #[must_use]
    pub fn control_plane(&self) -> ControlPlane {
        let info = json!({
            "version": self.info.version, "revision": self.info.revision, "golang_version": "", "status": "Clean",
            "tag": self.info.version,
        });
        ControlPlane {
            identifier: json!({ "Component": "istiod", "ID": self.info.id, "Info": info })
                .to_string(),
        }
    }

    /// The answer to a debug request over xDS.
    ///
    /// # Errors
    /// A status: not found, invalid argument, permission denied.
    pub(crate) fn resources(
        &self,
        url: &str,
        names: &[String],
        caller: &Caller,
    ) -> Result<Vec<Resource>, Status> {
        let viewer = Viewer::Caller(caller);
        let bodies: Vec<Any> = match (url, names) {
            (type_url::DEBUG_SYNCZ, _) if !self.sees_all(viewer) => {
                return Err(DebugError::Forbidden.into());
            }
            (type_url::DEBUG_SYNCZ, _) => {
                syncz::client_configs(&self.hub.proxies(), &self.info.cluster)
                    .iter()
                    .map(any::pack)
                    .collect()
            }
            (type_url::DEBUG_CONFIG_DUMP, [proxy]) => {
                dump::parts(&self.hub, &*self.client(Some(proxy), viewer)?)?
            }
            (type_url::DEBUG_CONFIG_DUMP, _) => {
                return Err(Status::invalid_argument(
                    "name exactly one proxy, <pod>.<namespace>",
                ));
            }
            (_, [endpoint]) => {
                let (name, proxy) = split(endpoint);
                let body = self.page(name, proxy.as_deref(), viewer)?;
                let value = serde_json::to_vec_pretty(&body)
                    .map_err(|error| Status::internal(error.to_string()))?;
                vec![Any {
                    type_url: type_url::DEBUG.to_owned(),
                    value,
                }]
            }
            _ => return Err(Status::invalid_argument("name exactly one debug endpoint")),
        };
        let resource = |body: Any| Resource {
            name: "".into(),
            body: Bytes::from(body.encode_to_vec()),
            version: 0,
        };
        Ok(bodies.into_iter().map(resource).collect())
    }

    fn sees_all(&self, viewer: Viewer<'_>) -> bool {
        match viewer {
            Viewer::Local => true,
            Viewer::Caller(caller) => caller.id.namespace() == self.system_namespace,
        }
    }

    /// The proxy a page is about. Whether it is connected is told only to those who may see it.
    fn client(
        &self,
        proxy_id: Option<&str>,
        viewer: Viewer<'_>,
    ) -> Result<Arc<Client>, DebugError> {
        let id = proxy_id
            .filter(|id| !id.is_empty())
            .ok_or(DebugError::NoProxyId)?;
        if let Viewer::Caller(caller) = viewer {
            let namespace = id.rsplit_once('.').map(|(_, namespace)| namespace);
            if !self.sees_all(viewer) && namespace != Some(caller.id.namespace()) {
                return Err(DebugError::Forbidden);
            }
        }
        self.hub
            .proxy(id)
            .ok_or_else(|| DebugError::NotConnected(id.chars().take(256).collect()))
    }

    fn index(&self) -> Value {
        let mut names: Vec<&str> = OF_ALL
            .into_iter()
            .chain(OF_PROXY)
            .chain(self.pages.keys().copied())
            .collect();
        names.sort_unstable();
        names.iter().map(|name| format!("/debug/{name}")).collect()
    }

    /// A `ClientConfig` a proxy, as the xDS type gives them.
    fn syncz(&self) -> Result<Value, DebugError> {
        let internal = |error: &dyn std::fmt::Display| DebugError::Internal(error.to_string());
        let codec = Codec::new().map_err(|e| internal(&e))?;
        let configs = syncz::client_configs(&self.hub.proxies(), &self.info.cluster);
        let written = configs.iter().map(|config| {
            codec
                .write_message(config, Naming::Proto)
                .map_err(|e| internal(&e))
        });
        Ok(Value::Array(written.collect::<Result<_, _>>()?))
    }

    fn config_dump(&self, client: &Client) -> Result<Value, DebugError> {
        let internal = |error: &dyn std::fmt::Display| DebugError::Internal(error.to_string());
        let codec = Codec::new().map_err(|e| internal(&e))?;
        let parts = dump::parts(&self.hub, client)?;
        let parts = parts
            .iter()
            .map(|part| codec.write(part, Naming::Json).map_err(|e| internal(&e)));
        Ok(json!({ "configs": parts.collect::<Result<Vec<_>, _>>()? }))
    }

    fn resources_of(&self, client: &Client, url: &str) -> Result<Value, DebugError> {
        let internal = |error: &dyn std::fmt::Display| DebugError::Internal(error.to_string());
        let (Some(config), Some(proxy)) = (self.hub.current(), client.proxy.get()) else {
            return Ok(json!([]));
        };
        let names = client
            .session
            .lock()
            .names(url)
            .unwrap_or(Names::Set(Default::default()));
        let codec = Codec::new().map_err(|e| internal(&e))?;
        let resources = config.generate(proxy, url, &names);
        let written = resources.iter().map(|resource| {
            let any = Any::decode(resource.body.as_ref()).map_err(|e| internal(&e))?;
            codec.write(&any, Naming::Json).map_err(|e| internal(&e))
        });
        Ok(Value::Array(written.collect::<Result<_, _>>()?))
    }
}

/// `config_dump?proxyID=a.b` to its name and proxy.
fn split(endpoint: &str) -> (&str, Option<String>) {
    let endpoint = endpoint
        .trim_start_matches("/debug/")
        .trim_start_matches('/');
    let Some((name, query)) = endpoint.split_once('?') else {
        return (endpoint, None);
    };
    let proxy = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("proxyID="))
        .map(str::to_owned);
    (name, proxy)
}
